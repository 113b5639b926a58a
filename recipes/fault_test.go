package recipes

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/llavatrain/llavatrain/data/datatest"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// Whatever is wrong with a recipe is an error of input, unless the disk fails.
func TestFaults(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "bad.yaml")
	if err := os.WriteFile(path, []byte("nam: x"), 0o666); err != nil {
		t.Fatal(err)
	}
	_, wrong := Load(path, nil)
	_, missing := Load(filepath.Join(dir, "none.yaml"), nil)
	_, folder := Load(dir, nil)
	_, stage := new(Recipe).Stage("tune")
	_, shipped := Shipped("none")
	for what, err := range map[string]error{"wrong": wrong, "missing": missing, "a folder": folder, "stage": stage,
		"shipped": shipped} {
		if !errors.Is(err, failure.ErrInput) || failure.IsStorage(err) {
			t.Errorf("%s: error is %v, want one of input", what, err)
		}
	}
	if _, err := Load(datatest.Unreadable, nil); !failure.IsStorage(err) {
		t.Errorf("error is %v, want one of storage", err)
	}
}
