package llava

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/llavatrain/llavatrain/serve"
)

// Values of the original's worker.
const (
	imageMark     = "<image>"
	foreignTokens = 1024  // longest answer
	usualTokens   = 256   // if the request does not say
	leastHeat     = 0.001 // at most that, and the most likely token is taken
)

// tooLong is an answer, which clients look for.
const tooLong = "Exceeds max token length. Please start a new conversation, thanks."

// request is what a client asks of a worker.
type request struct {
	prompt   string
	images   []string // base64
	sampling serve.Sampling
	own      *ownRequest // of one of our programs
}

// ownRequest is the key "llavatrain" of a request: all that serve.Request has and the protocol has not.
type ownRequest struct {
	Client   string // whose turn it is at the program that asks
	Messages []serve.Message
	Sampling serve.Sampling
}

// field is a value of a request. A wrong one does not spoil the others.
type field[T any] struct {
	value                 T
	present, given, wrong bool // given: and not null
}

// UnmarshalJSON implements json.Unmarshaler.
func (f *field[T]) UnmarshalJSON(text []byte) error {
	f.present = true
	if !bytes.Equal(text, []byte("null")) {
		f.given, f.wrong = true, json.Unmarshal(text, &f.value) != nil
	}
	return nil
}

// number is a JSON number, or one in a string, as Python's float() takes it.
type number float64

// UnmarshalJSON implements json.Unmarshaler.
func (n *number) UnmarshalJSON(text []byte) error {
	var quoted string
	if json.Unmarshal(text, &quoted) == nil {
		text = []byte(strings.TrimSpace(quoted))
	}
	value, err := strconv.ParseFloat(string(text), 64)
	if err != nil || math.IsNaN(value) || math.IsInf(value, 0) {
		return errors.New("no number")
	}
	*n = number(value)
	return nil
}

// or is the value, usual if there is none.
func (f *field[T]) or(usual T) T {
	if f.given {
		return f.value
	}
	return usual
}

// fields are a request's values before they are looked at. Other keys are ignored.
type fields struct {
	Prompt      field[string]   `json:"prompt"`
	Images      field[[]string] `json:"images"`
	Temperature field[number]   `json:"temperature"`
	TopP        field[number]   `json:"top_p"`
	MaxTokens   field[number]   `json:"max_new_tokens"`
	Stop        field[string]   `json:"stop"`
	Own         *ownRequest     `json:"llavatrain"`
}

// readFields reads a request's body. The error is a *guard.Fault: the client gets a status, and no stream.
func readFields(body []byte) (*fields, error) {
	f := new(fields)
	if err := json.Unmarshal(body, f); err != nil {
		return nil, BadRequest("The body of the request is not a JSON object as this path wants it.")
	}
	if !f.Prompt.present {
		return nil, BadRequest(`The request has no "prompt"; send the whole text, with template and <image> marks.`)
	}
	return f, nil
}

// request looks at the values. The error is a *serve.Refusal.
func (f *fields) request() (r request, err error) {
	r = request{prompt: f.Prompt.value, images: f.Images.value, own: f.Own}
	for _, check := range []struct {
		wrong          bool
		name, sentence string
	}{
		{f.Prompt.wrong || !f.Prompt.given, "prompt", "The prompt must be a string."},
		{f.Images.wrong, "images", "The images must be a list of strings in base64."},
		{f.Temperature.wrong, "temperature", "The temperature must be a number."},
		{f.TopP.wrong, "top_p", "The top_p must be a number."},
		{f.TopP.value < 0 || f.TopP.value > 1, "top_p", "The top_p must be from 0 to 1."},
		{f.MaxTokens.wrong, "max_new_tokens", "The max_new_tokens must be a number."},
		{f.Stop.wrong, "stop", "The stop must be a string."},
	} {
		if check.wrong {
			return r, invalid(check.name, check.sentence)
		}
	}
	if f.Own != nil {
		r.sampling = f.Own.Sampling
		return r, f.Own.check(len(r.images))
	}
	if marks := strings.Count(r.prompt, imageMark); marks != len(r.images) {
		return r, invalid("images", fmt.Sprintf("The number of images (%d) is not that of <image> marks in the prompt "+
			"(%d). Send one image for each mark.", len(r.images), marks))
	}
	r.sampling = f.sampling()
	if r.sampling.MaxTokens < 1 {
		return r, contextFull()
	}
	return r, nil
}

// sampling is what the values mean to the original's worker.
func (f *fields) sampling() serve.Sampling {
	s := serve.Sampling{Temperature: float64(f.Temperature.or(1)), TopP: float64(f.TopP.or(1))}
	if s.Temperature <= leastHeat || s.TopP == 0 { // the smallest share of probability is that of one token
		s.Temperature, s.TopP = 0, 1
	}
	s.MaxTokens = int(min(max(f.MaxTokens.or(usualTokens), 0), foreignTokens))
	if f.Stop.value != "" {
		s.Stop = []string{f.Stop.value}
	}
	return s
}

func invalid(name, sentence string) error {
	return &serve.Refusal{Reason: serve.Invalid, Field: name, Text: sentence}
}

func contextFull() error { return &serve.Refusal{Reason: serve.ContextFull, Text: tooLong} }

// Bounds of a request of one of our programs, which are those of OpenAI's API.
const (
	maxChoices  = 16
	maxLogprobs = 20
	maxStops    = 16 // a template's, and those of the request
	maxClient   = 200
)

// check refuses values that an engine must not see. A program of ours does not send them.
func (o *ownRequest) check(images int) error {
	s, pictures := &o.Sampling, 0
	if len(o.Messages) == 0 {
		return invalid("llavatrain", "The conversation has no message.")
	}
	for _, m := range o.Messages {
		if m.Role != "system" && m.Role != "user" && m.Role != "assistant" {
			return invalid("llavatrain", "A message's role must be system, user or assistant.")
		}
		if m.Pictures < 0 || m.Pictures > images {
			return invalid("llavatrain", "A message has more pictures than the request.")
		}
		pictures += m.Pictures
	}
	switch {
	case pictures != images:
		return invalid("images", "The number of images is not that of the messages' pictures.")
	case len(o.Client) > maxClient:
		return invalid("llavatrain", "The client's name is too long.")
	case s.Temperature < 0 || s.Temperature > 2 || s.TopP < 0 || s.TopP > 1 || s.MinP < 0 || s.MinP > 1 || s.TopK < 0,
		s.RepetitionPenalty < 0 || s.MaxTokens < 0 || s.Choices < 0 || s.Choices > maxChoices,
		s.TopLogprobs < 0 || s.TopLogprobs > maxLogprobs || len(s.Stop) > maxStops || len(s.StopTokens) > maxStops:
		return invalid("llavatrain", "A value of the sampling is out of its range.")
	}
	return nil
}
