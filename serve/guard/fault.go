package guard

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"
)

// Fault is an answer to a request that is not let in, or that cannot be read.
type Fault struct {
	Status int
	Kind   string // OpenAI's error type
	Code   string // OpenAI's code, "" for none
	Text   string // a sentence for the sender
	After  time.Duration
}

func (f *Fault) Error() string { return f.Text }

// Write sends the fault as an error of OpenAI's API, with the key that LLaVA's servers (FastAPI) have besides.
func (f *Fault) Write(w http.ResponseWriter) {
	type e struct {
		Message string  `json:"message"`
		Type    string  `json:"type"`
		Param   *string `json:"param"`
		Code    *string `json:"code"`
	}
	body := struct {
		Error  e      `json:"error"`
		Detail string `json:"detail"`
	}{e{Message: f.Text, Type: f.Kind}, f.Text}
	if f.Code != "" {
		body.Error.Code = &f.Code
	}
	text, _ := json.Marshal(body)
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(len(text)))
	SetRetryAfter(header, f.After)
	if f.Status == http.StatusUnauthorized {
		header.Set("WWW-Authenticate", "Bearer")
	}
	w.WriteHeader(f.Status)
	w.Write(text)
}

// SetRetryAfter says when to try again, in whole seconds, at least one; 0 says nothing.
func SetRetryAfter(header http.Header, after time.Duration) {
	if after > 0 {
		header.Set("Retry-After", strconv.Itoa(int(math.Ceil(after.Seconds()))))
	}
}

const invalidRequest = "invalid_request_error"

func forbidden(format string, args ...any) *Fault {
	return &Fault{Status: http.StatusForbidden, Kind: "permission_error", Text: fmt.Sprintf(format, args...)}
}

var unauthorized = &Fault{Status: http.StatusUnauthorized, Kind: "authentication_error", Code: "invalid_api_key",
	Text: "This server needs its token: send the header \"Authorization: Bearer TOKEN\" with the token that it was " +
		"started with."}
