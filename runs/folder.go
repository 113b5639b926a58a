package runs

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/llavatrain/llavatrain/recipes"
)

// Files of a run folder, beside checkpoints and export.
const (
	RecipeFile     = "recipe.yaml"
	MetricsFile    = "metrics.jsonl"
	QuarantineFile = "quarantine.jsonl"
	LedgerFile     = "ledger.jsonl"
	EvalFile       = "eval.jsonl"
)

// ErrInterrupted means that the context ended the run: the step was finished and saved.
var ErrInterrupted = errors.New("interrupted")

// RunDir is the folder of one stage of a recipe's run.
func RunDir(r *recipes.Recipe, stage string) string { return filepath.Join(r.Runs, r.Name, stage) }

// grouped writes a number with its thousands apart: 4,198,400.
func Grouped(n int64) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
