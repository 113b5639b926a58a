package chat

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
)

// Request asks for one answer.
type Request struct {
	// Key names the content: requests with equal keys have the same messages, model, limit and sampling, and share
	// their answers. It is 1 to 64 letters, digits, - and _, as it travels in headers and batch files.
	Key string

	Messages     json.RawMessage // the list of messages
	PromptTokens int             // how many tokens they should be; 0: unknown, which counts as one for four bytes
	MaxTokens    int             // limit of the answer, which reasoning counts towards
	Sampling     Sampling

	guessed bool // PromptTokens was 0
}

// Sampling holds what is sent only if it is set: some models refuse it.
type Sampling struct {
	Temperature, TopP *float64
	Seed              *int
}

var keyForm = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// check finds faults of the calling code.
func (r *Request) check() error {
	text := bytes.TrimSpace(r.Messages)
	switch {
	case !keyForm.MatchString(r.Key):
		return fmt.Errorf("request %q: a key is 1 to 64 letters, digits, - and _", r.Key)
	case len(text) == 0 || text[0] != '[' || !json.Valid(text):
		return fmt.Errorf("request %s: its messages are no JSON list", r.Key)
	case !finite(r.Sampling.Temperature) || !finite(r.Sampling.TopP):
		return fmt.Errorf("request %s: its sampling holds something that is no number", r.Key)
	case r.MaxTokens < 1:
		return fmt.Errorf("request %s: it needs a limit of tokens, or its cost would have none", r.Key)
	}
	if r.PromptTokens <= 0 {
		r.PromptTokens, r.guessed = len(text)/4+1, true
	}
	return nil
}

func finite(number *float64) bool {
	return number == nil || !math.IsNaN(*number) && !math.IsInf(*number, 0)
}

// body is what is sent. Nothing that varies stands before the messages, so that endpoints can keep the beginning that
// many requests share.
func (r *Request) body(model, limit string) []byte {
	sent := struct {
		Model               string          `json:"model"`
		Messages            json.RawMessage `json:"messages"`
		MaxTokens           int             `json:"max_tokens,omitempty"`
		MaxCompletionTokens int             `json:"max_completion_tokens,omitempty"`
		Temperature         *float64        `json:"temperature,omitempty"`
		TopP                *float64        `json:"top_p,omitempty"`
		Seed                *int            `json:"seed,omitempty"`
	}{Model: model, Messages: r.Messages,
		Temperature: r.Sampling.Temperature, TopP: r.Sampling.TopP, Seed: r.Sampling.Seed}
	if limit == limitCompletion {
		sent.MaxCompletionTokens = r.MaxTokens
	} else {
		sent.MaxTokens = r.MaxTokens
	}
	return encode(sent)
}

// encode is a line of JSON. Strings stay as they are: "<" is not written as six characters. The values of this package
// cannot fail to be encoded: messages and bodies were checked to be JSON, and numbers come from JSON or are finite.
func encode(value any) []byte {
	var line bytes.Buffer
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		panic(err)
	}
	return line.Bytes()
}
