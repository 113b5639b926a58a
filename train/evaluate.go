package train

import (
	"context"
	"fmt"
	"time"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/train/input"
	"github.com/llavatrain/llavatrain/train/profile"
	"github.com/llavatrain/llavatrain/train/score"
)

// evaluator holds a stage's held-out rows. Scoring them changes nothing that training uses.
type evaluator struct {
	score.Scoring
	every int
	log   *checkpoints.JSONL
	last  int // step of the newest line of the log
}

// openEvaluator opens the rows of the stage's eval section, or returns nil where it has none. The model comes later.
func openEvaluator(r *recipes.Recipe, stage *recipes.Stage, reading *input.Reading, report runs.Report) (*evaluator, error) {
	if stage.Eval == nil {
		return nil, nil
	}
	d, err := score.OpenScored(r, stage, stage.Eval.Data, reading, report)
	if err != nil {
		return nil, fmt.Errorf("eval.%w", err)
	}
	return &evaluator{every: stage.Eval.Every, Scoring: score.Scoring{Data: d, Workers: r.Workers, FailOnBad: stage.BadSamples == "fail"}}, nil
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
	result.Step, result.EvalMS = step, runs.Number(profile.Milliseconds(time.Since(began)))
	t.report.Say(result.Line(t.plan.total))
	return e.log.Append(result)
}

// score scores all rows.
func (e *evaluator) score(ctx context.Context, progress func(done, total int64)) (runs.Evaluation, error) {
	var all score.Total
	skipped, modalities, sources := 0, map[string]score.Total{}, map[string]score.Total{}
	_, err := e.Run(ctx, progress, func(row score.RowScore) error {
		if row.Scored == nil {
			skipped++
			return nil
		}
		all = all.Add(*row.Scored)
		modalities[row.Modality] = modalities[row.Modality].Add(*row.Scored)
		sources[row.Source] = sources[row.Source].Add(*row.Scored)
		return nil
	})
	return runs.Evaluation{
		Loss: runs.Number(all.Mean()), LossBy: means(modalities), LossBySource: means(sources),
		SupervisedTokens: all.SupervisedTokens, Samples: all.Samples, Skipped: skipped,
	}, err
}

func means(totals map[string]score.Total) map[string]runs.Number {
	out := map[string]runs.Number{}
	for name, total := range totals {
		out[name] = runs.Number(total.Mean())
	}
	return out
}
