package load

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// loop asks questions, and waits for all answers.
type loop struct {
	clients  int     // of a closed loop
	rate     float64 // of an open one, if more than 0
	requests int     // 0: any number
	duration time.Duration
	seed     uint64
	question func(i int) question
	ask      func(ctx context.Context, q question, due time.Time) outcome

	mu       sync.Mutex
	open     int // requests now
	most     int // of open
	outcomes []outcome
}

// ahead is how many questions are prepared before they are due: to draw one takes as long as some answers.
const ahead = 16

// mostOpen is how many requests of an open loop may be open at a time. What comes besides is not sent, and counts as a
// failure.
const mostOpen = 4096

// run returns when the last answer has ended.
func (l *loop) run(ctx context.Context) {
	asking, stop := context.WithCancel(ctx)
	defer stop()
	if l.duration > 0 {
		defer time.AfterFunc(l.duration, stop).Stop()
	}
	ready := make(chan question, ahead)
	go l.prepare(asking, ready)
	if l.rate > 0 {
		l.runOpen(ctx, asking, ready)
	} else {
		l.runClosed(ctx, asking, ready)
	}
	stop()
	for range ready { // until prepare has ended
	}
}

// prepare makes questions until there are enough or asking ends.
func (l *loop) prepare(asking context.Context, ready chan<- question) {
	defer close(ready)
	for i := 0; l.requests == 0 || i < l.requests; i++ {
		select {
		case ready <- l.question(i):
		case <-asking.Done():
			return
		}
	}
}

// next waits for a question. ok is false when there are no more.
func next(asking context.Context, ready <-chan question) (q question, ok bool) {
	if asking.Err() != nil {
		return q, false
	}
	select {
	case q, ok = <-ready:
		return q, ok
	case <-asking.Done():
		return q, false
	}
}

func (l *loop) runClosed(ctx, asking context.Context, ready <-chan question) {
	var all sync.WaitGroup
	for range l.clients {
		all.Go(func() {
			for {
				q, ok := next(asking, ready)
				if !ok {
					return
				}
				l.begin()
				l.end(l.ask(ctx, q, time.Now()))
			}
		})
	}
	all.Wait()
}

func (l *loop) runOpen(ctx, asking context.Context, ready <-chan question) {
	var all sync.WaitGroup
	defer all.Wait()
	random := rand.New(rand.NewPCG(l.seed, 0))
	for due := time.Now(); ; {
		due = due.Add(time.Duration(random.ExpFloat64() / l.rate * float64(time.Second)))
		select {
		case <-time.After(time.Until(due)):
		case <-asking.Done():
			return
		}
		q, ok := next(asking, ready)
		if !ok {
			return
		}
		if l.begin() > mostOpen {
			l.end(outcome{kind: notSent, message: "so many requests are open that this one was not sent"})
			continue
		}
		all.Go(func() { l.end(l.ask(ctx, q, due)) })
	}
}

// begin counts a request, and returns how many are open with it.
func (l *loop) begin() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open++
	l.most = max(l.most, min(l.open, mostOpen))
	return l.open
}

func (l *loop) end(o outcome) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	l.outcomes = append(l.outcomes, o)
}
