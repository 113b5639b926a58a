package runs

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Evaluation is one line of eval.jsonl: the loss on held-out rows. The time is the last key; everything before it is
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
