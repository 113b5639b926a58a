package web

import (
	"context"
	"io"
	"strings"
	"time"

	"github.com/llavatrain/llavatrain/serve"
)

// logged is an engine whose conversations are kept.
type logged struct {
	serve.Engine
	log *Log
}

// Submit implements serve.Engine. What the engine answers is passed on as it comes; an answer is kept when it ends,
// also one that the reader stopped, but not one that failed.
func (e *logged) Submit(r serve.Request) (*serve.Reply, error) {
	start := time.Now()
	inner, err := e.Engine.Submit(r)
	if err != nil {
		return nil, err
	}
	entry, err := e.log.chat(e.Model(), r, start)
	if err != nil {
		e.log.failed(err)
		return inner, nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	outer := serve.NewReply(cancel)
	outer.Seed = inner.Seed
	go func() {
		defer cancel()
		defer inner.Close()
		answer, err := copyReply(ctx, outer, inner)
		if err == nil || ctx.Err() != nil && answer != "" {
			e.log.failed(e.log.answered(entry, answer, time.Now()))
		}
		outer.End(err)
	}()
	return outer, nil
}

// copyReply passes events on to the end, and returns the text of the first choice.
func copyReply(ctx context.Context, to, from *serve.Reply) (string, error) {
	var text strings.Builder
	for {
		events, err := from.Next(ctx)
		for _, e := range events {
			if e.Choice == 0 {
				text.WriteString(e.Text)
			}
			to.Send(e)
		}
		switch {
		case err == io.EOF:
			return text.String(), nil
		case err != nil:
			return text.String(), err
		}
	}
}
