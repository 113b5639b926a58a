package openai

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/llavatrain/llavatrain/serve"
	"github.com/llavatrain/llavatrain/serve/guard"
)

// waitingTime is how often a client that waits hears that it does.
const waitingTime = 2 * time.Second

// errQuiet ends a wait for events.
var errQuiet = errors.New("nothing has come")

// events writes an answer as server-sent events.
type events struct {
	*answer
	w       http.ResponseWriter
	control *http.ResponseController
	begun   bool  // headers were sent
	spoken  bool  // the events with the role were sent
	failed  error // of writing
	place   int   // in the queue, 0: unknown, or the request waits no more
}

// stream sends the answer while it grows. An error before anything was sent has a status of its own; a later one is an
// event, and [DONE] does not follow it.
func (a *answer) stream(w http.ResponseWriter, r *http.Request, reply *serve.Reply) {
	out := &events{answer: a, w: w, control: http.NewResponseController(w)}
	for out.failed == nil {
		list, err := next(r.Context(), reply)
		switch {
		case r.Context().Err() != nil:
			return
		case errors.Is(err, errQuiet):
			out.waiting()
		case errors.Is(err, io.EOF):
			out.end()
			return
		case err != nil:
			guard.Note(r.Context(), "fault", err)
			if !out.begun {
				writeError(w, err)
				return
			}
			out.event(faultOf(err))
			out.flush()
			return
		}
		for _, e := range list {
			out.send(e)
		}
		out.flush()
	}
}

// next is the reply's Next that returns errQuiet after a while.
func next(ctx context.Context, reply *serve.Reply) ([]serve.Event, error) {
	quiet, cancel := context.WithTimeoutCause(ctx, waitingTime, errQuiet)
	defer cancel()
	return reply.Next(quiet)
}

// send writes an event of the engine.
func (out *events) send(e serve.Event) {
	if !out.take(e, false) {
		out.place = max(0, e.Place)
		out.waiting()
		return
	}
	out.place = 0
	out.speak()
	if logprobs := out.logprobs(e.Tokens); e.Text != "" || logprobs != nil && len(logprobs.Content) > 0 {
		out.chunk(wireChoice{Index: e.Choice, Delta: &wireMessage{Content: orEmpty(e.Text)}, Logprobs: logprobs})
	}
	if e.Finish != serve.Unfinished {
		out.chunk(wireChoice{Index: e.Choice, Delta: &wireMessage{}, FinishReason: orNull(string(e.Finish))})
	}
}

// waiting is a comment, which says to a page at which place in the queue it is.
func (out *events) waiting() {
	if out.place > 0 {
		out.write(fmt.Sprintf(": waiting %d\n\n", out.place))
		return
	}
	out.write(": waiting\n\n")
}

// speak says, once, who speaks.
func (out *events) speak() {
	if out.spoken {
		return
	}
	out.spoken = true
	for i := range out.choices {
		out.chunk(wireChoice{Index: i, Delta: &wireMessage{Role: "assistant", Content: orEmpty("")}})
	}
}

// end follows a whole answer.
func (out *events) end() {
	out.speak()
	if out.asked.StreamOptions.IncludeUsage {
		out.event(out.completion(nil, out.usage()))
	}
	out.write("data: [DONE]\n\n")
	out.flush()
}

func (out *events) chunk(c wireChoice) { out.event(out.completion([]wireChoice{c}, nil)) }

func (out *events) completion(choices []wireChoice, usage *wireUsage) completion {
	if choices == nil {
		choices = []wireChoice{}
	}
	return completion{ID: out.id, Object: "chat.completion.chunk", Created: out.created, Model: out.asked.Model,
		Choices: choices, Usage: usage}
}

func (out *events) event(value any) { out.write("data: " + string(marshal(value)) + "\n\n") }

func (out *events) write(text string) {
	if !out.begun {
		out.begun = true
		header := out.w.Header()
		header.Set("Content-Type", "text/event-stream")
		header.Set("Cache-Control", "no-cache")
		header.Set("X-Accel-Buffering", "no") // nginx would hold events back
	}
	if out.failed == nil {
		_, out.failed = io.WriteString(out.w, text)
	}
}

func (out *events) flush() {
	if err := out.control.Flush(); out.failed == nil {
		out.failed = err
	}
}
