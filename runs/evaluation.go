package runs

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Evaluation is one line of eval.jsonl: the loss on rows that are held out. The time stands last; the rest is the same, byte for byte,
// whether a run was interrupted or not.
type Evaluation struct {
	Step             int               `json:"step"`           // completed optimizer steps
	Loss             Number            `json:"loss"`           // token mean over all samples
	LossBy           map[string]Number `json:"loss_by"`        // over samples with an image, and over those of text alone
	LossBySource     map[string]Number `json:"loss_by_source"` // over the samples of each folder of images, and over those of text alone
	SupervisedTokens int               `json:"supervised_tokens"`
	Samples          int               `json:"samples"`
	Skipped          int               `json:"skipped"` // rows that were left out

	EvalMS Number `json:"eval_ms"`
}

// line is what the terminal shows: the sources by name where there are few.
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
	text := fmt.Sprintf("step %d/%d  evaluation loss %.4f  (%s)  %d samples", e.Step, total, float64(e.Loss), strings.Join(parts, ", "), e.Samples)
	if e.Skipped > 0 {
		text += fmt.Sprintf(", %d rows skipped", e.Skipped)
	}
	return text
}
