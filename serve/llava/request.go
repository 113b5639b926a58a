package llava

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/llavatrain/llavatrain/serve"
)

// Values of the original's worker.
const (
	imageMark     = "<image>"
	foreignTokens = 1024                                                                 // longest answer
	usualTokens   = 256                                                                  // if the request does not say
	leastHeat     = 0.001                                                                // below it the most likely token is taken
	tooLong       = "Exceeds max token length. Please start a new conversation, thanks." // clients look for it
)

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

// fields are a request's values before they are looked at. Other keys are ignored.
type fields struct {
	Prompt      json.RawMessage `json:"prompt"`
	Images      json.RawMessage `json:"images"`
	Temperature json.RawMessage `json:"temperature"`
	TopP        json.RawMessage `json:"top_p"`
	MaxTokens   json.RawMessage `json:"max_new_tokens"`
	Stop        json.RawMessage `json:"stop"`
	Own         *ownRequest     `json:"llavatrain"`
}

// readFields reads a request's body. The error is a *guard.Fault: the client gets a status, and no stream.
func readFields(body []byte) (*fields, error) {
	f := new(fields)
	if err := json.Unmarshal(body, f); err != nil {
		return nil, BadRequest("The body of the request is not a JSON object as this path wants it.")
	}
	if f.Prompt == nil {
		return nil, BadRequest(`The request has no "prompt"; send the whole text, with template and <image> marks.`)
	}
	return f, nil
}

// request looks at the values. The error is a *serve.Refusal.
func (f *fields) request() (request, error) {
	var r request
	if json.Unmarshal(f.Prompt, &r.prompt) != nil || isNull(f.Prompt) {
		return r, invalid("prompt", "The prompt must be a string.")
	}
	if f.Images != nil && json.Unmarshal(f.Images, &r.images) != nil {
		return r, invalid("images", "The images must be a list of strings in base64.")
	}
	if f.Own != nil {
		r.own, r.sampling = f.Own, f.Own.Sampling
		return r, f.Own.check(len(r.images))
	}
	if marks := strings.Count(r.prompt, imageMark); marks != len(r.images) {
		return r, invalid("images", fmt.Sprintf("The number of images (%d) is not that of <image> marks in the prompt "+
			"(%d). Send one image for each mark.", len(r.images), marks))
	}
	var err error
	r.sampling, err = f.sampling()
	return r, err
}

// sampling reads the values as the original's float() and int() do.
func (f *fields) sampling() (s serve.Sampling, err error) {
	if s.Temperature, err = number(f.Temperature, "temperature", 1); err != nil {
		return s, err
	}
	if s.TopP, err = number(f.TopP, "top_p", 1); err != nil {
		return s, err
	}
	if s.TopP < 0 || s.TopP > 1 {
		return s, invalid("top_p", "The top_p must be from 0 to 1.")
	}
	if s.Temperature <= leastHeat || s.TopP == 0 { // the smallest share of probability is that of one token
		s.Temperature, s.TopP = 0, 1
	}
	most, err := number(f.MaxTokens, "max_new_tokens", usualTokens)
	if err != nil {
		return s, err
	}
	if s.MaxTokens = int(math.Max(math.Min(most, foreignTokens), -1)); s.MaxTokens < 1 {
		return s, contextFull()
	}
	var stop string
	if f.Stop != nil && json.Unmarshal(f.Stop, &stop) != nil {
		return s, invalid("stop", "The stop must be a string.")
	}
	if stop != "" {
		s.Stop = []string{stop}
	}
	return s, nil
}

// number is a JSON number, or one in a string; usual if there is none.
func number(text json.RawMessage, field string, usual float64) (float64, error) {
	if text == nil || isNull(text) {
		return usual, nil
	}
	var quoted string
	if json.Unmarshal(text, &quoted) == nil {
		text = json.RawMessage(strings.TrimSpace(quoted))
	}
	n, err := strconv.ParseFloat(string(text), 64)
	if err != nil || math.IsNaN(n) || math.IsInf(n, 0) {
		return 0, invalid(field, "The "+field+" must be a number.")
	}
	return n, nil
}

func isNull(text json.RawMessage) bool { return bytes.Equal(text, []byte("null")) }

func invalid(field, sentence string) error {
	return &serve.Refusal{Reason: serve.Invalid, Field: field, Text: sentence}
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
