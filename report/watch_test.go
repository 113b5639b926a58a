package report

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/runs"
)

// alive gives a run a heartbeat, and locks its folder as a run in progress does.
func alive(t *testing.T, dir string, h runs.Heartbeat) {
	t.Helper()
	text, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, runs.HeartbeatFile), string(text))
	release, err := checkpoints.Run{Dir: dir}.Lock()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
}

func followed(t *testing.T, path string) (*Following, *Run) {
	t.Helper()
	f, err := Follow(path)
	if err != nil {
		t.Fatal(err)
	}
	r, _, err := f.Look()
	if err != nil {
		t.Fatal(err)
	}
	return f, r
}

// The stage that trains is followed, or else the last.
func TestFollow(t *testing.T) {
	dir := t.TempDir()
	first := writeRun(t, filepath.Join(dir, "pretrain"), "1e-3", 20)
	last := writeRun(t, filepath.Join(dir, "finetune"), "1e-3", 40)
	if f, _ := followed(t, dir); f.Dir() != last {
		t.Errorf("%s is followed, and %s is the last", f.Dir(), last)
	}
	alive(t, first, runs.Heartbeat{})
	if f, _ := followed(t, dir); f.Dir() != first {
		t.Errorf("%s is followed, and %s trains", f.Dir(), first)
	}
	if _, err := Follow(filepath.Join(dir, "none")); err == nil {
		t.Error("a folder that is not there is followed")
	}
	write(t, filepath.Join(first, runs.MetricsFile), "")
	f, err := Follow(first)
	if err != nil {
		t.Fatal(err)
	}
	if _, trains, err := f.Look(); !errors.Is(err, ErrNoSteps) || !trains {
		t.Errorf("a run that has just begun: trains %t, %v", trains, err)
	}
}

// A screen fits its terminal, whatever that holds, and shows what matters first.
func TestScreen(t *testing.T) {
	dir := writeRun(t, filepath.Join(t.TempDir(), "finetune"), "1e-3", 20)
	alive(t, dir, runs.Heartbeat{Time: dawn, Step: 20, Total: 40, Doing: "evaluating", Left: 127, Host: "a", PID: 7})
	_, r := followed(t, dir)
	text := r.Screen(100, 60, dawn.Add(time.Second))
	for _, want := range []string{"tiny, finetune: in progress, at step 20 of 40\n",
		" 50 %  step 20 of 40  2 min 07 s left\n",
		"loss 2.0500  lr 5.00e-05  grad norm 0.5  100 tokens/s  2.50 GB\n", "\nevaluating, process 7 on a\n",
		"held-out loss 3.8000 after step 20, lowest 3.8000\n",
		"pope f1 80.00 ± 2.75 after step 20, 300 questions, rule original\n",
		"1 step was not applied: loss or gradient not finite\n", "\nTraining loss (loss): all ",
		"\nSpeed (tokens a second)"} {
		if !strings.Contains(text, want) {
			t.Errorf("the screen lacks %q:\n%s", want, text)
		}
	}
	if late := r.Screen(100, 60, dawn.Add(time.Hour)); !strings.Contains(late, "; last heard of 1 h 00 min ago\n") {
		t.Errorf("after an hour:\n%s", late)
	}
	for _, size := range [][2]int{{100, 60}, {80, 24}, {28, 40}, {40, 12}, {20, 3}, {10, 1}} {
		text := r.Screen(size[0], size[1], dawn)
		if rows := strings.Count(text, "\n"); rows >= max(2, size[1]) {
			t.Errorf("%d rows in a terminal of %v:\n%s", rows, size, text)
		}
		for line := range strings.Lines(text) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > size[0] {
				t.Errorf("a line of %d characters in a terminal of %v: %q", n, size, line)
			}
		}
	}
}

// Plain lines tell of everything once, whatever has come in between.
func TestFollowedLines(t *testing.T) {
	whole := writeRun(t, filepath.Join(t.TempDir(), "finetune"), "1e-3", 40)
	dir := writeRun(t, filepath.Join(t.TempDir(), "finetune"), "1e-3", 18)
	f, r := followed(t, dir)
	if diff := cmp.Diff([]string{"tiny, finetune: stopped after step 18 of 40",
		"step 18/40  loss 2.0556  lr 5.56e-05  grad norm 0.5  100 tokens/s"}, f.Lines(r)); diff != "" {
		t.Errorf("at first (-want +got):\n%s", diff)
	}
	if err := os.CopyFS(filepath.Join(dir, "new"), os.DirFS(whole)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{runs.MetricsFile, runs.EvalFile, runs.EventsFile} {
		if err := os.Rename(filepath.Join(dir, "new", name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	r, _, err := f.Look()
	if err != nil {
		t.Fatal(err)
	}
	lines := f.Lines(r)
	text := strings.Join(lines, "\n")
	for _, want := range []string{"step 19/40  loss", "step 40/40  loss", "step 20/40  evaluation loss 3.8000",
		"step 40/40  pope by rule original: f1 100.00 ± 2.75  300 questions",
		"2026-11-03 08:40:00: checkpoint, step 40", "2026-11-03 09:00:00: finish, step 40"} {
		if strings.Count(text, want) != 1 {
			t.Errorf("%q stands there %d times:\n%s", want, strings.Count(text, want), text)
		}
	}
	if len(lines) != 22+3+2+3+1 { // steps, evaluations, benchmarks, checkpoints, the end
		t.Errorf("%d lines:\n%s", len(lines), text)
	}
	if again := f.Lines(r); len(again) > 0 {
		t.Errorf("told again: %q", again)
	}
}
