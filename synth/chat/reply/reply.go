// Package reply reads one HTTP answer of a chat endpoint: what the model wrote, or what went wrong, what that costs and
// whether to ask again. It opens no connection, and does not know what was asked.
//
//  1. The status says whether the body may be a completion ([Read]).
//  2. A completion gives a [Reply]; its text is passed on as it came.
//  3. Anything else is a [Fault]: a [Class], found by a table of statuses and of what the body says (fault_rules.go),
//     with the wait that the endpoint asks for (wait.go). What follows from a class is in another table
//     ([Class.Treatment]).
//
// The form of a completion is that of OpenAI's chat completions, which vLLM, SGLang, llama.cpp, Ollama and the gateways
// follow.
package reply

import (
	"encoding/json"
	"strings"
)

// Finish says why the model stopped.
type Finish string

// What is neither Length nor Filtered is Stop, whatever the endpoint calls it.
const (
	Stop     Finish = "stop"
	Length   Finish = "length"         // at the limit of tokens: the text is cut
	Filtered Finish = "content_filter" // by the provider: the text is nothing to go by
)

// Reply is a completion.
type Reply struct {
	Content string `json:"content"`           // parts of text are joined; valid UTF-8
	Refusal string `json:"refusal,omitempty"` // the model's reason, where it declined in a field of its own
	Finish  Finish `json:"finish"`
	Served  string `json:"served,omitempty"`  // the model that answered, by its own name; at most maxName characters
	Request string `json:"request,omitempty"` // the provider's id of the request; at most maxName characters
	Usage   Usage  `json:"usage"`
}

// Usage is what the endpoint counted, in tokens.
type Usage struct {
	Known      bool `json:"known"` // false: nothing usable was reported, and the numbers are 0
	Prompt     int  `json:"prompt,omitempty"`
	Cached     int  `json:"cached,omitempty"` // of the prompt's; at most Prompt
	Completion int  `json:"completion,omitempty"`
}

const (
	maxName    = 200           // characters that are kept of names and ids, which no endpoint makes longer
	maxMessage = 500           // characters that are kept of a message
	maxTokens  = 1_000_000_000 // no request has more: a larger number is a fault of the endpoint
)

// Read reads one answer. It returns a fault, or nil with the reply.
//
// The names of headers may be in any case. A body with status 200 is a completion, or says "error"; so is one with any
// other status from 201 to 299, of which some gateways make use. How large a body may be is the caller's to decide: the
// time is in proportion to its size.
func Read(status int, headers map[string][]string, body []byte) (Reply, *Fault) {
	if status < 200 || status > 299 {
		return Reply{}, faultOf(status, complaintIn(body), headers)
	}
	var read envelope
	if err := json.Unmarshal(body, &read); err != nil {
		return Reply{}, unreadable(status, "the body is not a JSON object: "+err.Error(), headers)
	}
	if !isNothing(read.Error) {
		said := complaintIn(body)
		return Reply{}, faultOf(said.status(), said, headers)
	}
	message := read.Choices.Message
	switch {
	case message == nil:
		return Reply{}, unreadable(status, "the body has no choices[0].message", headers)
	case message.Content.strange:
		return Reply{}, unreadable(status, "choices[0].message.content is neither text nor a list of parts", headers)
	}
	return Reply{
		Content: message.Content.text,
		Refusal: strings.TrimSpace(text(message.Refusal)),
		Finish:  finishOf(text(read.Choices.Finish)),
		Served:  clip(text(read.Model), maxName),
		Request: clip(requestID(headers, read.ID), maxName),
		Usage:   usageOf(read.Usage),
	}, nil
}

func finishOf(reason string) Finish {
	switch finish := Finish(reason); finish {
	case Length, Filtered:
		return finish
	}
	return Stop
}

// requestID prefers the header, which the provider's support asks for, to the completion's id.
func requestID(headers map[string][]string, id json.RawMessage) string {
	if header := header(headers, "x-request-id"); header != "" {
		return header
	}
	return text(id)
}

// usageOf takes the counts if they can be true.
func usageOf(value json.RawMessage) Usage {
	var counted struct {
		Prompt     *float64 `json:"prompt_tokens"`
		Completion *float64 `json:"completion_tokens"`
		Details    struct {
			Cached float64 `json:"cached_tokens"`
		} `json:"prompt_tokens_details"`
	}
	err := json.Unmarshal(value, &counted)
	possible := func(n float64) bool { return n >= 0 && n <= maxTokens }
	if err != nil || counted.Prompt == nil || counted.Completion == nil || !possible(*counted.Prompt) ||
		!possible(*counted.Completion) {
		return Usage{}
	}
	u := Usage{Known: true, Prompt: int(*counted.Prompt), Completion: int(*counted.Completion)}
	if cached := counted.Details.Cached; possible(cached) {
		u.Cached = min(int(cached), u.Prompt)
	}
	return u
}

// clip keeps the first characters of a text from outside, with a mark if there were more.
func clip(text string, characters int) string {
	for at := range text {
		if characters == 0 {
			text = text[:at] + "…"
			break
		}
		characters--
	}
	return strings.ToValidUTF8(text, "\ufffd")
}
