package recipes

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzLoad: no file and no --set makes Load panic; a refused recipe has a reason, and an accepted one can be written
// and read again.
func FuzzLoad(f *testing.F) {
	for _, name := range Names() {
		text, err := Shipped(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text), "pretrain.batch.global=64")
	}
	f.Add(minimal, "pretrain.data.0.path=b.json")
	f.Add("model: &a {<<: *a, ? [x] : !!int 1}\n---\n# b", "model.vision=*a")
	f.Add("a:\n  - b\n # foot\n\n# tail\n", "=")
	f.Fuzz(func(t *testing.T, text, set string) {
		r, err := load("/folder/recipe.yaml", []byte(text), []string{set})
		if err != nil {
			var problems Problems
			if !errors.As(err, &problems) || len(problems) == 0 || err.Error() == "" {
				t.Fatalf("error without a reason: %#v", err)
			}
			return
		}
		resolved, err := r.Resolved()
		if err != nil {
			t.Fatal(err)
		}
		again, err := load("/elsewhere/recipe.yaml", resolved, nil)
		if err != nil {
			t.Fatalf("%v in\n%s", err, resolved)
		}
		if diff := cmp.Diff(r, again, ignorePath); diff != "" {
			t.Errorf("after Resolved (-want +got):\n%s", diff)
		}
	})
}

// TestLoadSizeLimit: a file over the limit is not read to the end.
func TestLoadSizeLimit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "huge.yaml")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 1<<40); err != nil {
		t.Skip(err)
	}
	if _, err := Load(path, nil); err == nil || err.Error() != path+": larger than 1 MB; is this a recipe?" {
		t.Errorf("1 TB: %v", err)
	}
}
