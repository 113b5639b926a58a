package train

import (
	"context"
	"fmt"
	"time"

	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/train/exam"
	"github.com/llavatrain/llavatrain/train/input"
	"github.com/llavatrain/llavatrain/train/score"
)

// evaluator holds what a stage's model is judged by while it trains: held-out rows, benchmarks, or both. Judging it
// changes nothing that training uses.
type evaluator struct {
	recipes.Eval
	data      *input.Dataset // nil without held-out rows
	workers   int
	failOnBad bool
	exam      *exam.Exam // nil without questions, and on ranks but the first, which alone asks
	// Step of the newest line of eval.jsonl, by benchmark, "" of the loss; of samples.jsonl by its name.
	last map[string]int
}

// openEvaluator opens what the stage's eval section names; nil if it has none. Ranks but the first ask nothing.
func openEvaluator(
	r *recipes.Recipe, stage *recipes.Stage, preprocessor *input.Preprocessor, p *peers, report runs.Observer,
) (_ *evaluator, err error) {
	if stage.Eval == nil {
		return nil, nil
	}
	e := &evaluator{Eval: *stage.Eval, workers: p.workers(r.Workers), failOnBad: stage.BadSamples.Policy == "fail",
		last: map[string]int{runs.SamplesFile: -1}}
	if len(e.Data) > 0 {
		if e.data, err = score.OpenScored(r, stage, e.Data, preprocessor, report); err != nil {
			return nil, failure.Under("eval.", err)
		}
	}
	if p.first() {
		if e.exam, err = exam.Open(r.Model, stage, preprocessor, e.data); err != nil {
			e.close()
			return nil, failure.Under("eval.", err)
		}
	}
	return e, nil
}

func (e *evaluator) close() {
	if e == nil {
		return
	}
	if e.data != nil {
		e.data.Close()
	}
	e.exam.Close()
}

// ask gives the evaluator the model that it asks, and returns for what answers need room.
func (e *evaluator) ask(m *model.LLaVA) (exam.Room, error) {
	if e == nil || e.exam == nil {
		return exam.Room{}, nil
	}
	e.exam.Answerer.LLaVA = m
	return e.exam.Room(m.Language.Describe().MaxPositions)
}

// due says whether something is to be done after a step of total, every so many steps and at the end, that is not in
// the logs.
func (e *evaluator) due(what string, every, step, total int) bool {
	return step > e.last[what] && (step%every == 0 || step == total)
}

// evaluate does what is due after a step and has not been done. An interrupted evaluation writes nothing and is done
// again after a resume. The last one is not interrupted, since nothing resumes after it.
func (t *trainer) evaluate(ctx context.Context, step int) error {
	e := t.eval
	if e == nil {
		return nil
	}
	type judging struct {
		what string
		do   func(ctx context.Context, step int) error
	}
	var due []judging
	if e.data != nil && e.due("", e.Every, step, t.plan.total) {
		due = append(due, judging{"", t.evaluateLoss})
	}
	for i, b := range e.Benchmarks {
		if e.due(b.Name, b.Every, step, t.plan.total) {
			due = append(due, judging{b.Name, func(ctx context.Context, step int) error {
				return t.askBenchmark(ctx, step, i)
			}})
		}
	}
	if e.Samples > 0 && e.due(runs.SamplesFile, e.Every, step, t.plan.total) {
		due = append(due, judging{runs.SamplesFile, t.askSamples})
	}
	if len(due) == 0 {
		return nil
	}
	if err := t.record(t.finishQueued()); err != nil {
		return err
	}
	if step == t.plan.total || !t.peers.alone() { // ranks do not hear of each other's signals meanwhile
		ctx = context.WithoutCancel(ctx)
	}
	for _, one := range due {
		began := time.Now()
		err := one.do(ctx, step)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("evaluation after step %d: %w", step, err)
		}
		t.pace.Work(one.what, time.Since(began))
	}
	return nil
}

// expect says what comes between steps of so many samples. A held-out row takes a third of a sample, whose backward
// pass takes twice the time of its forward pass; an answer about as much as a sample.
func (e *evaluator) expect(p *runs.Pace, global int) {
	if e == nil {
		return
	}
	if e.data != nil {
		p.Expect("", e.Every, float64(e.data.Order.Len())/float64(3*global))
	}
	for _, b := range e.Benchmarks {
		p.Expect(b.Name, b.Every, float64(b.Questions)/float64(global))
	}
	if e.Samples > 0 {
		p.Expect(runs.SamplesFile, e.Every, float64(e.Samples)/float64(global))
	}
}

// evaluateLoss scores the held-out rows.
func (t *trainer) evaluateLoss(ctx context.Context, step int) error {
	began := time.Now()
	result, err := t.scoreHeldOut(ctx, func(done, total int64) { t.report.Progress("evaluating", done, total) })
	if err != nil || ctx.Err() != nil {
		return err
	}
	t.eval.last[""] = step
	if result.Samples == 0 {
		t.report.Say(fmt.Sprintf("warning: step %d: no row of eval.data can be scored, all %d were skipped; "+
			"llavatrain score says why", step, result.Skipped))
		return nil
	}
	result.Step, result.EvalMS = step, runs.Milliseconds(time.Since(began))
	t.report.Say(result.Line(t.plan.total))
	return t.logs.evaluation(result)
}

// askBenchmark has rank 0 answer the questions of a benchmark. The others wait, and no GPU is in a collective.
func (t *trainer) askBenchmark(ctx context.Context, step, i int) error {
	name := t.eval.Benchmarks[i].Name
	result, err := firstOf(t.peers, "answering "+name, func() (runs.Benchmarked, error) {
		b, left := t.eval.exam.Benchmarks[i], 0
		total := int64(b.Questions())
		progress := func(done int) { t.report.Progress("answering "+name, int64(done), total) }
		result, err := b.Ask(ctx, t.eval.exam.Answerer, progress, func(where string, why error) {
			if left++; left == 1 {
				t.report.Say(fmt.Sprintf("warning: %s is left out: %v", where, why))
			}
		})
		if left > 1 {
			t.report.Say(fmt.Sprintf("warning: %d questions of %s are left out", left, name))
		}
		return result, err
	})
	if err != nil {
		return fmt.Errorf("benchmark %s: %w", name, err)
	}
	t.eval.last[name] = step
	if result.Questions == 0 {
		t.report.Say(fmt.Sprintf("warning: step %d: no question of %s can be asked", step, name))
		return nil
	}
	result.Step = step
	t.report.Say(result.Line(t.plan.total))
	return t.logs.benchmark(result)
}

// askSamples has rank 0 answer the held-out rows whose answers are kept.
func (t *trainer) askSamples(ctx context.Context, step int) error {
	answers, err := firstOf(t.peers, "answering held-out rows", func() ([]runs.Sample, error) {
		samples := t.eval.exam.Samples
		return samples.Ask(ctx, t.eval.exam.Answerer, func(done int) {
			t.report.Progress("answering held-out rows", int64(done), int64(samples.Len()))
		})
	})
	if err != nil {
		return fmt.Errorf("eval.samples: %w", err)
	}
	t.eval.last[runs.SamplesFile] = step
	for _, answer := range answers {
		answer.Step = step
		if err := t.logs.sample(answer); err != nil {
			return err
		}
	}
	return nil
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
