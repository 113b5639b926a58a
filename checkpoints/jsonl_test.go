package checkpoints

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/runs/failure"
)

func TestJSONL(t *testing.T) {
	path := filepath.Join(t.TempDir(), "metrics.jsonl")
	for run := range 2 { // the second opens what the first wrote
		log, err := OpenJSONL(path)
		must(t, err)
		must(t, log.Append(map[string]int{"step": run}))
		if err := log.Append(math.NaN()); err == nil || errors.Is(err, failure.ErrStorage) {
			t.Error(err)
		}
		must(t, log.Sync())
		must(t, log.Close())
	}
	text, err := os.ReadFile(path)
	must(t, err)
	wantEqual(t, string(text), "{\"step\":0}\n{\"step\":1}\n")
	_, err = OpenJSONL(filepath.Join(path, "x"))
	if !errors.Is(err, failure.ErrStorage) {
		t.Error(err)
	}
}

func TestTruncateJSONL(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	for _, c := range []struct{ text, want string }{
		{"1\n2\n3\n", "1\n2\n"},
		{"1\n2\n", "1\n2\n"},
		{"1\n2", "1\n"}, // torn
		{"1\n3\n1\n", "1\n"},
		{"3\n", ""},
		{"", ""},
		{"1", ""},
		{"\n1\n", "\n1\n"},
		{long + "\n3\n", long + "\n"},
		{"1\n" + long, "1\n"},
	} {
		path := write(t, filepath.Join(t.TempDir(), "a.jsonl"), []byte(c.text))
		must(t, TruncateJSONL(path, func(line []byte) bool { return string(line) != "3" }))
		got, err := os.ReadFile(path)
		must(t, err)
		if string(got) != c.want {
			t.Errorf("%.20q: %.20q, want %.20q", c.text, got, c.want)
		}
	}
	missing := filepath.Join(t.TempDir(), "none.jsonl")
	must(t, TruncateJSONL(missing, nil))
	if _, err := os.Stat(missing); err == nil {
		t.Error("made a file")
	}
}
