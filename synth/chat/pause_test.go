package chat

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/synth/chat/chattest"
	"github.com/llavatrain/llavatrain/synth/chat/reply"
)

// An endpoint that asks for a second's pause all the time does not fill the screen. A long pause is always told.
func TestPausesAreToldNowAndThen(t *testing.T) {
	said := 0
	s := settings("http://localhost/v1")
	s.Say = func(string) { said++ }
	c := open(t, t.TempDir(), s)
	var err error
	c.endpoint, err = connect(s)
	must(t, err)
	r := newRun(t.Context(), c, nil, nil)
	now := time.Now()
	for i, want := range []struct {
		wait time.Duration
		said int
	}{{time.Second, 1}, {2 * time.Second, 1}, {29 * time.Second, 1}, {30 * time.Second, 2}, {30 * time.Second, 3},
		{time.Second, 3}, {time.Second, 4}, {time.Hour, 5}} {
		it := &item{exchange: exchange{sent: now, fault: &reply.Fault{Class: reply.RateLimit, Status: 429,
			Wait: want.wait}}}
		if r.pause(it, now); said != want.said {
			t.Errorf("pause %d, of %v: %d messages", i+1, want.wait, said)
		}
		now = now.Add(want.wait + 15*time.Second)
	}
}

// While a limit of the rate lasts, nothing is sent at all, by later runs neither.
func TestNothingIsSentDuringAPause(t *testing.T) {
	for b, pause := range map[chattest.Behaviour]time.Duration{chattest.LimitMS: 20 * time.Millisecond,
		chattest.LimitS: 30 * time.Millisecond, chattest.LimitAt: time.Second} {
		for _, latency := range []time.Duration{0, time.Millisecond, 7 * time.Millisecond} {
			n := 0
			e := &chattest.Endpoint{Latency: latency, Script: func(chattest.Call) chattest.Behaviour {
				if n++; n%17 == 0 {
					return b
				}
				return chattest.Answer
			}}
			folder := t.TempDir()
			virtual(t, e, nil, func(t *testing.T, s Settings) {
				for part := range 4 {
					ctx, cancel := context.WithTimeout(t.Context(), pause*5/2)
					who := ask(keys(500 * (part + 1)))
					c, err := Open(folder, s)
					must(t, err)
					err = c.Run(ctx, who.next, who.done)
					if err != nil && !errors.Is(err, context.DeadlineExceeded) {
						t.Fatal(err)
					}
					must(t, c.Close())
					cancel()
				}
			})
			var pauses [][2]time.Time
			for _, c := range e.Calls() {
				for _, p := range pauses {
					if c.At.After(p[0]) && c.At.Before(p[1]) {
						t.Errorf("%s, latency %v: a request %v after a pause of %v began", b, latency, c.At.Sub(p[0]),
							p[1].Sub(p[0]))
					}
				}
				if c.Wait > 0 {
					begun := c.At.Add(latency)
					pauses = append(pauses, [2]time.Time{begun, begun.Add(c.Wait)})
				}
			}
			if len(pauses) < 2 {
				t.Errorf("%s: only %d pauses", b, len(pauses))
			}
		}
	}
}

// A wait that is longer than patience ends a run, and does not keep the next from asking; a shorter one does.
func TestWaitsOfEarlierRuns(t *testing.T) {
	e, folder := &chattest.Endpoint{Script: script(chattest.LimitDay)}, t.TempDir()
	virtual(t, e, nil, func(t *testing.T, s Settings) {
		_, err := runKeys(t, folder, s, ask(keys(1)))
		wantError(t, err, failure.ErrRemote, "24h0m0s")
		began := time.Now()
		_, err = runKeys(t, folder, s, ask(keys(1)))
		if must(t, err); time.Since(began) > 0 || len(e.Calls()) != 2 {
			t.Errorf("took %v, %d calls", time.Since(began), len(e.Calls()))
		}
		// The endpoint is too busy for one item, which waits; others do not.
		e.Script = func(c chattest.Call) chattest.Behaviour {
			return map[bool]chattest.Behaviour{true: chattest.Busy, false: chattest.Answer}[c.Key == "k2" && c.Nth == 1]
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		c := open(t, folder, s)
		wantError(t, c.Run(ctx, ask([]string{"k2"}).next, ask(nil).done), context.DeadlineExceeded)
		must(t, c.Close())
		began = time.Now()
		_, err = runKeys(t, folder, s, ask(keys(6)))
		must(t, err)
		for _, c := range e.Calls()[3:] {
			if (c.Key == "k2") != (c.At.Sub(began) == 40*time.Millisecond) {
				t.Errorf("%s was sent after %v", c.Key, c.At.Sub(began))
			}
		}
	})
}

// Concurrency begins with one request and rises by one with each answer. After a limit it is halved.
func TestConcurrencyRises(t *testing.T) {
	e, folder := &chattest.Endpoint{Latency: time.Second}, t.TempDir()
	virtual(t, e, nil, func(t *testing.T, s Settings) {
		began := time.Now()
		_, err := runKeys(t, folder, s, ask(keys(1+2+4+8+8+8)))
		must(t, err)
		if took := time.Since(began); took != 6*time.Second || e.Busiest() != 8 {
			t.Errorf("took %v, with %d at once", took, e.Busiest())
		}
	})
	e, folder = &chattest.Endpoint{Latency: time.Second}, t.TempDir()
	virtual(t, e, nil, func(t *testing.T, s Settings) {
		began := time.Now()
		e.Script = func(c chattest.Call) chattest.Behaviour {
			if c.At.Sub(began) == 3*time.Second {
				return chattest.LimitAt
			}
			return chattest.Answer
		}
		_, err := runKeys(t, folder, s, ask(keys(20)))
		must(t, err)
		sent := map[time.Duration]int{}
		for _, c := range e.Calls() {
			sent[c.At.Sub(began)/time.Second]++
		}
		if diff := cmp.Diff(map[time.Duration]int{0: 1, 1: 2, 2: 4, 3: 8, 5: 4, 6: 8, 7: 1}, sent); diff != "" {
			t.Errorf("requests by second (-want +got):\n%s", diff)
		}
	})
}

// Rates: requests and tokens a minute, named by the settings or by the endpoint.
func TestRates(t *testing.T) {
	tokens, _ := chattest.Tokens(string(request("k0").Messages), "k0")
	limits := func(requests, tokens string) map[string][]string {
		return map[string][]string{"X-Ratelimit-Limit-Requests": {requests}, "X-Ratelimit-Limit-Tokens": {tokens}}
	}
	for name, c := range map[string]struct {
		rpm, tpm int
		headers  map[string][]string
		least    time.Duration
		most     time.Duration
	}{
		"none":                    {0, 0, nil, 0, 0},
		"unknown":                 {0, 0, limits("-1", "0"), 0, 0},
		"requests":                {30, 0, nil, 58 * time.Second, 60 * time.Second},
		"the endpoint's requests": {0, 0, limits("30", "x"), 56 * time.Second, 60 * time.Second},
		"the settings win":        {60, 0, limits("30", ""), 28 * time.Second, 30 * time.Second},
		// The first request is expected to use 200 tokens more than it does, and that is given back.
		"tokens":                {0, 30 * (tokens + 45), nil, 45 * time.Second, 60 * time.Second},
		"the endpoint's tokens": {0, 0, limits("", fmt.Sprint(30*(tokens+45))), 45 * time.Second, 60 * time.Second},
	} {
		e, folder := &chattest.Endpoint{Headers: c.headers}, t.TempDir()
		virtual(t, e, nil, func(t *testing.T, s Settings) {
			s.RPM, s.TPM = c.rpm, c.tpm
			began := time.Now()
			_, err := runKeys(t, folder, s, ask(keys(30)))
			must(t, err)
			if took := time.Since(began); took < c.least || took > c.most {
				t.Errorf("%s: took %v, want %v to %v", name, took, c.least, c.most)
			}
		})
	}
}

// llama.cpp's server may load its model for long, which is no outage and no fault of an item.
func TestLoading(t *testing.T) {
	e, folder := &chattest.Endpoint{}, t.TempDir()
	virtual(t, e, nil, func(t *testing.T, s Settings) {
		began := time.Now()
		e.Script = func(chattest.Call) chattest.Behaviour {
			if time.Since(began) < 10*time.Minute {
				return chattest.Loading
			}
			return chattest.Answer
		}
		who := ask(keys(3))
		_, err := runKeys(t, folder, s, who)
		must(t, err)
		if took := time.Since(began); who.outcomes()[Answered] != 3 || took > 11*time.Minute || len(e.Calls()) > 100 {
			t.Errorf("%v, %d calls, took %v", who.outcomes(), len(e.Calls()), took)
		}
	})
}
