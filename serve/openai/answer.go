package openai

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/llavatrain/llavatrain/serve"
	"github.com/llavatrain/llavatrain/serve/guard"
)

// answer is what has come of an answer.
type answer struct {
	asked   *chatRequest
	id      string
	created int64
	began   time.Time
	first   time.Duration // from the request to the first token, 0: none has come
	choices []choice
}

type choice struct {
	text   strings.Builder
	tokens []serve.Token
	finish serve.Finish
	usage  serve.Usage
}

func newAnswer(asked *chatRequest, r *http.Request, began time.Time) *answer {
	return &answer{asked: asked, id: "chatcmpl-" + guard.ID(r.Context()), created: began.Unix(), began: began,
		choices: make([]choice, asked.sampling.Choices)}
}

// take counts an event, and keeps its text if keep is set. It reports whether it belongs to the answer: places in the
// queue do not.
func (a *answer) take(e serve.Event, keep bool) bool {
	if e.Place > 0 || e.Choice < 0 || e.Choice >= len(a.choices) {
		return false
	}
	if a.first == 0 {
		a.first = time.Since(a.began)
	}
	c := &a.choices[e.Choice]
	c.usage = e.Usage
	if e.Finish != serve.Unfinished {
		c.finish = e.Finish
	}
	if keep {
		c.text.WriteString(e.Text)
		c.tokens = append(c.tokens, e.Tokens...)
	}
	return true
}

// usage is that of all choices: they share a prompt.
func (a *answer) usage() *wireUsage {
	u := new(wireUsage)
	for i := range a.choices {
		one := a.choices[i].usage
		u.Prompt, u.Details.Cached = max(u.Prompt, one.Prompt), max(u.Details.Cached, one.Cached)
		u.Completion += one.Answer
	}
	u.Total = u.Prompt + u.Completion
	return u
}

// note writes what became of the answer to the log.
func (a *answer) note(ctx context.Context) {
	u := a.usage()
	guard.Note(ctx, "prompt", u.Prompt)
	guard.Note(ctx, "cached", u.Details.Cached)
	guard.Note(ctx, "answer", u.Completion)
	guard.Note(ctx, "first", a.first.Round(time.Millisecond))
	var ends []string
	for i := range a.choices {
		end := string(a.choices[i].finish)
		if end == "" {
			end = "none"
		}
		ends = append(ends, end)
	}
	guard.Note(ctx, "finish", strings.Join(ends, ","))
}

// whole sends the answer when it is complete.
func (a *answer) whole(w http.ResponseWriter, r *http.Request, reply *serve.Reply) {
	for {
		events, err := reply.Next(r.Context())
		for _, e := range events {
			a.take(e, true)
		}
		switch {
		case err == nil:
			continue
		case r.Context().Err() != nil:
			return
		case !errors.Is(err, io.EOF):
			guard.Note(r.Context(), "fault", err)
			writeError(w, err)
			return
		}
		break
	}
	body := completion{ID: a.id, Object: "chat.completion", Created: a.created, Model: a.asked.Model, Usage: a.usage()}
	for i := range a.choices {
		c := &a.choices[i]
		said := &wireMessage{Role: "assistant", Content: orEmpty(c.text.String())}
		body.Choices = append(body.Choices, wireChoice{Index: i, Message: said, Logprobs: a.logprobs(c.tokens),
			FinishReason: orNull(string(c.finish))})
	}
	writeJSON(w, http.StatusOK, body)
}
