package train

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/recipes"
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

// evaluator holds a stage's held-out rows. Scoring them changes nothing that training uses.
type evaluator struct {
	scoring
	every int
	log   *checkpoints.JSONL
	last  int // step of the newest line of the log
}

// openEvaluator opens the rows of the stage's eval section, or returns nil where it has none. The model comes later.
func openEvaluator(r *recipes.Recipe, stage *recipes.Stage, reading *Reading, report Report) (*evaluator, error) {
	if stage.Eval == nil {
		return nil, nil
	}
	d, err := openScored(r, stage, stage.Eval.Data, reading, report)
	if err != nil {
		return nil, fmt.Errorf("eval.%w", err)
	}
	return &evaluator{every: stage.Eval.Every, scoring: scoring{data: d, workers: r.Workers, failOnBad: stage.BadSamples == "fail"}}, nil
}

// evaluate scores the held-out rows where that falls due after a step and has not been done. An interrupted one leaves nothing behind: it
// is done when the run goes on. The last one is finished first, since no run goes on after it.
func (t *trainer) evaluate(ctx context.Context, step int) error {
	e := t.eval
	if e == nil || step <= e.last || step%e.every != 0 && step != t.plan.total {
		return nil
	}
	if err := t.rest(); err != nil {
		return err
	}
	if step == t.plan.total {
		ctx = context.WithoutCancel(ctx)
	}
	began := time.Now()
	result, err := e.score(ctx, func(done, total int64) { t.report.Progress("evaluating", done, total) })
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("evaluation after step %d: %w", step, err)
	}
	e.last = step
	if result.Samples == 0 {
		t.report.Say(fmt.Sprintf("warning: step %d: no row of eval.data can be scored, all %d were skipped; llavatrain score says why", step, result.Skipped))
		return nil
	}
	result.Step, result.EvalMS = step, Number(milliseconds(time.Since(began)))
	t.report.Say(result.line(t.plan.total))
	return e.log.Append(result)
}

// score scores all rows.
func (e *evaluator) score(ctx context.Context, progress func(done, total int64)) (Evaluation, error) {
	var all Total
	skipped, modalities, sources := 0, map[string]Total{}, map[string]Total{}
	_, err := e.run(ctx, progress, func(row RowScore) error {
		if row.Scored == nil {
			skipped++
			return nil
		}
		all = all.Add(*row.Scored)
		modalities[row.Modality] = modalities[row.Modality].Add(*row.Scored)
		sources[row.Source] = sources[row.Source].Add(*row.Scored)
		return nil
	})
	return Evaluation{
		Loss: Number(all.Mean()), LossBy: means(modalities), LossBySource: means(sources),
		SupervisedTokens: all.SupervisedTokens, Samples: all.Samples, Skipped: skipped,
	}, err
}

func means(totals map[string]Total) map[string]Number {
	out := map[string]Number{}
	for name, total := range totals {
		out[name] = Number(total.Mean())
	}
	return out
}

// line is what the terminal shows: the sources by name where there are few.
func (e Evaluation) line(total int) string {
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
