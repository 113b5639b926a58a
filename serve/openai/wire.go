package openai

import "github.com/llavatrain/llavatrain/serve"

// completion is a whole answer, or an event of one.
type completion struct {
	ID      string       `json:"id"`
	Object  string       `json:"object"`
	Created int64        `json:"created"`
	Model   string       `json:"model"`
	Choices []wireChoice `json:"choices"`
	Usage   *wireUsage   `json:"usage,omitempty"`
}

type wireChoice struct {
	Index        int           `json:"index"`
	Message      *wireMessage  `json:"message,omitempty"` // of a whole answer
	Delta        *wireMessage  `json:"delta,omitempty"`   // of an event
	Logprobs     *wireLogprobs `json:"logprobs"`
	FinishReason *string       `json:"finish_reason"`
}

type wireMessage struct {
	Role    string  `json:"role,omitempty"`
	Content *string `json:"content,omitempty"`
}

func orEmpty(text string) *string { return &text }

type wireUsage struct {
	Prompt     int `json:"prompt_tokens"`
	Completion int `json:"completion_tokens"`
	Total      int `json:"total_tokens"`
	Details    struct {
		Cached int `json:"cached_tokens"`
	} `json:"prompt_tokens_details"`
}

type wireLogprobs struct {
	Content []wireToken `json:"content"`
}

type wireToken struct {
	topToken
	Top []topToken `json:"top_logprobs"`
}

type topToken struct {
	Token   string  `json:"token"`
	Logprob float64 `json:"logprob"`
	Bytes   []int   `json:"bytes"`
}

// logprobs is nil unless the request asks for it.
func (a *answer) logprobs(tokens []serve.Token) *wireLogprobs {
	if !a.asked.sampling.Logprobs {
		return nil
	}
	l := &wireLogprobs{Content: []wireToken{}}
	for _, t := range tokens {
		one := wireToken{wireTokenOf(t), []topToken{}}
		for _, top := range t.Top {
			one.Top = append(one.Top, wireTokenOf(top))
		}
		l.Content = append(l.Content, one)
	}
	return l
}

// leastLogprob stands for a probability of zero, as JSON has no infinity. OpenAI uses the same.
const leastLogprob = -9999

func wireTokenOf(t serve.Token) topToken {
	bytes := make([]int, len(t.Bytes))
	for i, b := range t.Bytes {
		bytes[i] = int(b)
	}
	logprob := t.Logprob
	if !(logprob > leastLogprob) { // also NaN
		logprob = leastLogprob
	}
	return topToken{Token: t.Text, Logprob: logprob, Bytes: bytes}
}
