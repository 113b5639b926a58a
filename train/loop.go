// Package train is everything between a recipe and a finished run.
//
//  1. Run finds where the run starts: at step 0, or at a checkpoint of the same recipe, data and engine (resume.go).
//  2. It opens the stage's data (package input), resolves what the recipe leaves open (plan.go) and opens the model
//     (run.go).
//  3. It rehearses the final export (names, shapes, free space; export.go), and only then locks the run folder.
//  4. The loop takes one step after another (loop.go): forward and backward over its micro-batches, clip, update
//     (step.go, optimizer.go), then its lines in the ledger and the metrics (logs.go), then an evaluation (evaluate.go)
//     or a checkpoint (checkpoint.go) if one is due.
//  5. At the end it writes the export, and whenever it ends the report (logs.go).
//
// A stage is data: nothing here asks which of the two it is running.
package train

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/runs"
)

// loop takes the remaining steps and says whether the run's last step was reached.
func (t *trainer) loop(ctx context.Context, from start) (finished bool, err error) {
	if err := t.evaluate(ctx, from.step); err != nil { // an evaluation at this step may have been interrupted
		return false, err
	}
	t.first, t.moved = from.step, from.state.Updates > 0
	if t.began, err = t.vanishingFrom(); err != nil {
		return false, err
	}
	loader := data.NewLoader(context.WithoutCancel(ctx), data.LoaderOptions{
		Plan: t.data.Steps, Order: t.data.Order, Prepare: t.data.Prepare,
		Micro: t.plan.micro, Tokens: t.plan.tokens, Start: from.step, Known: from.skips,
		FailOnBad: t.plan.stage.BadSamples.Policy == "fail", Limit: t.data.SkipLimit(),
		Workers: t.peers.workers(t.recipe.Workers), Ahead: 2, Part: t.peers.part(ctx, t.data, "step"),
	})
	defer loader.Close()
	live, completed := torch.Live(), from.step
	for {
		started := time.Now()
		if err := t.profile.Begin(); err != nil {
			return false, err
		}
		asked := time.Now()
		t.peers.Say("reading the data of the next step")
		step, err := loader.Next()
		if errors.Is(err, io.EOF) {
			return true, t.finish(loader.Skipped())
		}
		if err != nil {
			return false, t.peers.settled(errors.Join(err, t.record(t.finishQueued()),
				t.saveCompleted(completed, from.step, loader.Skipped())))
		}
		if err := t.take(step, time.Since(asked)); err != nil {
			return false, err
		}
		t.pace.Step(time.Since(started))
		completed = step.Number + 1
		if leaked := torch.Live() - live; leaked != 0 {
			return false, fmt.Errorf("step %d leaked %d tensors", completed, leaked)
		}
		if err := t.evaluate(ctx, completed); err != nil {
			return false, errors.Join(err, t.saveCompleted(completed, from.step, loader.Skipped()))
		}
		if done, err := t.saveOrStop(ctx, completed, loader.Skipped()); done || err != nil {
			return false, err
		}
	}
}

// take takes a step, for whose data it has waited so long.
func (t *trainer) take(step data.Step, waited time.Duration) error {
	t.profile.Loaded()
	began := time.Now()
	t.peers.computing(step.Number + 1)
	if err := t.record(t.trainStep(step, waited)); err != nil {
		return err
	}
	t.peers.computed(began)
	return t.profile.End(step.Number + 1)
}

// record logs finished steps. It takes what trainStep and finishQueued return: the steps are recorded even if failed is
// not nil, and failed is returned.
func (t *trainer) record(finished []finishedStep, failed error) error {
	for _, step := range finished {
		if err := t.recordStep(step); err != nil {
			return errors.Join(err, failed)
		}
	}
	return failed
}

func (t *trainer) recordStep(step finishedStep) error {
	m := step.Metrics
	if t.cut += step.step.Cut; step.step.Cut > 0 && t.cut == step.step.Cut {
		t.report.Say(fmt.Sprintf("step %d: a sample is longer than max_length %d and was cut at its end "+
			"(the total is printed at the end of the run)", m.Step, t.recipe.Model.Language.MaxLength))
	}
	if err := t.logs.step(step); err != nil {
		return err
	}
	if m.Step == 1 {
		t.warnOfFirstLoss(m)
	}
	t.report.Step(m, t.plan.total, t.pace.Left(m.Step))
	return nil
}

// warnOfFirstLoss warns if the first loss is too high for a pretrained language model.
func (t *trainer) warnOfFirstLoss(m runs.Metrics) {
	vocabulary := t.model.Language.Describe().VocabSize
	if limit := math.Log(float64(vocabulary)); float64(m.Loss) >= limit {
		t.report.Say(fmt.Sprintf("warning: the first loss is %.2f, "+
			"no better than guessing among the vocabulary (ln %d = %.2f): "+
			"are these the right weights and the right tokenizer?", float64(m.Loss), vocabulary, limit))
	}
}

// saveOrStop does what is due after a step: a checkpoint, a stop.
func (t *trainer) saveOrStop(ctx context.Context, step int, skips []data.Skip) (done bool, err error) {
	interrupted, stop := t.peers.interrupted(ctx), step == t.options.StopAt
	if interrupted || stop || step%t.plan.stage.Save.Every == 0 {
		if err := t.record(t.finishQueued()); err != nil {
			return true, err
		}
		began := time.Now()
		if err := t.saveOnce(step, skips); err != nil {
			return true, err
		}
		t.pace.Work(runs.Saving, time.Since(began))
	}
	switch {
	case interrupted && step < t.plan.total:
		return true, fmt.Errorf("%w after step %d of %d; continue with --resume",
			runs.ErrInterrupted, step, t.plan.total)
	case stop && step < t.plan.total:
		t.report.Say(fmt.Sprintf("stopped after step %d of %d as asked; continue with --resume", step, t.plan.total))
		return true, nil
	}
	return false, nil
}

// finish records and saves the last step, and reports what the run left out and how much memory it used.
func (t *trainer) finish(skips []data.Skip) error {
	if err := t.record(t.finishQueued()); err != nil {
		return err
	}
	if err := t.checkLearned(); err != nil {
		return err
	}
	for _, text := range []string{t.skippedAndCut(len(skips)), t.notAppliedWarning()} {
		if text != "" {
			t.report.Say(text)
		}
	}
	t.report.Say(t.memoryText())
	if err := t.saveOnce(t.plan.total, skips); err != nil {
		return err
	}
	t.heart.Doing("exporting")
	return t.logFinish()
}

// skippedAndCut says how many rows were skipped and how many samples cut, "" if none were.
func (t *trainer) skippedAndCut(skipped int) string {
	var parts []string
	if skipped > 0 {
		parts = append(parts, fmt.Sprintf("%d rows were skipped (%s says why)",
			skipped, filepath.Join(t.run.Dir, runs.QuarantineFile)))
	}
	if t.cut > 0 {
		parts = append(parts, fmt.Sprintf("%d samples were cut to max_length", t.cut))
	}
	return strings.Join(parts, "; ")
}

// saveCompleted saves the steps that were completed before an error ended the run, and logs the samples that a later
// step skipped.
func (t *trainer) saveCompleted(completed, began int, skips []data.Skip) error {
	before := len(skips)
	for i, skip := range slices.Backward(skips) {
		if skip.Step > completed {
			before = i
		}
	}
	if err := t.logs.skipped(skips[before:]); err != nil || completed == began {
		return err
	}
	return t.saveOnce(completed, skips[:before])
}
