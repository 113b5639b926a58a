package llava

import (
	"fmt"
	"net/http"
	"time"
)

// Codes of messages.
const (
	CodeFine        = 0
	CodeWorker      = 1 // the worker cannot answer the request
	CodeNoWorker    = 2 // none serves the model
	CodeUnreachable = 3 // the worker does not answer, or no longer
)

// KeepAlive is how long a stream is silent at most. The original's clients hang up after 5 and 10 seconds.
const KeepAlive = 2 * time.Second

// AppendMessage appends a message and its NUL, byte for byte as Python's json.dumps writes it.
func AppendMessage(b []byte, text string, code int) []byte {
	b = append(b, `{"text": "`...)
	b = appendEscaped(b, text)
	return appendCode(b, code)
}

func appendCode(b []byte, code int) []byte {
	return fmt.Appendf(b, "\", \"error_code\": %d}\x00", code)
}

// appendEscaped appends text as the inside of a JSON string of ASCII characters.
func appendEscaped(b []byte, text string) []byte {
	for _, r := range text { // invalid bytes are U+FFFD
		switch short := shortEscape(r); {
		case short != 0:
			b = append(b, '\\', short)
		case r >= ' ' && r <= '~':
			b = append(b, byte(r))
		case r > 0xffff:
			r -= 0x10000
			b = fmt.Appendf(b, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			b = fmt.Appendf(b, `\u%04x`, r)
		}
	}
	return b
}

// shortEscape is the letter after the backslash, 0 if there is none.
func shortEscape(r rune) byte {
	switch r {
	case '"', '\\':
		return byte(r)
	case '\n':
		return 'n'
	case '\r':
		return 'r'
	case '\t':
		return 't'
	case '\b':
		return 'b'
	case '\f':
		return 'f'
	}
	return 0
}

// Stream writes messages to a client, which reads them as they are written.
type Stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

// NewStream sends the headers: status 200, and no type of content, as the original.
func NewStream(w http.ResponseWriter) *Stream {
	s := &Stream{w: w, control: http.NewResponseController(w)}
	w.Header()["Content-Type"] = nil
	w.WriteHeader(http.StatusOK)
	s.control.Flush()
	return s
}

// Send writes messages, each with its NUL.
func (s *Stream) Send(messages []byte) error {
	if _, err := s.w.Write(messages); err != nil {
		return err
	}
	return s.control.Flush()
}

// Alive writes a NUL.
func (s *Stream) Alive() error { return s.Send([]byte{0}) }

// Fail writes a message with a code.
func (s *Stream) Fail(code int, sentence string) error {
	return s.Send(AppendMessage(nil, sentence, code))
}
