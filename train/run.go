package train

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/train/input"
	"github.com/llavatrain/llavatrain/train/profile"
)

// Options of a run.
type Options struct {
	Stage     string   // pretrain or finetune: the section of the recipe
	Resume    bool     // go on from a checkpoint
	From      string   // the checkpoint to go on from; "": the newest that verifies
	Overwrite bool     // move an old run folder aside
	StopAt    int      // save and return after this step; 0 for none
	Accept    []string // keys of the checkpoint that may differ now
	Profile   bool     // of steps 3 to 5 of this process, in the run folder
	Report    runs.Report
}

// trainer is a run under way.
type trainer struct {
	recipe                 *recipes.Recipe
	options                Options
	report                 runs.Report
	run                    checkpoints.Run
	plan                   *plan
	data                   *input.Dataset
	eval                   *evaluator // nil without held-out rows
	model                  *model.LLaVA
	optimizer              *optimizer
	digest                 map[string]string
	metricsLog, quarantine *checkpoints.JSONL
	ledger                 *checkpoints.JSONL
	ledgerData             runs.LedgerData // that the ledger's next line draws from

	savedMicro string // the micro-batch that the run began with, "" for a new run
	largest    load   // the largest micro-batch so far
	baseMemory int64  // of tensors on the CPU before the model
	watch      *profile.Stopwatch
	profile    *profile.Profiler // nil without one, and behind it

	flight    *flight // nil where none is under way
	unsound   int     // steps on end that were not applied
	cut       int     // samples cut to max_length by this process
	lastSaved int
}

// Run trains one stage of a recipe. The context ends it after the step under way, with a checkpoint.
func Run(ctx context.Context, r *recipes.Recipe, o Options) error {
	runtime.LockOSThread() // the engine's state belongs to the thread
	defer runtime.UnlockOSThread()
	stage, err := r.Stage(o.Stage)
	if err != nil {
		return fmt.Errorf("%w: %w", runs.ErrUsage, err)
	}
	if r, err = input.Chained(r, o.Stage); err != nil {
		return err
	}
	t := &trainer{recipe: r, options: o, report: o.Report, run: checkpoints.Run{Dir: runs.RunDir(r, o.Stage)}}
	start, err := t.settle()
	if err != nil || start.finished {
		return err
	}
	defer t.close()
	if err := t.open(stage, start); err != nil {
		return err
	}
	t.report.Say(t.summary())
	if err := t.rehearseExport(); err != nil {
		return err
	}
	if at := t.options.StopAt; at > 0 && at <= start.step {
		t.report.Say(fmt.Sprintf("the run already stands at step %d: nothing to do before --stop-at %d", start.step, at))
		return nil
	}
	release, err := t.claim(start)
	if err != nil {
		return err
	}
	defer release()
	if err := t.openLogs(start.step); err != nil {
		return err
	}
	if err := t.openProfile(start.step); err != nil {
		return err
	}
	finished, err := t.loop(ctx, start)
	if err := runs.FirstError(err, t.profile.Finish()); err != nil || !finished {
		return err
	}
	return t.export()
}

// losses says what the data lost, "" for nothing.
func (t *trainer) losses(skipped int) string {
	var parts []string
	if skipped > 0 {
		parts = append(parts, fmt.Sprintf("%d rows were skipped (%s says why)", skipped, filepath.Join(t.run.Dir, runs.QuarantineFile)))
	}
	if t.cut > 0 {
		parts = append(parts, fmt.Sprintf("%d samples were cut to max_length", t.cut))
	}
	return strings.Join(parts, "; ")
}

// open brings everything to life, in the state of the start.
func (t *trainer) open(stage *recipes.Stage, from start) error {
	reading, err := input.OpenReading(t.recipe.Model)
	if err != nil {
		return err
	}
	if t.data, err = input.OpenDataset(t.recipe, stage, reading, t.report); err != nil {
		return err
	}
	if t.eval, err = openEvaluator(t.recipe, stage, reading, t.report); err != nil {
		return fmt.Errorf("%s.%w", t.options.Stage, err)
	}
	if t.plan, err = newPlan(t.recipe, stage, t.data.Steps.Steps(), from.state.Engine); err != nil {
		return err
	}
	t.savedMicro = from.state.Engine["micro"]
	torch.SetThreads(t.plan.threads)
	torch.Deterministic()
	t.baseMemory = torch.Allocated()
	torch.ResetPeakAllocated()
	if err := t.openModel(from); err != nil {
		return err
	}
	if t.eval != nil {
		t.eval.Model, t.eval.Micro, t.eval.Tokens = t.model, t.plan.micro, t.plan.tokens
	}
	if t.optimizer, err = newOptimizer(stage.Optimizer, t.model.Params, t.plan.moments, t.recipe.Seed); err != nil {
		return err
	}
	if t.digest, err = t.makeDigest(); err != nil {
		return err
	}
	return t.restore(from)
}

// loadKernels makes our kernels ready on a card, and says which are left to libtorch.
func (t *trainer) loadKernels() {
	if t.plan.device == torch.CPU {
		return
	}
	for _, line := range torch.LoadKernels(t.plan.device) {
		t.report.Say(line)
	}
}

func (t *trainer) openModel(from start) error {
	t.loadKernels()
	table := t.data.Processor.Table()
	projector, err := t.projectorFile()
	if err != nil {
		return err
	}
	t.model, err = model.Open(t.recipe.Model, model.OpenOptions{
		Device: t.plan.device, Dtype: t.plan.dtype, Seed: t.recipe.Seed, Trains: t.plan.trains, LoRA: t.plan.lora, Projector: projector,
		Overlay: from.weights(), Normalization: table[:],
		Progress: func(loaded, total int64) { t.report.Progress("loading weights", loaded, total) },
	})
	if err != nil {
		return err
	}
	return t.checkModel()
}

// checkModel makes sure that model and recipe fit, and decides on recomputation.
func (t *trainer) checkModel() error {
	if err := Fits(t.recipe, t.plan.stage, t.data.Reading, t.model); err != nil {
		return err
	}
	auto := t.plan.stage.Batch.Micro == recipes.Auto && t.savedMicro == ""
	t.plan.choose(sizeOf(t.model), auto, int64(t.recipe.Model.Language.MaxLength), Memory(t.plan.device))
	return nil
}

// Fits makes sure that the tokenizer and the lengths suit the model, and that every part that should train does.
func Fits(r *recipes.Recipe, stage *recipes.Stage, reading *input.Reading, m *model.LLaVA) error {
	shape := m.Language.Describe()
	if err := reading.Fits(shape); err != nil {
		return fmt.Errorf("%w: %w", runs.ErrUsage, err)
	}
	if length := int64(r.Model.Language.MaxLength); length > shape.MaxPositions {
		return fmt.Errorf("%w: model.language.max_length %d is more than the %d positions that the language model was made for; set it to that or less", runs.ErrUsage, length, shape.MaxPositions)
	}
	for part := range stage.Train {
		if !slices.ContainsFunc(m.Trainable(), func(p *nn.Param) bool { return p.Part == part }) {
			return fmt.Errorf("%w: train.%s selects no weight; look at its only and except", runs.ErrUsage, part)
		}
	}
	return nil
}

// loop takes the remaining steps and says whether the last of them was reached.
func (t *trainer) loop(ctx context.Context, from start) (finished bool, err error) {
	if err := t.evaluate(ctx, from.step); err != nil { // it was interrupted after the checkpoint's step
		return false, err
	}
	loader := data.NewLoader(context.WithoutCancel(ctx), data.LoaderOptions{
		Plan: t.data.Steps, Order: t.data.Order, Prepare: t.data.Prepare, ImageTokens: int(t.data.Tower.Tokens),
		Micro: t.plan.micro, Tokens: t.plan.tokens, Start: from.step, FailOnBad: t.plan.stage.BadSamples == "fail",
		Known: from.skips, Workers: t.recipe.Workers, Ahead: 2,
	})
	defer loader.Close()
	live, at := torch.Live(), from.step
	for {
		if err := t.profile.Begin(); err != nil {
			return false, err
		}
		waited := time.Now()
		batch, err := loader.Next()
		if errors.Is(err, io.EOF) {
			if err := t.rest(); err != nil {
				return false, err
			}
			if lost := t.losses(len(loader.Skipped())); lost != "" {
				t.report.Say(lost)
			}
			t.report.Say(t.memoryText())
			return true, t.saveOnce(t.plan.total, loader.Skipped())
		}
		if err != nil {
			return false, errors.Join(err, t.rest(), t.keep(at, from.step, loader.Skipped()))
		}
		at = batch.Number + 1
		t.profile.Loaded()
		if err := t.take(batch, time.Since(waited)); err != nil {
			return false, err
		}
		if err := t.profile.End(at); err != nil {
			return false, err
		}
		if leaked := torch.Live() - live; leaked != 0 {
			return false, fmt.Errorf("%w: step %d left %d tensors behind", runs.ErrInternal, at, leaked)
		}
		if err := t.evaluate(ctx, at); err != nil {
			return false, errors.Join(err, t.keep(at, from.step, loader.Skipped()))
		}
		if done, err := t.boundary(ctx, at, loader.Skipped()); done || err != nil {
			return false, err
		}
	}
}

// take queues a step and records the one before, or, where there is no card to keep busy, the step itself.
func (t *trainer) take(st data.Step, wait time.Duration) error {
	before, err := t.advance(st, wait)
	if err := errors.Join(t.record(before), err); err != nil {
		return err
	}
	if t.lands() {
		return t.rest()
	}
	return nil
}

// rest waits for the step in flight and records it, also one that ends the run.
func (t *trainer) rest() error {
	now, err := t.land()
	return errors.Join(t.record(now), err)
}

// boundary does what falls due after a step: a checkpoint, a stop.
func (t *trainer) boundary(ctx context.Context, step int, skips []data.Skip) (done bool, err error) {
	interrupted, stop := ctx.Err() != nil, step == t.options.StopAt
	if interrupted || stop || step%t.plan.stage.Save.Every == 0 {
		if err := t.rest(); err != nil {
			return true, err
		}
		if err := t.saveOnce(step, skips); err != nil {
			return true, err
		}
	}
	switch {
	case interrupted && step < t.plan.total:
		return true, fmt.Errorf("%w after step %d of %d; go on with --resume", runs.ErrInterrupted, step, t.plan.total)
	case stop && step < t.plan.total:
		t.report.Say(fmt.Sprintf("stopped after step %d of %d as asked; go on with --resume", step, t.plan.total))
		return true, nil
	}
	return false, nil
}

// record writes a step's metrics, its rows and its skipped samples. nil is no step.
func (t *trainer) record(now *landed) error {
	if now == nil {
		return nil
	}
	m, st := now.Metrics, now.step
	for _, skip := range st.Skipped {
		if err := t.quarantine.Append(skip); err != nil {
			return err
		}
	}
	if t.cut += st.Cut; st.Cut > 0 && t.cut == st.Cut {
		t.report.Say(fmt.Sprintf("step %d: a sample is longer than max_length %d and was cut at its end (the count comes at the end of the run)", m.Step, t.recipe.Model.Language.MaxLength))
	}
	if err := t.ledger.Append(t.ledgerData.Line(st)); err != nil {
		return err
	}
	if err := t.metricsLog.Append(m); err != nil {
		return err
	}
	if m.Step == 1 {
		t.judgeFirst(m)
	}
	t.report.Step(m, t.plan.total)
	return nil
}

// keep saves the steps that were completed before the data ended the run, and writes down the samples that a step after them skipped.
func (t *trainer) keep(completed, began int, skips []data.Skip) error {
	before := len(skips)
	for i, skip := range slices.Backward(skips) {
		if skip.Step > completed {
			before = i
		}
	}
	for _, skip := range skips[before:] {
		if err := t.quarantine.Append(skip); err != nil {
			return err
		}
	}
	if completed == began {
		return nil
	}
	return t.saveOnce(completed, skips[:before])
}

// judgeFirst warns of a first loss that a model which knows its language does not have.
func (t *trainer) judgeFirst(m runs.Metrics) {
	if limit := math.Log(float64(t.model.Language.Describe().VocabSize)); float64(m.Loss) >= limit {
		t.report.Say(fmt.Sprintf("warning: the first loss is %.2f, no better than guessing among the vocabulary (ln %d = %.2f): are these the right weights and the right tokenizer?",
			float64(m.Loss), t.model.Language.Describe().VocabSize, limit))
	}
}

// timed adds how long a step took, and the memory.
func timed(m *runs.Metrics, wait, step time.Duration, memory int64) {
	m.DataWaitMS = runs.Number(profile.Milliseconds(wait))
	m.StepMS = runs.Number(profile.Milliseconds(step))
	m.TokensPerS = runs.Number(math.Round(float64(m.Tokens) / (wait + step).Seconds()))
	m.PeakMemoryBytes = memory
}

const profileDir = "profile" // in a run folder

// openProfile makes the profiler of a run where one is wanted: for steps 3 to 5 of this process, when buffers have their size, or for what
// a shorter run has of them, at least its last step.
func (t *trainer) openProfile(step int) (err error) {
	if !t.options.Profile {
		return nil
	}
	left := t.plan.total - step
	if at := t.options.StopAt; at > 0 {
		left = min(left, at-step)
	}
	t.profile, err = profile.OpenProfiler(filepath.Join(t.run.Dir, profileDir), t.plan.device, max(0, min(2, left-1)), 3, t.report.Say)
	return err
}

// stopwatch times the parts of a step where a profile or a bench asks for it; nil otherwise.
func (t *trainer) stopwatch() *profile.Stopwatch {
	if w := t.profile.Stopwatch(); w != nil {
		return w
	}
	return t.watch
}

func (t *trainer) close() {
	t.flight.free()
	_ = t.profile.Finish() // of a run that failed; one that ended has it behind it
	for _, log := range t.logs() {
		log.Close()
	}
	if t.optimizer != nil {
		t.optimizer.free()
	}
	if t.model != nil {
		t.model.Free()
	}
	if t.data != nil {
		t.data.Close()
	}
	if t.eval != nil {
		t.eval.Data.Close()
	}
}

// projectorFile is where the projector's values come from: the recipe, or the export of a pretrain stage before this one.
func (t *trainer) projectorFile() (string, error) {
	return input.ProjectorFile(t.recipe, t.options.Stage)
}
