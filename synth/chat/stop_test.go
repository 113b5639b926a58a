package chat

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/synth/chat/chattest"
)

// What ends a run at its first request, or after two answers: when, and with which words.
func TestStops(t *testing.T) {
	const no = -1
	auth := []string{"localhost", "status 401", "set the environment variable"}
	for _, c := range []struct {
		behaviour     chattest.Behaviour
		first, middle int // requests that met it; no: it does not end a run then, 0: any number
		says          []string
		least, most   time.Duration
	}{
		{chattest.Unauthorized, 1, 3, auth, 0, 0},
		{chattest.Missing, 1, 3, []string{"status 404", "no such model"}, 0, 0},
		{chattest.Bad, 1, 3, []string{"status 400", "something is wrong"}, 0, 0},
		{chattest.Redirect, 1, 3, []string{"status 307"}, 0, 0},
		{chattest.Quota, 1, 1, []string{"you have no money", "add credit"}, 0, 0},
		{chattest.CutPrompt, 1, no, []string{"read", "tokens of a prompt of", "OLLAMA_CONTEXT_LENGTH"}, 0, 0},
		{chattest.LimitDay, 1, 1, []string{"24h0m0s", "30m0s"}, 0, 0},
		{chattest.Limit, 0, 0, []string{"would let nothing pass", "status 429"}, 28 * time.Minute, 31 * time.Minute},
		// Ten, then after 5, 15, 35, 75, 155, 315, 615, 915, 1215, 1515 and 1800 seconds.
		{chattest.Down, 21, 21, []string{"out of order for 30m0s", "status 500"}, 30 * time.Minute, 32 * time.Minute},
	} {
		for before, want := range map[int]int{0: c.first, 2: c.middle} {
			if want == no {
				continue
			}
			t.Run(fmt.Sprint(string(c.behaviour), ", after ", before), func(t *testing.T) {
				n := 0
				e, folder := &chattest.Endpoint{Script: func(chattest.Call) chattest.Behaviour {
					if n++; n <= before {
						return chattest.Answer
					}
					return c.behaviour
				}}, t.TempDir()
				virtual(t, e, nil, func(t *testing.T, s Settings) {
					s.Concurrency = 1
					who, began := ask(keys(50)), time.Now()
					_, err := runKeys(t, folder, s, who)
					wantError(t, err, failure.ErrRemote, c.says...)
					if failure.IsStorage(err) || errors.Is(err, failure.ErrInput) {
						t.Errorf("it is counted as another's fault, too: %v", err)
					}
					took, met := time.Since(began), len(e.Calls())-before
					if took < c.least || took > c.most || want > 0 && met != want || met > 100 {
						t.Errorf("%d requests met it in %v, want %d in %v to %v", met, took, want, c.least, c.most)
					}
					if got := who.outcomes(); got[Answered] != before {
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

// Without an estimate of the caller, a low count of tokens proves nothing.
func TestGuessedPromptIsNotCut(t *testing.T) {
	e, folder := &chattest.Endpoint{Script: always(chattest.CutPrompt)}, t.TempDir()
	c, left := open(t, folder, settings(serve(t, e))), keys(3)
	must(t, c.Run(t.Context(), func() (Request, bool) {
		if len(left) == 0 {
			return Request{}, false
		}
		r := request(left[0])
		r.PromptTokens, left = 0, left[1:]
		return r, true
	}, ask(nil).done))
	if len(e.Calls()) != 3 {
		t.Errorf("%d requests", len(e.Calls()))
	}
}
