package llava

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"time"
)

const (
	silence    = 60 * time.Second // between bytes of an answer, after which its worker is given up
	maxMessage = 8 << 20          // bytes
)

// Why a stream ends early. Each ends a sentence about the worker.
var (
	ErrSilent = errors.New("has sent nothing for 60 seconds")
	ErrBroken = errors.New("has broken off its answer")
	ErrLarge  = errors.New("has sent a message of more than 8 MiB")
)

// Follow sends a request to a worker and calls each with every message, without its NUL; an empty one is a keep-alive.
// It ends with the stream, whose errors are above or *StatusError, with an error of each, or with ctx.
func Follow(ctx context.Context, worker Peer, body []byte, each func(message []byte) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(silence, func() { cancel(ErrSilent) })
	defer timer.Stop()
	response, err := worker.Generate(ctx, body)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return statusError(response)
	}
	from := &wakeful{Reader: response.Body, timer: timer}
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, maxMessage)
	lines.Split(from.split)
	for lines.Scan() {
		if err := each(lines.Bytes()); err != nil {
			return err
		}
	}
	switch err := lines.Err(); {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err == nil:
		return nil
	case errors.Is(err, bufio.ErrTooLong):
		return ErrLarge
	}
	return ErrBroken
}

// wakeful starts its timer again with every byte.
type wakeful struct {
	io.Reader
	timer *time.Timer
	whole bool // the end was that of the answer
}

func (w *wakeful) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	if n > 0 {
		w.timer.Reset(silence)
	}
	w.whole = err == io.EOF
	return n, err
}

// split cuts at NULs, for bufio.Scanner. What follows the last is a message too, unless it was broken off.
func (w *wakeful) split(data []byte, atEnd bool) (advance int, token []byte, err error) {
	if at := bytes.IndexByte(data, 0); at >= 0 {
		return at + 1, data[:at:at], nil
	}
	if atEnd && w.whole && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}
