package runs

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/llavatrain/llavatrain/recipes"
)

// What lies in a run folder, beside the checkpoints.
const (
	RecipeFile     = "recipe.yaml"
	MetricsFile    = "metrics.jsonl"
	QuarantineFile = "quarantine.jsonl"
	LedgerFile     = "ledger.jsonl"
	EvalFile       = "eval.jsonl"
	SamplesFile    = "samples.jsonl" // answers to held-out rows
	SamplesDir     = "samples"       // their pictures, small
	EventsFile     = "events.jsonl"
	HeartbeatFile  = "heartbeat.json"
	ReportFile     = "report.html"
	BenchmarksDir  = "benchmarks"  // results of `benchmark run`, where its --out leads here
	TensorBoardDir = "tensorboard" // event files: metrics and evaluations once more
	ExportDir      = "export"      // the finished model
	ProfileDir     = "profile"
)

// Files of a checkpoint beside checkpoints.StateFile, by weight name. Weights are fp32; moments have the dtype of the
// optimizer: fp32, or bf16 with `moments: bf16`.
const (
	WeightsFile   = "model.safetensors"     // the trainable weights
	OptimizerFile = "optimizer.safetensors" // m.NAME and v.NAME of each
)

// ErrInterrupted means that the context ended the run. The step in progress was finished and saved.
var ErrInterrupted = errors.New("interrupted")

// RunDir is the run folder of one stage of a recipe.
func RunDir(r *recipes.Recipe, stage string) string { return filepath.Join(r.Runs, r.Name, stage) }

// Grouped formats a number with commas between thousands: 4,198,400.
func Grouped(n int64) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
