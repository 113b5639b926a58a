package servetest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/llavatrain/llavatrain/serve"
)

// Engine is a toy engine. Set its fields before the first request.
type Engine struct {
	Served serve.Model
	Pace   time.Duration   // between pieces by the rules slow and endless
	Gate   <-chan struct{} // if not nil, every piece of an answer waits for a value from it, or for its closing

	mu       sync.Mutex
	status   serve.Status
	requests []serve.Request
	last     string        // the prompt of the last request
	open     int           // replies that were not closed
	closed   chan struct{} // is closed and replaced when a reply is closed
}

// New makes an engine that looks at pictures.
func New(name string) *Engine {
	return &Engine{
		Served: serve.Model{Name: name, Template: "vicuna_v1", StopText: "</s>", Created: time.Unix(1_700_000_000, 0),
			Images: true, ImageTokens: 16, MaxPositions: 2048, MaxTokens: 2000},
		Pace: 10 * time.Millisecond, closed: make(chan struct{}),
	}
}

// Model implements serve.Engine.
func (e *Engine) Model() serve.Model { return e.Served }

// Status implements serve.Engine.
func (e *Engine) Status() serve.Status {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.status
	s.StepTokens = slices.Clone(s.StepTokens)
	s.Used = min(1, float64(s.Running)/100)
	e.status.QueueSeconds, e.status.PrefillSeconds = nil, nil
	return s
}

// Requests are all that were submitted, refused ones included.
func (e *Engine) Requests() []serve.Request {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.requests)
}

// Open is how many replies have not been closed.
func (e *Engine) Open() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.open
}

// Cancelled is how many replies were closed before they had ended.
func (e *Engine) Cancelled() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return int(e.status.FinishedByCancel)
}

// WaitIdle waits until every reply has been closed and nothing runs.
func (e *Engine) WaitIdle(ctx context.Context) error {
	for {
		e.mu.Lock()
		idle, closed := e.open == 0 && e.status.Running == 0, e.closed
		e.mu.Unlock()
		if idle {
			return nil
		}
		select {
		case <-closed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Submit implements serve.Engine.
func (e *Engine) Submit(r serve.Request) (*serve.Reply, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.requests = append(e.requests, r)
	a, refusal := e.plan(r)
	if refusal != nil {
		return nil, refusal
	}
	e.open++
	e.status.Running++
	ctx, cancel := context.WithCancel(context.Background())
	reply := serve.NewReply(func() {
		cancel()
		e.change(func() { e.open-- })
	})
	if reply.Seed = 7; r.Sampling.Seed != nil {
		reply.Seed = *r.Sampling.Seed
	}
	go e.run(ctx, a, reply)
	return reply, nil
}

// change changes what is counted, and wakes WaitIdle.
func (e *Engine) change(what func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	what()
	close(e.closed)
	e.closed = make(chan struct{})
}

// run sends an answer's events until it ends or ctx does.
func (e *Engine) run(ctx context.Context, a answer, reply *serve.Reply) {
	var err error
	for err == nil {
		var event serve.Event
		var ok bool
		if event, ok, err = a.next(); err != nil || !ok {
			break
		}
		if err = e.wait(ctx, a.pace); err == nil {
			e.change(func() { e.count(event, &a) })
			reply.Send(event)
		}
	}
	e.change(func() {
		s := &e.status
		s.Running--
		switch {
		case errors.Is(err, context.Canceled):
			s.FinishedByCancel++
		case err != nil:
			s.FinishedSick++
		case a.finish() == serve.TooLong:
			s.FinishedByEnd++
		default:
			s.FinishedByStop++
		}
		if len(s.QueueSeconds) < 1000 {
			s.QueueSeconds, s.PrefillSeconds = append(s.QueueSeconds, 0.25), append(s.PrefillSeconds, 0.5)
		}
	})
	reply.End(err)
}

func (e *Engine) wait(ctx context.Context, pace time.Duration) error {
	if e.Gate != nil {
		select {
		case <-e.Gate:
		case <-ctx.Done():
		}
	}
	if pace > 0 {
		select {
		case <-time.After(pace):
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

func (e *Engine) count(event serve.Event, a *answer) {
	s := &e.status
	if !a.counted {
		a.counted = true
		s.PromptTokens += int64(a.usage.Prompt)
		s.QueriedTokens += int64(a.usage.Prompt)
		s.CachedTokens += int64(a.usage.Cached)
		s.Pictures += int64(a.pictures)
	}
	if s.StepTokens == nil {
		s.StepTokens = make([]int64, len(serve.StepBounds)+1)
	}
	if event.Place == 0 {
		s.AnswerTokens++
		s.Steps++
		s.StepTokens[0]++
	}
}
