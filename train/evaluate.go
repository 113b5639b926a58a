package train

import (
	"context"
	"fmt"
	"time"

	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/train/input"
	"github.com/llavatrain/llavatrain/train/score"
)

// evaluator holds a stage's held-out rows. Scoring them changes nothing that training uses.
type evaluator struct {
	data      *input.Dataset
	every     int // steps
	workers   int
	failOnBad bool
	last      int // step of the newest line of eval.jsonl
}

// openEvaluator opens the rows of the stage's eval section; nil if it has none.
func openEvaluator(
	r *recipes.Recipe, stage *recipes.Stage, preprocessor *input.Preprocessor, workers int, report runs.Observer,
) (*evaluator, error) {
	if stage.Eval == nil {
		return nil, nil
	}
	d, err := score.OpenScored(r, stage, stage.Eval.Data, preprocessor, report)
	if err != nil {
		return nil, failure.Under("eval.", err)
	}
	return &evaluator{
		data: d, every: stage.Eval.Every, workers: workers, failOnBad: stage.BadSamples.Policy == "fail",
	}, nil
}

// evaluate scores the held-out rows if that is due after a step and has not been done. An interrupted evaluation writes
// nothing and is done again after a resume. The last one is not interrupted, since nothing resumes after it.
func (t *trainer) evaluate(ctx context.Context, step int) error {
	e := t.eval
	if e == nil || step <= e.last || step%e.every != 0 && step != t.plan.total {
		return nil
	}
	if err := t.record(t.finishQueued()); err != nil {
		return err
	}
	if step == t.plan.total || !t.peers.alone() { // ranks do not hear of each other's signals meanwhile
		ctx = context.WithoutCancel(ctx)
	}
	began := time.Now()
	result, err := t.scoreHeldOut(ctx, func(done, total int64) { t.report.Progress("evaluating", done, total) })
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("evaluation after step %d: %w", step, err)
	}
	e.last = step
	if result.Samples == 0 {
		t.report.Say(fmt.Sprintf("warning: step %d: no row of eval.data can be scored, all %d were skipped; "+
			"llavatrain score says why", step, result.Skipped))
		return nil
	}
	result.Step, result.EvalMS = step, runs.Milliseconds(time.Since(began))
	t.report.Say(result.Line(t.plan.total))
	return t.logs.evaluation(result)
}

// scoreHeldOut scores all held-out rows.
func (t *trainer) scoreHeldOut(ctx context.Context, progress func(done, total int64)) (runs.Evaluation, error) {
	scoring := score.Scoring{
		Model: t.model, Data: t.eval.data, Micro: t.plan.micro, Tokens: t.plan.tokens,
		Workers: t.eval.workers, FailOnBad: t.eval.failOnBad, Key: "eval.data",
	}
	if !t.peers.alone() {
		scoring.Part, scoring.Gather = t.peers.part(ctx, t.eval.data, "evaluating step"), t.peers.gather
		scoring.Hooks = func(s *torch.Scope) *nn.Hooks { return t.layers.pass(s, nil).hooks() }
		scoring.Idle = t.idlePasses
	}
	var all score.Total
	skipped, modalities, sources := 0, map[string]score.Total{}, map[string]score.Total{}
	_, err := scoring.Run(ctx, progress, func(row score.RowScore) error {
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

// idlePasses takes part in the passes of others through layers whose weights are divided, if they have more of a step
// than this process had.
func (t *trainer) idlePasses(step data.Step, had int) error {
	for ; had < passes(step, t.peers.World); had++ {
		if err := torch.Do(func(s *torch.Scope) { t.layers.pass(s, nil).endForward() }); err != nil {
			return err
		}
	}
	return nil
}

func means(totals map[string]score.Total) map[string]runs.Number {
	out := map[string]runs.Number{}
	for name, total := range totals {
		out[name] = runs.Number(total.Mean())
	}
	return out
}
