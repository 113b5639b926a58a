package chat

import (
	"fmt"
	"testing"
	"time"

	"github.com/llavatrain/llavatrain/synth/chat/chattest"
)

// A minute of outage swallows few requests, and everything is answered in the end.
func TestOutage(t *testing.T) {
	for name, b := range map[string]chattest.Behaviour{"refused": "", "500": chattest.Down, "reset": chattest.Reset,
		"hang": chattest.Hang} {
		for _, concurrency := range []int{1, 2, 8, 32} {
			for _, hard := range []bool{true, false} {
				// What a soft one of refused connections swallows is not decided by the client: all that end at its
				// first moment are followed by others.
				if hard || concurrency <= 8 && b != "" {
					t.Run(fmt.Sprint(name, " ", concurrency, " ", hard), func(t *testing.T) {
						outage(t, b, concurrency, hard)
					})
				}
			}
		}
	}
}

// outage has the endpoint behave badly for a minute, or refuse connections. A hard outage cuts what is in flight at its
// beginning.
func outage(t *testing.T, b chattest.Behaviour, concurrency int, hard bool) {
	const latency = 100 * time.Millisecond
	var from, to time.Time
	during := func(at time.Time) bool { return !at.Before(from) && at.Before(to) }
	e := &chattest.Endpoint{Latency: latency}
	e.Script = func(c chattest.Call) chattest.Behaviour {
		switch {
		case b != "" && during(c.At):
			return b
		case hard && during(c.At.Add(latency)):
			return chattest.Lost
		}
		return chattest.Answer
	}
	if b == "" { // no connection outlives the beginning
		e.Headers = map[string][]string{"Connection": {"close"}}
	}
	down := func() bool { return b == "" && during(time.Now()) }
	folder := t.TempDir()
	virtual(t, e, down, func(t *testing.T, s Settings) {
		from = time.Now().Add(2*time.Second + latency/2)
		to = from.Add(time.Minute)
		s.Concurrency = concurrency
		who := ask(keys(25*concurrency + 200)) // some are left after the outage
		_, err := runKeys(t, folder, s, who)
		must(t, err)
		sent := 0
		for _, r := range readLedger(t, folder) {
			if r.Record == recordClaim && during(time.UnixMilli(r.At)) {
				sent++
			}
		}
		t.Logf("%d requests during the outage, done %v after it", sent, time.Since(to).Round(time.Second))
		if sent > 12 || sent < 2 || who.outcomes()[Answered] != 25*concurrency+200 {
			t.Errorf("%d requests during the outage, outcomes %v", sent, who.outcomes())
		}
	})
}

// More than half of the last fifty opens the breaker as well.
func TestBreakerOpensOnHalf(t *testing.T) {
	var b breaker
	now := time.Now()
	for i := range 200 {
		if i%2 == 0 {
			b.good()
		} else if b.bad(now, false, time.Hour) {
			t.Fatalf("half of %d opened it", i)
		}
	}
	if !b.bad(now, false, time.Hour) || !b.open || b.next != now.Add(5*time.Second) {
		t.Errorf("26 of 50: %+v", b)
	}
	if !b.good() || b.open || b.room() < 1000 {
		t.Errorf("after a good probe: %+v", b)
	}
}

func TestProbes(t *testing.T) {
	var b breaker
	began := time.Now()
	for row, wait := range []time.Duration{0, 0, 0, 0, 2, 4, 8, 16, 32} {
		waits, next := b.bad(began, false, time.Hour), time.Time{}
		if wait > 0 {
			next = began.Add(wait * time.Second)
		}
		if waits != (wait > 0) || b.open || b.room() != max(1, 4-row) || b.next != next {
			t.Fatalf("%d faults: room for %d, %+v", row+1, b.room(), b)
		}
	}
	if !b.bad(began, false, time.Hour) || b.bad(began, false, time.Hour) {
		t.Fatalf("%+v", b)
	}
	now, want := began, []time.Duration{5, 10, 20, 40, 80, 160, 300, 300, 300, 300, 300, 300, 300, 300, 300, 300}
	for i, wait := range want {
		if got := b.next.Sub(now); got != min(wait*time.Second, began.Add(time.Hour).Sub(now)) {
			t.Errorf("probe %d after %v, want %vs", i, got, wait)
		}
		if now = b.next; b.over(now, time.Hour) != (now.Sub(began) == time.Hour) {
			t.Errorf("over after %v", now.Sub(began))
		}
		b.bad(now, true, time.Hour)
	}
}
