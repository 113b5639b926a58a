package openai

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/llavatrain/llavatrain/serve"
	"github.com/llavatrain/llavatrain/serve/guard"
)

// OpenAI's types of errors.
const (
	invalidRequest = "invalid_request_error"
	rateLimit      = "rate_limit_error"
	serverError    = "server_error"
)

// How long to wait when the engine does not say.
const (
	busyWait    = time.Second
	closingWait = 5 * time.Second
)

// fault is an error as it is sent.
type fault struct {
	Status      int
	Kind        string
	Code, Param string // "" is sent as null
	Text        string
	After       time.Duration
}

func (f *fault) Error() string { return f.Text }

func (f *fault) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]any{"error": map[string]any{"message": f.Text, "type": f.Kind,
		"param": orNull(f.Param), "code": orNull(f.Code)}})
}

func orNull(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

func invalid(param, text string) *fault {
	return &fault{Status: http.StatusBadRequest, Kind: invalidRequest, Code: "invalid_value", Param: param, Text: text}
}

// refusals are OpenAI's words for the reasons of engines.
var refusals = map[serve.Reason]fault{
	serve.Invalid:     {Status: http.StatusBadRequest, Kind: invalidRequest, Code: "invalid_value"},
	serve.ContextFull: {Status: http.StatusBadRequest, Kind: invalidRequest, Code: "context_length_exceeded"},
	serve.BadPicture:  {Status: http.StatusBadRequest, Kind: invalidRequest, Code: "invalid_image"},
	serve.Busy: {Status: http.StatusTooManyRequests, Kind: rateLimit, Code: "rate_limit_exceeded",
		After: busyWait},
	serve.Closing: {Status: http.StatusServiceUnavailable, Kind: serverError, After: closingWait},
	serve.Failed:  {Status: http.StatusInternalServerError, Kind: serverError},
}

// faultOf is how an error is sent. What is not meant for clients is not told.
func faultOf(err error) *fault {
	own, refusal, entry := new(fault), new(serve.Refusal), new(guard.Fault)
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &refusal):
		f := refusals[refusal.Reason]
		if f.Text, f.Param = refusal.Text, refusal.Field; refusal.After > 0 {
			f.After = refusal.After
		}
		return &f
	case errors.As(err, &entry):
		return &fault{Status: entry.Status, Kind: entry.Kind, Code: entry.Code, Text: entry.Text, After: entry.After}
	}
	return &fault{Status: http.StatusInternalServerError, Kind: serverError,
		Text: "The engine failed while it answered. Send the request again; the server's log says more."}
}

func writeError(w http.ResponseWriter, err error) { writeFault(w, faultOf(err)) }

func writeFault(w http.ResponseWriter, f *fault) {
	guard.SetRetryAfter(w.Header(), f.After)
	writeJSON(w, f.Status, f)
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	text := marshal(value)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(status)
	w.Write(text)
}

// marshal is JSON in which <, > and & stand as they are.
func marshal(value any) []byte {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if encoder.Encode(value) != nil {
		return []byte("null") // no value here can fail
	}
	return bytes.TrimSpace(text.Bytes())
}

// quote is text of a client as a message repeats it.
func quote(text string) string {
	const longest = 100
	text = text[:min(len(text), 4*longest)]
	if runes := []rune(text); len(runes) > longest {
		text = string(runes[:longest]) + "…"
	}
	return strconv.Quote(text)
}
