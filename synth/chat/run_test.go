package chat

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/synth/chat/chattest"
	"github.com/llavatrain/llavatrain/synth/chat/reply"
)

func never() bool { return false }

// What a single misbehaviour does to the first of three requests: how many are sent, what becomes of each, and what the
// ledger says of it.
func TestBehaviours(t *testing.T) {
	for _, c := range []struct {
		behaviour chattest.Behaviour
		calls     int
		outcome   Outcome
		fault     reply.Class // in the ledger
		maybe     bool        // paid
		least     time.Duration
		most      time.Duration
	}{
		{chattest.Answer, 3, Answered, "", false, 0, 0},
		{chattest.Slow, 3, Answered, "", false, 0, time.Second},
		{chattest.NoUsage, 3, Answered, "", false, 0, 0},
		{chattest.Refusal, 3, Answered, "", false, 0, 0},
		{chattest.Filtered, 3, Answered, "", false, 0, 0},
		{chattest.Other, 3, Answered, "", false, 0, 0},
		{chattest.Prompt, 3, Refused, "", false, 0, 0},
		{chattest.Context, 3, Refused, "", false, 0, 0},

		{chattest.Lost, 4, Answered, reply.Network, true, 0, time.Second},
		{chattest.Early, 4, Answered, reply.Network, true, 0, time.Second},
		{chattest.Long, 4, Answered, reply.Network, true, 0, time.Second},
		{chattest.Reset, 4, Answered, reply.Network, true, 0, time.Second},
		{chattest.Hang, 4, Answered, reply.Timeout, true, 5 * time.Second, 6 * time.Second},
		{chattest.Dribble, 4, Answered, reply.Timeout, true, 6250 * time.Millisecond, 7250 * time.Millisecond},
		{chattest.Half, 4, Answered, reply.BadBody, true, 0, time.Second},
		{chattest.Short, 4, Answered, reply.BadBody, true, 0, time.Second},
		{chattest.Huge, 4, Answered, reply.BadBody, true, 0, time.Second},
		{chattest.Empty, 4, Answered, reply.BadBody, true, 0, time.Second},
		{chattest.Down, 4, Answered, reply.Server, true, 0, time.Second},
		{chattest.Gateway, 4, Answered, reply.Server, true, 0, time.Second},
		{chattest.In200, 4, Answered, reply.Server, true, 0, time.Second},
		{chattest.Busy, 4, Answered, reply.Server, false, 50 * time.Millisecond, 50 * time.Millisecond},
		{chattest.Loading, 4, Answered, reply.Server, false, 0, time.Second},
		{chattest.LimitMS, 4, Answered, reply.RateLimit, false, 20 * time.Millisecond, 20 * time.Millisecond},
		{chattest.LimitS, 4, Answered, reply.RateLimit, false, 30 * time.Millisecond, 30 * time.Millisecond},
		{chattest.LimitAt, 4, Answered, reply.RateLimit, false, time.Second, time.Second},
		{chattest.Limit, 4, Answered, reply.RateLimit, false, 0, time.Second},
		{chattest.Unsupported, 4, Answered, reply.BadRequest, false, 0, 0},
	} {
		t.Run(string(c.behaviour), func(t *testing.T) {
			e, folder := &chattest.Endpoint{Script: script(c.behaviour)}, t.TempDir()
			virtual(t, e, nil, func(t *testing.T, s Settings) {
				who, began := ask(keys(3)), time.Now()
				summary, err := runKeys(t, folder, s, who)
				must(t, err)
				if took := time.Since(began); took < c.least || took > c.most {
					t.Errorf("took %v, want %v to %v", took, c.least, c.most)
				}
				if len(e.Calls()) != c.calls || who.last["k0"].Outcome != c.outcome || len(who.last) != 3 ||
					who.outcomes()[Answered] < 2 {
					t.Errorf("%d calls, %+v", len(e.Calls()), who.last)
				}
				want := map[reply.Class]int{}
				if c.fault != "" {
					want[c.fault] = 1
				}
				if diff := cmp.Diff(want, summary.Faults); diff != "" || (summary.MaybePaid.Prompt > 0) != c.maybe {
					t.Errorf("faults (-want +got):\n%s\n%+v", diff, summary)
				}
				for _, again := range ask(keys(3)).again(t, folder, s) {
					if !again.Recorded || again.Outcome != who.last[again.Key].Outcome ||
						again.Reply.Content != who.last[again.Key].Reply.Content || again.Usage != who.last[again.Key].Usage {
						t.Errorf("read again: %+v, at first: %+v", again, who.last[again.Key])
					}
				}
			})
			if len(e.Calls()) != c.calls {
				t.Errorf("the second run sent %d requests", len(e.Calls())-c.calls)
			}
		})
	}
}

// again runs over a finished ledger.
func (c *caller) again(t *testing.T, folder string, s Settings) map[string]Answer {
	t.Helper()
	_, err := runKeys(t, folder, s, c)
	must(t, err)
	return c.last
}

// What ends a run at its first answer, in the middle, or only if it is repeated.
func TestStops(t *testing.T) {
	good := []chattest.Behaviour{chattest.Answer, chattest.Answer}
	for _, c := range []struct {
		behaviour        chattest.Behaviour
		first, middle    int // requests that met it when the run ended, from the beginning or after two answers
		single           Outcome
		says             []string
		beginning, later time.Duration
	}{
		{chattest.Unauthorized, 1, 3, Failed, []string{"localhost", "status 401", "set the environment variable"}, 0, 0},
		{chattest.Missing, 1, 3, Failed, []string{"status 404", "no such model"}, 0, 0},
		{chattest.Bad, 1, 3, Failed, []string{"status 400", "something is wrong"}, 0, 0},
		{chattest.Redirect, 1, 3, Failed, []string{"status 307"}, 0, 0},
		{chattest.Quota, 1, 1, Answered, []string{"you have no money", "add credit"}, 0, 0},
		{chattest.CutPrompt, 1, -1, Answered, []string{"read", "tokens of a prompt of", "OLLAMA_CONTEXT_LENGTH"}, 0, 0},
		{chattest.LimitDay, 1, 1, Answered, []string{"24h0m0s", "30m0s"}, 0, 0},
		// Pauses of up to a minute, which grow: they cannot be many.
		{chattest.Limit, -1, -1, Answered, []string{"would let nothing pass", "status 429"}, 28 * time.Minute, 31 * time.Minute},
		// Ten, then after 5, 15, 35, 75, 155, 315, 615, 915, 1215, 1515 and 1800 seconds.
		{chattest.Down, 10 + 11, 10 + 11, Answered, []string{"out of order for 30m0s", "status 500"}, 30 * time.Minute,
			32 * time.Minute},
	} {
		for name, before := range map[string][]chattest.Behaviour{"first": nil, "middle": good} {
			t.Run(string(c.behaviour)+", "+name, func(t *testing.T) {
				e, folder := &chattest.Endpoint{Script: func(call chattest.Call) chattest.Behaviour { return c.behaviour }}, t.TempDir()
				if before != nil {
					answered := 0
					e.Script = func(call chattest.Call) chattest.Behaviour {
						if answered++; answered <= len(before) {
							return before[answered-1]
						}
						return c.behaviour
					}
				}
				want := c.first
				if before != nil {
					want = c.middle
				}
				if c.behaviour == chattest.CutPrompt && before != nil {
					t.Skip("measured on the first answer")
				}
				virtual(t, e, nil, func(t *testing.T, s Settings) {
					s.Concurrency = 1
					who, began := ask(keys(50)), time.Now()
					_, err := runKeys(t, folder, s, who)
					wantError(t, err, failure.ErrRemote, c.says...)
					if failure.IsStorage(err) || errors.Is(err, failure.ErrInput) {
						t.Errorf("it is counted as another's fault, too: %v", err)
					}
					if took := time.Since(began); took < c.beginning || took > c.later {
						t.Errorf("it took %v", took)
					}
					if met := len(e.Calls()) - len(before); want >= 0 && met != want || met > 100 {
						t.Errorf("%d requests met it, want %d", met, want)
					}
					if got := who.outcomes(); got[Answered] != len(before) {
						t.Errorf("outcomes %v", got)
					}
				})
			})
		}
	}
}

// A single fault of the kind that may be the settings' is the item's alone once others were answered.
func TestSingleRefusalIsTheItems(t *testing.T) {
	for _, b := range []chattest.Behaviour{chattest.Unauthorized, chattest.Missing, chattest.Bad, chattest.Redirect} {
		e, folder := &chattest.Endpoint{Script: script(chattest.Answer, b, b, chattest.Answer, b, b)}, t.TempDir()
		virtual(t, e, nil, func(t *testing.T, s Settings) {
			s.Concurrency = 1
			who := ask(keys(8))
			_, err := runKeys(t, folder, s, who)
			must(t, err)
			if got := who.outcomes(); got[Failed] != 4 || got[Answered] != 4 {
				t.Errorf("%s: %v", b, got)
			}
			if a := who.last["k1"]; a.Fault == nil || a.Fault.Status < 300 || !a.Last {
				t.Errorf("%s: %+v", b, a)
			}
			// The next run asks for those four.
			who = ask(keys(8))
			_, err = runKeys(t, folder, s, who)
			must(t, err)
			if len(e.Calls()) != 12 || who.outcomes()[Answered] != 8 {
				t.Errorf("%s: %d calls, %v", b, len(e.Calls()), who.outcomes())
			}
		})
	}
}

// An item is given up after five faults, and asked for by the next run.
func TestFiveTries(t *testing.T) {
	e := &chattest.Endpoint{Script: func(c chattest.Call) chattest.Behaviour {
		if c.Key == "k3" && c.Nth <= 7 {
			return []chattest.Behaviour{chattest.Down, chattest.Hang, chattest.Half, chattest.Reset}[c.Nth%4]
		}
		return chattest.Answer
	}}
	folder := t.TempDir()
	virtual(t, e, nil, func(t *testing.T, s Settings) {
		who := ask(keys(30))
		_, err := runKeys(t, folder, s, who)
		must(t, err)
		if who.last["k3"].Outcome != Failed || who.outcomes()[Answered] != 29 || len(e.Calls()) != 29+5 {
			t.Errorf("%+v, %d calls", who.last["k3"], len(e.Calls()))
		}
		_, err = runKeys(t, folder, s, who)
		must(t, err)
		again := ask(keys(30))
		_, err = runKeys(t, folder, s, again)
		must(t, err)
		if again.last["k3"].Outcome != Answered || len(e.Calls()) != 29+8 {
			t.Errorf("%+v, %d calls", again.last["k3"], len(e.Calls()))
		}
	})
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
						t.Errorf("%s, latency %v: a request %v after a pause of %v began", b, latency, c.At.Sub(p[0]), p[1].Sub(p[0]))
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

// A minute of outage swallows few requests, and everything is answered in the end.
func TestOutage(t *testing.T) {
	for name, b := range map[string]chattest.Behaviour{"refused": "", "500": chattest.Down, "reset": chattest.Reset,
		"hang": chattest.Hang} {
		for _, concurrency := range []int{1, 2, 8, 32} {
			t.Run(fmt.Sprint(name, " ", concurrency), func(t *testing.T) { outage(t, b, concurrency, true) })
			if concurrency <= 8 && b != "" {
				t.Run(fmt.Sprint(name, " ", concurrency, ", softly"), func(t *testing.T) { outage(t, b, concurrency, false) })
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
		if b.bad(began, false, time.Hour) != (wait > 0) || b.open || b.room() != max(1, 4-row) || wait > 0 && b.next.Sub(began) != wait*time.Second ||
			wait == 0 && !b.next.IsZero() {
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

// A verdict of Again has another answer, of another key of idempotency, as long as there are tries; later runs read the
// same answers in the same order.
func TestAgain(t *testing.T) {
	e, folder := &chattest.Endpoint{}, t.TempDir()
	again := func(a Answer) Verdict {
		if a.Key == "k1" || a.Key == "k2" && a.Try == 1 {
			return Again
		}
		return Done
	}
	virtual(t, e, nil, func(t *testing.T, s Settings) {
		for _, calls := range []int{5, 5, 6} {
			who := ask(keys(3))
			if who.verdict = again; calls == 6 {
				s.Tries = 3
			}
			_, err := runKeys(t, folder, s, who)
			must(t, err)
			if len(e.Calls()) != calls || len(who.all["k0"]) != 1 || len(who.all["k1"]) != s.usual().Tries ||
				len(who.all["k2"]) != 2 {
				t.Errorf("%d calls, %+v", len(e.Calls()), who.all)
			}
			for i, a := range who.all["k1"] {
				if a.Try != i+1 || a.Last != (i == s.usual().Tries-1) {
					t.Errorf("answer %d: %+v", i, a)
				}
			}
		}
	})
	ids := map[string]bool{}
	for _, c := range e.Calls() {
		ids[c.Key] = true
	}
	if diff := cmp.Diff(map[string]bool{"k0": true, "k1": true, "k1-2": true, "k1-3": true, "k2": true, "k2-2": true}, ids); diff != "" {
		t.Errorf("keys of idempotency (-want +got):\n%s", diff)
	}
}

// A key that comes twice is asked for once, at the same time and later.
func TestEqualKeysShareAnAnswer(t *testing.T) {
	e, folder := &chattest.Endpoint{Latency: time.Second, Script: script(chattest.Down)}, t.TempDir()
	virtual(t, e, nil, func(t *testing.T, s Settings) {
		who := ask([]string{"a", "a", "b", "a", "b", "c"})
		_, err := runKeys(t, folder, s, who)
		must(t, err)
		if len(e.Calls()) != 4 || len(who.all["a"]) != 3 || len(who.all["b"]) != 2 || len(who.all["c"]) != 1 {
			t.Errorf("%d calls, %v", len(e.Calls()), who.all)
		}
	})
}

// next may have nothing for the moment, and something after an answer.
func TestNextIsAskedAgain(t *testing.T) {
	e, folder := &chattest.Endpoint{Latency: time.Second}, t.TempDir()
	virtual(t, e, nil, func(t *testing.T, s Settings) {
		left, free := keys(5), true
		who := ask(nil)
		c := open(t, folder, s)
		must(t, c.Run(t.Context(), func() (Request, bool) {
			if !free || len(left) == 0 {
				return Request{}, false
			}
			free = false
			key := left[0]
			left = left[1:]
			return request(key), true
		}, func(a Answer) Verdict {
			free = true
			return who.done(a)
		}))
		if len(who.last) != 5 || e.Busiest() != 1 {
			t.Errorf("%d answers, %d at once", len(who.last), e.Busiest())
		}
	})
}

// A cancelled run sends nothing more, waits for what is in flight, keeps it and passes it on.
func TestCancel(t *testing.T) {
	e, folder := &chattest.Endpoint{Latency: time.Second}, t.TempDir()
	virtual(t, e, nil, func(t *testing.T, s Settings) {
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			time.Sleep(2500 * time.Millisecond)
			cancel()
		}()
		who, began := ask(keys(100)), time.Now()
		c := open(t, folder, s)
		err := c.Run(ctx, who.next, who.done)
		wantError(t, err, context.Canceled)
		if took := time.Since(began); took != 3*time.Second || len(who.last) != 1+2+4 || len(e.Calls()) != 7 {
			t.Errorf("%v, %d answers, %d calls", took, len(who.last), len(e.Calls()))
		}
		must(t, c.Close())
		if s := c.Summary(); s.Answers != 7 || s.Lost != 0 || s.Flying != 0 {
			t.Errorf("%+v", s)
		}
		// During a pause there is nothing to wait for.
		e.Script = always(chattest.LimitAt)
		ctx, cancel = context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		_, err = func() (Summary, error) {
			c := open(t, folder, s)
			defer c.Close()
			return c.Summary(), c.Run(ctx, ask(keys(10)).next, who.done)
		}()
		wantError(t, err, context.DeadlineExceeded)
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

// The other name of the limit is tried once, and kept.
func TestLimitIsSwappedOnce(t *testing.T) {
	e, folder := &chattest.Endpoint{Script: func(c chattest.Call) chattest.Behaviour {
		if c.Limit == "max_completion_tokens" {
			return chattest.Unsupported
		}
		return chattest.Answer
	}}, t.TempDir()
	virtual(t, e, nil, func(t *testing.T, s Settings) {
		s.Dialect = "openai"
		_, err := runKeys(t, folder, s, ask(keys(10)))
		must(t, err)
		for i, c := range e.Calls() {
			if want := map[bool]string{true: "max_completion_tokens", false: "max_tokens"}[i == 0]; c.Limit != want || c.MaxTokens != 200 {
				t.Errorf("call %d: %s %d", i, c.Limit, c.MaxTokens)
			}
		}
		e.Script = always(chattest.Unsupported)
		_, err = runKeys(t, folder, s, ask(keys(11)))
		wantError(t, err, failure.ErrRemote, "Unsupported parameter")
		if len(e.Calls()) != 13 {
			t.Errorf("%d calls", len(e.Calls()))
		}
	})
}

// Virtual time is virtual.
func TestVirtual(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		time.Sleep(time.Hour)
		if time.Since(began) != time.Hour {
			t.Error("time passed")
		}
	})
}
