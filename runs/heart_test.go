package runs

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

func heartbeat(t *testing.T, dir string) (h Heartbeat) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, HeartbeatFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &h); err != nil {
		t.Fatal(err)
	}
	return h
}

// listener counts what it is told.
type listener struct {
	Silent
	steps, progress int
}

func (l *listener) Step(Metrics, int, time.Duration) { l.steps++ }
func (l *listener) Progress(string, int64, int64)    { l.progress++ }

// The heart beats when something is done, at most once a second, and not by itself.
func TestHeart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, heard := t.TempDir(), &listener{}
		h := NewHeart(heard)
		h.Step(Metrics{Step: 1}, 10, 0) // before the folder is there
		h.Progress("loading weights", 1, 2)
		h.Begin(dir, 2, 10)
		first := heartbeat(t, dir)
		if first.Step != 2 || first.Total != 10 || first.Doing != Training || first.PID != os.Getpid() {
			t.Errorf("at first %+v", first)
		}
		time.Sleep(time.Second / 2)
		h.Step(Metrics{Step: 3}, 10, time.Minute)
		if got := heartbeat(t, dir); got != first {
			t.Errorf("after half a second %+v", got)
		}
		time.Sleep(time.Second / 2)
		h.Step(Metrics{Step: 4}, 10, time.Minute)
		if got := heartbeat(t, dir); got.Step != 4 || got.Left != 60 || !got.Time.After(first.Time) {
			t.Errorf("after a second %+v", got)
		}
		h.Doing(Saving)
		h.Progress("evaluating", 1, 5)
		if got := heartbeat(t, dir); got.Doing != "evaluating" || got.Step != 4 {
			t.Errorf("doing something else %+v", got)
		}
		time.Sleep(time.Hour)
		before := heartbeat(t, dir)
		h.End(Ended)
		if got := heartbeat(t, dir); got.Doing != Ended || got.Left != 0 || got.Time.Sub(before.Time) < time.Hour {
			t.Errorf("at the end %+v, an hour before %+v", got, before)
		}
		if heard.steps != 3 || heard.progress != 2 {
			t.Errorf("%+v was passed on", heard)
		}
	})
}

// A folder that cannot be written, or no heart at all, keeps no run from going on.
func TestNoHeart(t *testing.T) {
	h := NewHeart(Silent{})
	h.Begin(filepath.Join(t.TempDir(), "none"), 0, 1)
	h.Step(Metrics{Step: 1}, 1, 0)
	h.End(Halted)
	var none *Heart
	none.Doing(Saving)
	none.End(Ended)
}

func TestLasting(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 s", 59 * time.Second: "59 s", 127 * time.Second: "2 min 07 s", 65 * time.Minute: "1 h 05 min",
		76 * time.Hour: "3 days 4 h", 59*time.Second + 700*time.Millisecond: "1 min 00 s",
	} {
		if got := Lasting(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}
