package chat

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/synth/chat/chattest"
	"github.com/llavatrain/llavatrain/synth/chat/reply"
)

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
					first := who.last[again.Key]
					if !again.Recorded || again.Outcome != first.Outcome || again.Usage != first.Usage ||
						again.Reply.Content != first.Reply.Content {
						t.Errorf("read again: %+v, at first: %+v", again, first)
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
	var ids []string
	for _, c := range e.Calls() {
		ids = append(ids, c.Key)
	}
	slices.Sort(ids)
	if diff := cmp.Diff([]string{"k0", "k1", "k1-2", "k1-3", "k2", "k2-2"}, ids); diff != "" {
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
			want := map[bool]string{true: "max_completion_tokens", false: "max_tokens"}[i == 0]
			if c.Limit != want || c.MaxTokens != 200 {
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
