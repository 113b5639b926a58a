package load

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// asks is a server that answers after a time.
type asks struct {
	after time.Duration
	mu    sync.Mutex
	due   []time.Duration // since the beginning
	sent  []time.Duration
	began time.Time
}

func (a *asks) ask(ctx context.Context, _ question, due time.Time) outcome {
	a.mu.Lock()
	a.due, a.sent = append(a.due, due.Sub(a.began)), append(a.sent, time.Since(a.began))
	a.mu.Unlock()
	select {
	case <-time.After(a.after):
	case <-ctx.Done():
	}
	now := time.Now()
	return outcome{ended: now, whole: now.Sub(due)}
}

// run runs a loop with this server, on a clock of its own, and returns how long it took.
func (a *asks) run(t *testing.T, l *loop, then func(took time.Duration)) {
	synctest.Test(t, func(t *testing.T) {
		a.began = time.Now()
		l.ask = a.ask
		if l.question == nil {
			l.question = func(int) question { return question{} }
		}
		l.run(t.Context())
		synctest.Wait()
		then(time.Since(a.began))
	})
}

// Requests of an open loop come at a Poisson process's times, however slow the answers are.
func TestOpenLoop(t *testing.T) {
	a, l := asks{after: time.Hour}, loop{rate: 10, requests: 2000, seed: 1}
	a.run(t, &l, func(took time.Duration) {
		last := slices.Max(a.due)
		if len(l.outcomes) != 2000 || took != last+time.Hour || l.most != 2000 {
			t.Errorf("%d requests, %d open, in %v", len(l.outcomes), l.most, took)
		}
		if last < 190*time.Second || last > 210*time.Second {
			t.Errorf("2,000 requests at 10/s began within %v", last)
		}
		slices.Sort(a.due)
		slices.Sort(a.sent)
		if !slices.Equal(a.due, a.sent) {
			t.Error("requests were not sent when they were due")
		}
		short := 0 // gaps below the mean: 63 %
		for i := 1; i < len(a.due); i++ {
			if a.due[i]-a.due[i-1] < 100*time.Millisecond {
				short++
			}
		}
		if short < 1200 || short > 1320 {
			t.Errorf("%d of 1,999 gaps are shorter than the mean", short)
		}
	})
	b, again := asks{after: time.Second}, loop{rate: 10, requests: 2000, seed: 1}
	b.run(t, &again, func(time.Duration) {
		if slices.Sort(b.due); !slices.Equal(a.due, b.due) {
			t.Error("the same seed has other times")
		}
	})
}

// A client that falls behind counts the time from when a request was due.
func TestOpenLoopFallsBehind(t *testing.T) {
	a, l := asks{after: time.Millisecond}, loop{rate: 1000, requests: 50,
		question: func(int) question { time.Sleep(time.Second); return question{} }}
	a.run(t, &l, func(took time.Duration) {
		if last := l.outcomes[49].whole; took < 50*time.Second || last < 49*time.Second {
			t.Errorf("took %v, the last answer %v", took, last)
		}
	})
}

// An open loop does not fill the memory with requests that nobody answers.
func TestOpenLoopBound(t *testing.T) {
	a, l := asks{after: 24 * time.Hour}, loop{rate: 1000, requests: mostOpen + 10}
	a.run(t, &l, func(time.Duration) {
		failed := 0
		for _, o := range l.outcomes {
			if o.kind == notSent {
				failed++
			}
		}
		if failed != 10 || len(a.due) != mostOpen || l.most != mostOpen {
			t.Errorf("%d not sent, %d asked, %d open", failed, len(a.due), l.most)
		}
	})
}

// A client of a closed loop asks again when its answer has ended.
func TestClosedLoop(t *testing.T) {
	a, l := asks{after: time.Second}, loop{clients: 4, requests: 10}
	a.run(t, &l, func(took time.Duration) {
		if took != 3*time.Second || len(l.outcomes) != 10 || l.most != 4 {
			t.Errorf("%d requests, %d at a time, in %v", len(l.outcomes), l.most, took)
		}
	})
}

// After the duration no request begins, and those that run end.
func TestDuration(t *testing.T) {
	for _, l := range []*loop{{clients: 2}, {rate: 3, seed: 5}} {
		a := asks{after: 4 * time.Second}
		l.duration = 10 * time.Second
		a.run(t, l, func(took time.Duration) {
			if len(l.outcomes) < 6 || took < 10*time.Second || took > 14*time.Second ||
				slices.Max(a.sent) > 10*time.Second {
				t.Errorf("%d requests in %v, the last after %v", len(l.outcomes), took, slices.Max(a.sent))
			}
			for _, o := range l.outcomes {
				if o.whole != 4*time.Second {
					t.Errorf("an answer was ended after %v", o.whole)
				}
			}
		})
	}
}

// A loop that is ended leaves nothing running.
func TestLoopIsEnded(t *testing.T) {
	for _, l := range []*loop{{clients: 3}, {rate: 3}} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			a := asks{after: time.Hour}
			l.ask, l.question = a.ask, func(int) question { return question{} }
			began := time.Now()
			if l.run(ctx); time.Since(began) != 10*time.Second || l.open != 0 {
				t.Errorf("ended after %v with %d open", time.Since(began), l.open)
			}
		})
	}
}
