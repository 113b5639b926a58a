package program

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"
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
