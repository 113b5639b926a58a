package tensorboard

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// board appends a loss of each step from first to last to a folder, as a run that goes on after the step before first.
func board(t *testing.T, dir string, first, last int) {
	t.Helper()
	w, err := Open(dir, first-1, func(Event) {})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for step := first; step <= last; step++ {
		if err := w.Append(step, Value{Tag: "loss", Number: float32(step)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Sync(); err != nil {
		t.Fatal(err)
	}
}

// contents has a line for each event of each file of a folder.
func contents(t *testing.T, dir string) (all []string) {
	t.Helper()
	files, err := eventFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		_, err = Read(strings.NewReader(string(data)), func(e Event) bool {
			line := fmt.Sprintf("%d: step %d", i, e.Step)
			switch {
			case e.Version != "":
				line = fmt.Sprintf("%d: %s", i, e.Version)
			case e.Start:
				line += " start"
			}
			for _, v := range e.Values {
				line += fmt.Sprintf(" %s %g", v.Tag, v.Number)
			}
			all = append(all, line)
			return true
		})
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	return all
}

func requireContents(t *testing.T, dir string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, contents(t, dir)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// A folder of three starts, the second after a kill that was followed by a step that no checkpoint had.
func threeStarts(t *testing.T) (dir string) {
	dir = t.TempDir()
	board(t, dir, 1, 3)
	board(t, dir, 3, 4)
	board(t, dir, 5, 5)
	requireContents(t, dir,
		"0: brain.Event:2", "0: step 1 start", "0: step 1 loss 1", "0: step 2 loss 2",
		"1: brain.Event:2", "1: step 3 start", "1: step 3 loss 3", "1: step 4 loss 4",
		"2: brain.Event:2", "2: step 5 start", "2: step 5 loss 5")
	return dir
}

func TestFilesAreCutToTheStep(t *testing.T) {
	dir := threeStarts(t)
	board(t, dir, 4, 4)
	requireContents(t, dir,
		"0: brain.Event:2", "0: step 1 start", "0: step 1 loss 1", "0: step 2 loss 2",
		"1: brain.Event:2", "1: step 3 start", "1: step 3 loss 3",
		"2: brain.Event:2", "2: step 4 start", "2: step 4 loss 4")
	board(t, dir, 1, 1)
	requireContents(t, dir, "0: brain.Event:2", "0: step 1 start", "0: step 1 loss 1")
}

// What belongs to the step that a run went on from may stand behind the start.
func TestLateValuesOfTheStepStay(t *testing.T) {
	dir := t.TempDir()
	board(t, dir, 1, 2)
	w, err := Open(dir, 2, func(Event) {})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Append(2, Value{Tag: "eval", Number: 7}); err != nil {
		t.Fatal(err)
	}
	w.Close()
	board(t, dir, 3, 3)
	if all := contents(t, dir); !slices.Contains(all, "1: step 2 eval 7") {
		t.Errorf("the evaluation is gone: %q", all)
	}
}

// Wherever a kill tears the last record, it goes, and all before it stays. Damage takes what follows with it, so that
// no reader sees a gap.
func TestTornTailsAreCut(t *testing.T) {
	whole := threeStarts(t)
	files, err := eventFiles(whole)
	if err != nil {
		t.Fatal(err)
	}
	last, err := os.ReadFile(files[2])
	if err != nil {
		t.Fatal(err)
	}
	tail := len(record(Event{WallTime: 1, Step: 5, Values: []Value{{Tag: "loss"}}}.encode()))
	for lost := 1; lost <= tail; lost++ {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
			t.Fatal(err)
		}
		torn := filepath.Join(dir, filepath.Base(files[2]))
		if err := os.WriteFile(torn, last[:len(last)-lost], 0o666); err != nil {
			t.Fatal(err)
		}
		board(t, dir, 6, 6)
		requireContents(t, dir,
			"0: brain.Event:2", "0: step 1 start", "0: step 1 loss 1", "0: step 2 loss 2",
			"1: brain.Event:2", "1: step 3 start", "1: step 3 loss 3", "1: step 4 loss 4",
			"2: brain.Event:2", "2: step 6 start", "2: step 6 loss 6")
	}
	if err := os.Truncate(files[0], 130); err != nil {
		t.Fatal(err)
	}
	var kept []int64
	w, err := Open(whole, 5, func(e Event) { kept = append(kept, e.Step) })
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	if diff := cmp.Diff([]int64{0, 1, 1}, kept); diff != "" {
		t.Errorf("steps behind damage (-want +got):\n%s", diff)
	}
	requireContents(t, whole, "0: brain.Event:2", "0: step 1 start", "0: step 1 loss 1",
		"1: brain.Event:2", "1: step 6 start")
}

// Files of others are left alone.
func TestForeignFilesStay(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"events.out.tfevents.123.host", "notes.txt"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	board(t, dir, 1, 1)
	board(t, dir, 1, 1)
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 3 {
		t.Errorf("%v, %v", entries, err)
	}
}

// Readers take files by name, so a later start has a greater one, also within a second and if the clock goes back.
func TestNamesAscend(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	var files []string
	for _, at := range []time.Time{now, now, now.Add(-time.Hour), now, now.Add(time.Hour)} {
		name := nextName(files, at)
		if !fileName.MatchString(name) {
			t.Errorf("%s is not recognised", name)
		}
		if len(files) > 0 && name <= files[len(files)-1] {
			t.Errorf("%s comes before %s", name, files[len(files)-1])
		}
		files = append(files, name)
	}
	if !strings.HasPrefix(files[0], "events.out.tfevents.1700000000.") || !strings.HasSuffix(files[2], ".2") {
		t.Errorf("names %q", files)
	}
}
