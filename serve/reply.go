package serve

import (
	"context"
	"io"
	"sync"
)

// Reply carries an answer from the engine to its reader. Neither waits for the other: what the reader has not taken is
// kept, and is never more than one answer.
type Reply struct {
	Seed int64 // that replays the answer

	// Observe, if not nil, is called with what Next returns before it does. It is set before the first Next.
	Observe func([]Event, error)

	mu     sync.Mutex
	events []Event
	err    error         // io.EOF after the last event
	more   chan struct{} // holds a signal if there is something to take
	cancel func()
}

// NewReply makes a reply. cancel is called, once, when the reader closes it.
func NewReply(cancel func()) *Reply {
	return &Reply{more: make(chan struct{}, 1), cancel: sync.OnceFunc(cancel)}
}

// Send adds an event. The engine calls it, and never waits.
func (r *Reply) Send(e Event) { r.add(e, nil) }

// End says that nothing follows: err is nil after a whole answer.
func (r *Reply) End(err error) {
	if err == nil {
		err = io.EOF
	}
	r.add(Event{}, err)
}

func (r *Reply) add(e Event, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return
	}
	if r.err = err; err == nil {
		r.events = append(r.events, e)
	}
	select {
	case r.more <- struct{}{}:
	default:
	}
}

// Next waits for events and returns all that have come. After the last one the error is io.EOF, or that of the engine.
func (r *Reply) Next(ctx context.Context) ([]Event, error) {
	events, err := r.next(ctx)
	if r.Observe != nil {
		r.Observe(events, err)
	}
	return events, err
}

func (r *Reply) next(ctx context.Context) ([]Event, error) {
	for {
		r.mu.Lock()
		events, err := r.events, r.err
		r.events = nil
		r.mu.Unlock()
		if len(events) > 0 {
			return events, nil
		}
		if err != nil {
			return nil, err
		}
		select {
		case <-r.more:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// Close cancels what is still to come. The engine frees the request's memory before its next step.
func (r *Reply) Close() { r.cancel() }
