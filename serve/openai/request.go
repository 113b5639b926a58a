package openai

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"reflect"
	"strings"

	"github.com/llavatrain/llavatrain/serve"
	"github.com/llavatrain/llavatrain/serve/guard"
)

// chatRequest is the body of a request. Fields whose form varies are read later.
type chatRequest struct {
	Model         string          `json:"model"`
	Messages      json.RawMessage `json:"messages"`
	Stream        bool            `json:"stream"`
	StreamOptions struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
	samplingFields
	refusedFields

	turns    []serve.Message
	uris     []pictureURI
	sampling serve.Sampling
}

// refusedFields ask for what is not done. They may be empty.
type refusedFields struct {
	Tools            json.RawMessage `json:"tools"`
	Functions        json.RawMessage `json:"functions"`
	ResponseFormat   json.RawMessage `json:"response_format"`
	Audio            json.RawMessage `json:"audio"`
	FrequencyPenalty json.RawMessage `json:"frequency_penalty"`
	PresencePenalty  json.RawMessage `json:"presence_penalty"`
	LogitBias        json.RawMessage `json:"logit_bias"`
}

// readChat reads and checks a request. The error is a *fault or a *guard.Fault.
func readChat(r *http.Request) (*chatRequest, error) {
	if kind := r.Header.Get("Content-Type"); kind != "" {
		if media, _, err := mime.ParseMediaType(kind); err != nil || media != "application/json" {
			return nil, &fault{Status: http.StatusUnsupportedMediaType, Kind: invalidRequest,
				Text: "The body of the request must be JSON. Send the header \"Content-Type: application/json\"."}
		}
	}
	body, err := guard.ReadBody(r)
	if err != nil {
		return nil, err
	}
	return parseChat(body)
}

func parseChat(body []byte) (*chatRequest, error) {
	var asked chatRequest
	if err := json.Unmarshal(body, &asked); err != nil {
		return nil, badJSON(err)
	}
	if asked.Model == "" {
		return nil, invalid("model", "The request names no model. GET /v1/models lists them.")
	}
	if err := asked.refusedFields.check(); err != nil {
		return nil, err
	}
	var err error
	if asked.sampling, err = asked.samplingFields.read(); err != nil {
		return nil, err
	}
	if err = asked.readMessages(); err != nil {
		return nil, err
	}
	asked.Messages = nil
	return &asked, nil
}

// badJSON names the field that is of the wrong type.
func badJSON(err error) error {
	wrong := new(json.UnmarshalTypeError)
	if !errors.As(err, &wrong) || wrong.Field == "" {
		return invalid("", "The body of the request is not a JSON object of a chat request.")
	}
	// Fields of embedded structs come with the struct's name.
	field := strings.TrimPrefix(strings.TrimPrefix(wrong.Field, "samplingFields."), "refusedFields.")
	return invalid(field, fmt.Sprintf("%s must be %s, not a JSON %s.", field, jsonKind(wrong.Type),
		wrong.Value[:min(len(wrong.Value), 40)]))
}

func jsonKind(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Float64:
		return "a number"
	case reflect.Slice:
		return "a list"
	case reflect.Struct, reflect.Map:
		return "an object"
	}
	return "a whole number"
}

// check refuses what is asked for and not done, by its name.
func (f *refusedFields) check() error {
	for _, field := range []struct {
		name, why string
		value     json.RawMessage
		empty     []string // besides null
	}{
		{"tools", "This model does not call tools.", f.Tools, []string{"[]"}},
		{"functions", "This model does not call functions.", f.Functions, []string{"[]"}},
		{"response_format", "Answers are text; other forms cannot be asked for.", f.ResponseFormat,
			[]string{`{"type":"text"}`, `{}`}},
		{"audio", "This model answers in text alone.", f.Audio, nil},
		{"frequency_penalty", "This penalty is not implemented; repetition_penalty is.", f.FrequencyPenalty,
			[]string{"0", "0.0", "-0.0"}},
		{"presence_penalty", "This penalty is not implemented; repetition_penalty is.", f.PresencePenalty,
			[]string{"0", "0.0", "-0.0"}},
		{"logit_bias", "Biases of tokens are not implemented.", f.LogitBias, []string{"{}"}},
	} {
		if !isOneOf(field.value, append(field.empty, "null", "")) {
			return invalid(field.name, field.why+" Leave "+field.name+" out.")
		}
	}
	return nil
}

func isOneOf(value json.RawMessage, list []string) bool {
	var compact bytes.Buffer
	if len(value) > 1000 || len(value) > 0 && json.Compact(&compact, value) != nil {
		return false
	}
	for _, text := range list {
		if compact.String() == text {
			return true
		}
	}
	return false
}
