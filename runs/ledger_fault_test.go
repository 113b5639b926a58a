package runs

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/llavatrain/llavatrain/data/datatest"
	"github.com/llavatrain/llavatrain/runs/failure"
)

const faultRecipe = `
name: rows
model: {vision: {config: a}, language: {config: b, tokenizer: {path: c}}}
finetune: {data: [{path: a.json}], template: plain, train: {projector: {lr: 1}}, batch: {global: 1}, steps: 1}
`

// Whose fault it is that a ledger cannot be read.
func TestFaultsOfALedger(t *testing.T) {
	folder := func(ledger string) string {
		dir := filepath.Join(t.TempDir(), "finetune")
		if err := os.Mkdir(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		datatest.WriteFile(t, dir, RecipeFile, faultRecipe)
		if err := os.Symlink(ledger, filepath.Join(dir, LedgerFile)); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	sum := func(dir string) error {
		l, err := OpenLedger(dir)
		if err == nil {
			_, err = l.Summary()
		}
		return err
	}
	empty := datatest.WriteFile(t, t.TempDir(), "empty", "")
	l, err := OpenLedger(folder(empty))
	if err != nil {
		t.Fatal(err)
	}
	_, noStep := l.Step(1, Silent{})
	for what, err := range map[string]error{
		"no run": sum(t.TempDir()), "no ledger": sum(folder("none")), "no step": noStep,
		"damage": sum(folder(datatest.WriteFile(t, t.TempDir(), "l", "{\n"))),
	} {
		if !errors.Is(err, failure.ErrInput) || failure.IsStorage(err) {
			t.Errorf("%s: error is %v, want one of the user's", what, err)
		}
	}
	if err := sum(folder(datatest.Unreadable)); !failure.IsStorage(err) {
		t.Errorf("error is %v, want one of the disk", err)
	}
}
