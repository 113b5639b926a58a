package openai

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"github.com/llavatrain/llavatrain/serve"
)

// Limits of OpenAI's API, but that of choices, where it has 128.
const (
	maxChoices     = 16
	maxStops       = 4
	maxTopLogprobs = 20
	maxStopTokens  = 64
)

// samplingFields say how tokens are chosen. nil is a field that is not given, or null. Those after TopLogprobs are
// vLLM's.
type samplingFields struct {
	Temperature         *float64        `json:"temperature"`
	TopP                *float64        `json:"top_p"`
	Seed                *int64          `json:"seed"`
	N                   *int            `json:"n"`
	Stop                json.RawMessage `json:"stop"`
	MaxTokens           *int            `json:"max_tokens"`
	MaxCompletionTokens *int            `json:"max_completion_tokens"`
	Logprobs            bool            `json:"logprobs"`
	TopLogprobs         *int            `json:"top_logprobs"`
	TopK                *int            `json:"top_k"`
	MinP                *float64        `json:"min_p"`
	RepetitionPenalty   *float64        `json:"repetition_penalty"`
	IgnoreEOS           bool            `json:"ignore_eos"`
	StopTokenIDs        []int32         `json:"stop_token_ids"`
}

// read checks the fields. The error is a *fault.
func (f *samplingFields) read() (serve.Sampling, error) {
	s := serve.Sampling{Seed: f.Seed, Logprobs: f.Logprobs, IgnoreEnd: f.IgnoreEOS, StopTokens: f.StopTokenIDs}
	for _, number := range []struct {
		name        string
		value       *float64
		usual       float64
		least, most float64
		open        bool // the least value is not allowed itself
		to          *float64
	}{
		{"temperature", f.Temperature, 1, 0, 2, false, &s.Temperature},
		{"top_p", f.TopP, 1, 0, 1, true, &s.TopP},
		{"min_p", f.MinP, 0, 0, 1, false, &s.MinP},
		{"repetition_penalty", f.RepetitionPenalty, 1, 0, 2, true, &s.RepetitionPenalty},
	} {
		if *number.to = number.usual; number.value == nil {
			continue
		}
		v := *number.value
		if !(v >= number.least && v <= number.most) || number.open && v == number.least {
			above := "at least"
			if number.open {
				above = "above"
			}
			return s, invalid(number.name, fmt.Sprintf("%s must be %s %v and at most %v, not %v.", number.name, above,
				number.least, number.most, v))
		}
		*number.to = v
	}
	if err := f.readWhole(&s); err != nil {
		return s, err
	}
	if len(f.StopTokenIDs) > maxStopTokens {
		return s, invalid("stop_token_ids", fmt.Sprintf("stop_token_ids may have %d tokens.", maxStopTokens))
	}
	var err error
	s.Stop, err = readStop(f.Stop)
	return s, err
}

func (f *samplingFields) readWhole(s *serve.Sampling) error {
	for _, number := range []struct {
		name        string
		value       *int
		least, most int
		to          *int
	}{
		{"n", f.N, 1, maxChoices, &s.Choices},
		{"max_tokens", f.MaxTokens, 1, math.MaxInt32, &s.MaxTokens},
		{"max_completion_tokens", f.MaxCompletionTokens, 1, math.MaxInt32, &s.MaxTokens},
		{"top_logprobs", f.TopLogprobs, 0, maxTopLogprobs, &s.TopLogprobs},
		{"top_k", f.TopK, -1, math.MaxInt32, &s.TopK},
	} {
		if number.value == nil {
			continue
		}
		if v := *number.value; v < number.least || v > number.most {
			return invalid(number.name, fmt.Sprintf("%s must be %d to %d, not %d.", number.name, number.least,
				number.most, v))
		}
		*number.to = *number.value
	}
	s.TopK = max(0, s.TopK) // vLLM's -1 is all tokens
	if s.Choices = max(1, s.Choices); s.TopLogprobs > 0 && !s.Logprobs {
		return invalid("top_logprobs", "top_logprobs needs logprobs: true.")
	}
	return nil
}

// readStop reads a text or a list of texts.
func readStop(value json.RawMessage) ([]string, error) {
	if len(value) == 0 || value[0] == 'n' {
		return nil, nil
	}
	if value[0] == '"' {
		value = slices.Concat([]byte{'['}, value, []byte{']'})
	}
	list, err := readList[string](value, maxStops, "stop", "string")
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(list, func(text string) bool { return text == "" }), nil
}
