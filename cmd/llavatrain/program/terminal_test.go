package program

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/llavatrain/llavatrain/runs"
)

// Plain output mentions only long work, every time that it is done.
func TestPlainProgressIsQuietAboutShortWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		terminal := NewTerminal(&out)
		work := func(what string, pause time.Duration) {
			for done := range int64(4) {
				time.Sleep(pause)
				terminal.Progress(what, done+1, 4)
			}
			time.Sleep(time.Hour) // of training
		}
		work("loading", time.Second)
		work("evaluating", time.Second)
		work("evaluating", time.Second)
		if out.Len() > 0 {
			t.Errorf("short work is reported: %q", out.String())
		}
		work("evaluating", 4*time.Second)
		if want := "evaluating: 75 %, 3s left\n"; out.String() != want {
			t.Errorf("long work is reported as %q, want %q", out.String(), want)
		}
	})
}

// A line about a step says how long the run still takes, once that is known.
func TestPlainSteps(t *testing.T) {
	var out bytes.Buffer
	terminal := NewTerminal(&out)
	m := runs.Metrics{Step: 1, Loss: 2, LR: map[string]runs.Number{"projector": 1e-3, "language": 1e-3}, TokensPerS: 7}
	terminal.Step(m, 80, 0)
	m.Step = 2
	terminal.Step(m, 80, 127*time.Second)
	m.Step = 3
	terminal.Step(m, 80, 126*time.Second)
	if want := "step 1/80  loss 2.0000  lr 1.00e-03  grad norm 0  7 tokens/s\n" +
		"step 2/80  loss 2.0000  lr 1.00e-03  grad norm 0  7 tokens/s  2 min 07 s left\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}

// A status leaves room for bar, counts and times, whatever it says.
func TestStatusFits(t *testing.T) {
	long := strings.Repeat("é", 200)
	for _, c := range []struct {
		columns int
		total   int64
		want    int // characters
	}{{80, 300, 42}, {80, 158_000, 36}, {120, 300, 82}, {30, 300, 10}, {0, 300, 200}, {400, 300, 200}} {
		got := []rune(fit(long, c.columns, c.total))
		if cut := got[len(got)-1] == '…'; len(got) != c.want || cut != (c.want < 200) {
			t.Errorf("%+v: %q", c, string(got))
		}
	}
}

func TestPlainStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		terminal := NewTerminal(&out)
		for done := range int64(4) {
			terminal.Status("synth", "2 rejected", done, 4)
			time.Sleep(4 * time.Second)
		}
		if want := "synth: 2 of 4, 2 rejected: 50 %, 8s left\n"; out.String() != want {
			t.Errorf("%q, want %q", out.String(), want)
		}
	})
}
