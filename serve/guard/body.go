package guard

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Limits of a request's body and of an answer's reader.
const (
	MaxBody    = 24 << 20 // bytes
	bodyTime   = 30 * time.Second
	writeTime  = 30 * time.Second // of one piece of an answer
	maxBodies  = 512 << 20        // bytes of all bodies that are being read
	unreadBody = 100 << 20        // bytes of a refused body that are taken, so that its sender reads the answer
	unreadTime = 5 * time.Second
)

// bodies counts the bytes of all bodies in memory.
type bodies struct{ bytes atomic.Int64 }

var errManyBodies = errors.New("too many bodies")

// body is a request's body with its limits. The time to read it ends with it: what comes after is the wait for the
// answer, during which the connection is read to see whether the client is gone.
type body struct {
	inner   io.ReadCloser
	control *http.ResponseController
	all     *bodies
	read    int64
	ended   bool
	release sync.Once
}

// limitBody gives r its limits. done must be called when the request has been answered.
func (b *bodies) limitBody(w *writer, r *http.Request) (done func()) {
	if r.Body == nil || r.Body == http.NoBody {
		return func() {}
	}
	control := w.control
	control.EnableFullDuplex() // or net/http would read what is left of a body before it answers
	control.SetReadDeadline(time.Now().Add(bodyTime))
	raw := r.Body
	limited := &body{inner: http.MaxBytesReader(w, raw, MaxBody), control: control, all: b}
	r.Body, w.body = limited, limited
	return func() {
		limited.Close()
		if !limited.ended {
			control.Flush()
			control.SetReadDeadline(time.Now().Add(unreadTime))
			io.CopyN(io.Discard, raw, unreadBody)
		}
	}
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.inner.Read(p)
	b.read += int64(n)
	if b.all.bytes.Add(int64(n)) > maxBodies {
		return 0, errManyBodies
	}
	if err == io.EOF {
		b.ended = true
		b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

// Close says that the body and what was made of it are not in memory any more. The connection stays open for the
// answer.
func (b *body) Close() error {
	b.release.Do(func() { b.all.bytes.Add(-b.read) })
	return nil
}

// ReadBody reads a request's body. The error is a *Fault. A handler whose answer takes long closes the body when it has
// let go of it, since the bodies of all requests have a bound together; otherwise it is closed when the handler
// returns.
func ReadBody(r *http.Request) ([]byte, error) {
	if r.ContentLength > MaxBody {
		return nil, tooLarge
	}
	text, err := io.ReadAll(io.LimitReader(r.Body, MaxBody+1))
	large := new(http.MaxBytesError)
	switch {
	case errors.As(err, &large) || len(text) > MaxBody:
		return nil, tooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, &Fault{Status: http.StatusRequestTimeout, Kind: invalidRequest, Text: "The body of the request " +
			"did not arrive within 30 seconds. Send it again, or send smaller pictures."}
	case errors.Is(err, errManyBodies):
		return nil, &Fault{Status: http.StatusServiceUnavailable, Kind: "server_error", After: time.Second,
			Text: "The server is reading as many requests as its memory allows. Send this one again."}
	case err != nil:
		return nil, &Fault{Status: http.StatusBadRequest, Kind: invalidRequest,
			Text: "The body of the request was cut off. Send it again."}
	}
	return text, nil
}

var tooLarge = &Fault{Status: http.StatusRequestEntityTooLarge, Kind: invalidRequest,
	Text: "The body of the request is over the limit of 24 MiB. Send fewer or smaller pictures."}

// writer gives every write of an answer its time: a client that takes nothing must not hold the answer for ever.
type writer struct {
	http.ResponseWriter
	control *http.ResponseController
	body    *body // nil: the request has none
	status  int
}

func newWriter(w http.ResponseWriter) *writer {
	return &writer{ResponseWriter: w, control: http.NewResponseController(w)}
}

func (w *writer) WriteHeader(status int) {
	w.begin(status)
	w.ResponseWriter.WriteHeader(status)
}

func (w *writer) Write(p []byte) (int, error) {
	w.begin(http.StatusOK)
	return w.ResponseWriter.Write(p)
}

// begin is called before anything is written. A connection whose request was not read to its end cannot take another.
func (w *writer) begin(status int) {
	w.control.SetWriteDeadline(time.Now().Add(writeTime))
	if w.status != 0 {
		return
	}
	w.status = status
	if w.body != nil && !w.body.ended {
		w.Header().Set("Connection", "close")
	}
}

// Unwrap is for http.ResponseController.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }
