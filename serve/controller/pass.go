package controller

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/llavatrain/llavatrain/serve/guard"
	"github.com/llavatrain/llavatrain/serve/llava"
)

// pass sends a request on to a worker, and the stream back. The client gets a keep-alive every 2 seconds: the
// original's workers send nothing while a request waits, and its clients hang up.
func (c *Controller) pass(w http.ResponseWriter, r *http.Request) {
	body, err := guard.ReadBody(r)
	var asked struct {
		Model string `json:"model"`
	}
	if err == nil {
		err = parse(body, &asked, "model")
	}
	if err != nil {
		llava.WriteFault(w, err)
		return
	}
	ctx, ok := llava.Deeper(r)
	if !ok {
		loop.Write(w)
		return
	}
	s := llava.NewStream(w)
	name := c.choose(asked.Model)
	if name == "" {
		s.Fail(llava.CodeNoWorker, "No worker serves the model "+strconv.Quote(asked.Model)+" now. Start one, or "+
			"choose another model.")
		return
	}
	c.follow(ctx, s, name, body)
}

// follow passes a worker's messages on.
func (c *Controller) follow(ctx context.Context, s *llava.Stream, name string, body []byte) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	news, ended := make(chan []byte), make(chan error, 1)
	go func() {
		ended <- llava.Follow(ctx, llava.Peer{HTTP: c.HTTP, Address: name}, body, func(message []byte) error {
			select {
			case news <- append(bytes.Clone(message), 0):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	beat := time.NewTicker(llava.KeepAlive)
	defer beat.Stop()
	for {
		var err error
		select {
		case message := <-news:
			beat.Reset(llava.KeepAlive)
			err = s.Send(message)
		case <-beat.C:
			err = s.Alive()
		case err := <-ended:
			c.ended(ctx, s, name, err)
			return
		}
		if err != nil { // the client is gone
			cancel()
			<-ended
			return
		}
	}
}

// ended tells the client why a stream has ended, if it has not ended well.
func (c *Controller) ended(ctx context.Context, s *llava.Stream, name string, err error) {
	if err == nil || ctx.Err() != nil {
		return
	}
	status := new(llava.StatusError)
	if errors.As(err, &status) && status.Status < http.StatusInternalServerError && status.Detail != "" {
		s.Fail(llava.CodeWorker, status.Detail)
		return
	}
	s.Fail(llava.CodeUnreachable, "The worker of this model "+err.Error()+". Ask again.")
	c.suspect(context.WithoutCancel(ctx), name)
}
