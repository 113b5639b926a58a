package llava

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/llavatrain/llavatrain/serve/guard"
)

// Routes are paths and what answers them. All are POST.
type Routes map[string]http.HandlerFunc

// ServeHTTP answers other paths and methods as FastAPI does.
func (r Routes) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	handler, ok := r[request.URL.Path]
	switch {
	case !ok:
		writeDetail(w, http.StatusNotFound, "Not Found")
	case request.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		writeDetail(w, http.StatusMethodNotAllowed, "Method Not Allowed")
	default:
		handler(w, request)
	}
}

// WriteJSON answers with a value.
func WriteJSON(w http.ResponseWriter, value any) {
	text, err := json.Marshal(value)
	if err != nil {
		writeDetail(w, http.StatusInternalServerError, "The answer cannot be written.")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(text)
}

// BadRequest is a fault of a request that cannot be read, in a sentence.
func BadRequest(format string, args ...any) *guard.Fault {
	return &guard.Fault{Status: http.StatusBadRequest, Kind: "invalid_request_error",
		Text: fmt.Sprintf(format, args...)}
}

// WriteFault answers with why a request cannot be read: a *guard.Fault.
func WriteFault(w http.ResponseWriter, err error) {
	fault := new(guard.Fault)
	if !errors.As(err, &fault) {
		fault = BadRequest("The request cannot be read.")
	}
	fault.Write(w)
}

func writeDetail(w http.ResponseWriter, status int, sentence string) {
	text, _ := json.Marshal(map[string]string{"detail": sentence})
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(text)
}
