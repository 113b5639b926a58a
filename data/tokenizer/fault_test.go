package tokenizer

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/llavatrain/llavatrain/data/datatest"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// Whose fault it is that a tokenizer cannot be opened.
func TestFaultsOfATokenizer(t *testing.T) {
	unreadable := func(name string) string {
		dir := writeJSON(t, "phi3", map[string]string{"tokenizer_config.json": `{}`})
		path := filepath.Join(dir, name)
		os.Remove(path)
		if err := os.Symlink(datatest.Unreadable, path); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	empty := t.TempDir()
	for _, c := range []struct {
		name, path string
		storage    bool
	}{
		{"a failing disk under tokenizer.json", unreadable(jsonFile), true},
		{"a failing disk under tokenizer.model", unreadable(modelFile), true},
		{"a failing disk under the configuration", unreadable("tokenizer_config.json"), true},
		{"no such folder", filepath.Join(empty, "none"), false},
		{"an empty folder", empty, false},
		{"no tokenizer", datatest.WriteFile(t, t.TempDir(), jsonFile, "{}"), false},
		{"no SentencePiece model", datatest.WriteFile(t, t.TempDir(), modelFile, "{}"), false},
	} {
		_, err := OpenTokenizer(c.path, "auto")
		if failure.IsStorage(err) != c.storage || errors.Is(err, failure.ErrInput) == c.storage {
			t.Errorf("%s: error is %v; of the disk: %t, want %t", c.name, err, failure.IsStorage(err), c.storage)
		}
	}
}
