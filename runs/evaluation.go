package runs

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// EvalLine is a line of eval.jsonl: exactly one of both.
type EvalLine struct {
	Loss      *Evaluation
	Benchmark *Benchmarked
}

// UnmarshalJSON reads a line; one that names a benchmark is about it.
func (l *EvalLine) UnmarshalJSON(text []byte) error {
	var about struct {
		Benchmark string `json:"benchmark"`
	}
	*l = EvalLine{}
	if err := json.Unmarshal(text, &about); err != nil {
		return err
	}
	if about.Benchmark != "" {
		l.Benchmark = &Benchmarked{}
		return json.Unmarshal(text, l.Benchmark)
	}
	l.Loss = &Evaluation{}
	return json.Unmarshal(text, l.Loss)
}

// Benchmarked is a line of eval.jsonl about a benchmark: the figures of a fixed part of its questions. All of it is the
// same, byte for byte, whether the run was interrupted or not.
type Benchmarked struct {
	Step      int               `json:"step"` // completed optimizer steps
	Benchmark string            `json:"benchmark"`
	Rule      string            `json:"rule"`
	Metrics   map[string]Number `json:"metrics"`   // in percent, MME's in its points
	Questions int               `json:"questions"` // answered
	Figure    string            `json:"figure"`    // the metric that is quoted
	Errors    map[string]Number `json:"standard_errors"`
}

// Line is what the terminal shows of a benchmark in a run of total steps.
func (b Benchmarked) Line(total int) string {
	text := fmt.Sprintf("step %d/%d  %s by rule %s: %s %.2f", b.Step, total, b.Benchmark, b.Rule, b.Figure,
		float64(b.Metrics[b.Figure]))
	if e, ok := b.Errors[b.Figure]; ok {
		text += fmt.Sprintf(" ± %.2f", float64(e))
	}
	return text + fmt.Sprintf("  %d questions", b.Questions)
}

// Evaluation is a line of eval.jsonl about the loss on held-out rows. The time is the last key; everything before it is
// the same, byte for byte, whether the run was interrupted or not.
type Evaluation struct {
	Step             int               `json:"step"`           // completed optimizer steps
	Loss             Number            `json:"loss"`           // token mean over all samples
	LossBy           map[string]Number `json:"loss_by"`        // image, text: mean with and without images
	LossBySource     map[string]Number `json:"loss_by_source"` // image folder, or text -> token mean over its samples
	SupervisedTokens int               `json:"supervised_tokens"`
	Samples          int               `json:"samples"`
	Skipped          int               `json:"skipped"` // rows that were left out

	EvalMS Number `json:"eval_ms"`
}

// Line is what the terminal shows of an evaluation in a run of total steps: the loss by source, or by modality if there
// are many sources.
func (e Evaluation) Line(total int) string {
	const shown = 6
	by := e.LossBySource
	if len(by) > shown {
		by = e.LossBy
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(by)) {
		parts = append(parts, fmt.Sprintf("%s %.4f", name, float64(by[name])))
	}
	text := fmt.Sprintf("step %d/%d  evaluation loss %.4f  (%s)  %d samples",
		e.Step, total, float64(e.Loss), strings.Join(parts, ", "), e.Samples)
	if e.Skipped > 0 {
		text += fmt.Sprintf(", %d rows skipped", e.Skipped)
	}
	return text
}
