package train

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/ranks"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/train/device"
	"github.com/llavatrain/llavatrain/train/exam"
	"github.com/llavatrain/llavatrain/train/input"
	"github.com/llavatrain/llavatrain/train/profile"
)

// Options of a run.
type Options struct {
	Stage     string   // pretrain or finetune: the section of the recipe
	Resume    bool     // resume from a checkpoint
	From      string   // the checkpoint to resume from; "": the newest that verifies
	Overwrite bool     // move an existing run folder aside
	StopAt    int      // save and return after this step; 0 for none
	Accept    []string // keys that may differ from the checkpoint's
	Profile   bool     // record steps 3 to 5 of this process into the run folder
	Report    runs.Observer
	Group     *ranks.Group // the processes that train together; nil: this one alone
}

// trainer is a run in progress.
type trainer struct {
	recipe    *recipes.Recipe
	options   Options
	report    runs.Observer
	run       checkpoints.Run
	plan      *plan
	data      *input.Dataset
	eval      *evaluator // nil without held-out rows
	model     *model.LLaVA
	optimizer *optimizer
	layers    layerWeights
	digest    map[string]string // what the run's numbers depend on
	logs      *logs             // nil but on rank 0
	heart     *runs.Heart       // nil but on rank 0
	pace      *runs.Pace
	peers     *peers

	largest    load  // the largest micro-batch so far
	baseMemory int64 // of tensors on the CPU before the model
	watch      *profile.Stopwatch
	profile    *profile.Profiler // nil without one

	queued         *queuedStep // whose numbers have not been read; nil if there is none
	nonFiniteSteps int         // steps in a row whose update was not applied
	notApplied     int         // all such steps of this process
	began          string      // hash of the weights that train before the first step; "" if they surely change
	first          int         // step that this process began with, from 0
	moved          bool        // an update of this process changed weights: its rate and its gradient were not 0
	cut            int         // samples cut to max_length by this process
	lastSaved      int         // step of the newest checkpoint

	warnedOfAccepted bool
	saidOfProcesses  bool
}

// Run trains one stage of a recipe. The context ends it after the step in progress, with a checkpoint and
// runs.ErrInterrupted.
func Run(ctx context.Context, r *recipes.Recipe, o Options) error {
	runtime.LockOSThread() // the engine's state belongs to the thread
	defer runtime.UnlockOSThread()
	stage, err := r.Stage(o.Stage)
	if err != nil {
		return err
	}
	if r, err = input.Chained(r, o.Stage); err != nil {
		return err
	}
	t := &trainer{recipe: r, options: o, run: checkpoints.Run{Dir: runs.RunDir(r, o.Stage)}}
	t.peers = meet(o.Group, r.Distributed.Wait())
	t.listen(o.Report)
	start, err := t.agreeOnStart()
	if err != nil {
		return err
	}
	if start.finished {
		if longer, err := t.lengthened(stage, start); err != nil || !longer {
			if err == nil {
				t.report.Say(fmt.Sprintf("the run in %s is finished (%d steps)", t.run.Dir, start.step))
			}
			return err
		}
		t.report.Say(fmt.Sprintf("the finished run in %s goes on after step %d", t.run.Dir, start.step))
	}
	defer t.close()
	if err := t.open(stage, start); err != nil {
		return err
	}
	for _, note := range t.model.Notes {
		t.report.Say(note)
	}
	t.report.Say(t.summary())
	for _, warning := range []string{t.plan.idleWarning(), t.plan.rateWarning(start.step), t.textWarning(start.step)} {
		if warning != "" {
			t.report.Say("warning: " + warning)
		}
	}
	if _, err := firstOf(t.peers, "before the first step", t.rehearseExport); err != nil {
		return err
	}
	if at := t.options.StopAt; at > 0 && at <= start.step {
		t.report.Say(fmt.Sprintf("the run is already at step %d: nothing to do before --stop-at %d", start.step, at))
		return nil
	}
	release, err := t.openFolder(start)
	if err != nil {
		return err
	}
	defer t.writeReport() // of what the run leaves, once another may take its folder
	defer release()
	return t.complete(ctx, start)
}

// complete takes the steps that are left, and exports the model.
func (t *trainer) complete(ctx context.Context, from start) error {
	ending := runs.Halted
	defer func() { t.heart.End(ending) }()
	finished, err := t.loop(ctx, from)
	if err := cmp.Or(err, t.profile.Finish()); err != nil || !finished {
		return err
	}
	if _, err = firstOf(t.peers, "export", t.export); err == nil {
		ending = runs.Ended
	}
	return err
}

// listen has what the run reports told to o by rank 0, whose heart hears it too.
func (t *trainer) listen(o runs.Observer) {
	if t.report = t.peers.observer(o); t.peers.first() {
		t.heart = runs.NewHeart(t.report)
		t.report = t.heart
	}
}

// expect makes the pace of a run that goes on after a step, and its heart beat.
func (t *trainer) expect(step int) {
	t.pace = runs.NewPace(t.plan.total)
	t.pace.Expect(runs.Saving, t.plan.stage.Save.Every, 1)
	t.eval.expect(t.pace, t.plan.stage.Batch.Global)
	if t.peers.first() {
		t.heart.Begin(t.run.Dir, step, t.plan.total)
	}
}

// openFolder locks the run folder and opens what the run writes to it, on rank 0.
func (t *trainer) openFolder(start start) (release func(), err error) {
	release = func() {}
	evaluated, err := firstOf(t.peers, "opening the run folder", func() (last map[string]int, err error) {
		if release, err = t.lockFolder(start); err != nil {
			return nil, err
		}
		if err = cmp.Or(t.openLogs(start.step), t.openProfile(start.step)); err != nil {
			release()
			return nil, err
		}
		if t.eval != nil {
			last = t.eval.last
		}
		return last, nil
	})
	if err == nil && t.eval != nil {
		t.eval.last = evaluated
	}
	if err == nil {
		t.expect(start.step)
	}
	return release, err
}

// open opens the data, the model and the optimizer, in the state that the run starts in.
func (t *trainer) open(stage *recipes.Stage, from start) error {
	preprocessor, err := input.OpenPreprocessor(t.recipe.Model)
	if err != nil {
		return err
	}
	if t.data, err = input.OpenDataset(t.recipe, stage, preprocessor, t.report); err != nil {
		return err
	}
	if t.eval, err = openEvaluator(t.recipe, stage, preprocessor, t.peers, t.report); err != nil {
		return failure.Under(t.options.Stage+".", err)
	}
	if t.plan, err = newPlan(t.recipe, stage, t.data.Steps.Steps(), from.state, t.peers.Place); err != nil {
		return err
	}
	t.plan.imageTiles = preprocessor.MostTiles(stage.Image)
	t.startEngine()
	warning, err := t.peers.connect(t.plan.device, t.plan.dtype)
	if err != nil {
		return err
	}
	if warning != "" {
		t.report.Say("warning: " + warning)
	}
	projector, err := t.projectorFile()
	if err != nil {
		return err
	}
	options := model.OpenOptions{
		Projector: projector, Overlay: from.weights(), Normalization: t.data.Normalization(),
		NewTokens: preprocessor.NewTokens(),
		// A resumed run began with it.
		AnyProjector: from.dir != "" || slices.Contains(t.options.Accept, "model.projector.weights"),
	}
	if err := t.openModel(options); err != nil {
		return err
	}
	if err := t.checkModel(); err != nil {
		return err
	}
	t.optimizer, err = newOptimizer(stage.Optimizer, t.model.Params, t.plan.moments, t.recipe.Seed)
	if err != nil {
		return err
	}
	t.optimizer.widens = t.plan.widens
	t.layers = newLayerWeights(t.peers, t.model.Params, int(t.model.Language.Describe().Layers))
	if t.digest, err = t.makeDigest(t.data, t.model); err != nil {
		return err
	}
	if err := cmp.Or(t.peers.same("data and weights", t.digest), t.peers.same("engine", t.plan.engine())); err != nil {
		return err
	}
	return t.restore(from)
}

// startEngine sets the engine's threads, makes it deterministic and, on a GPU, compiles our kernels. It reports the
// operations that libtorch's kernels do instead.
func (t *trainer) startEngine() {
	torch.SetThreads(t.plan.threads)
	torch.Deterministic()
	if t.plan.device == torch.CPU {
		return
	}
	for _, line := range torch.LoadKernels(t.plan.device) {
		t.report.Say(line)
	}
}

// openModel opens the recipe's model as planned; o says where its weights come from. Memory is counted from here on.
func (t *trainer) openModel(o model.OpenOptions) (err error) {
	t.baseMemory = torch.Allocated()
	torch.ResetPeakAllocated()
	o.Device, o.Dtype, o.Seed = t.plan.device, t.plan.dtype, t.recipe.Seed
	o.Trains, o.LoRA = t.plan.trains, t.plan.lora
	o.Layout = nn.Layout{Rank: t.peers.Rank, World: t.peers.World, Zero: t.plan.zero,
		Walked: recipes.PartLanguage}
	o.Progress = func(loaded, total int64) { t.report.Progress("loading weights", loaded, total) }
	t.model, err = model.Open(t.recipe.Model, o)
	return err
}

// checkModel checks that the model and the recipe fit each other, and decides what depends on memory.
func (t *trainer) checkModel() error {
	if err := Fits(t.recipe, t.plan.stage, t.data.Preprocessor, t.model); err != nil {
		return err
	}
	var err error
	t.plan.answers, err = firstOf(t.peers, "counting keys and values", func() (exam.Room, error) {
		return t.eval.ask(t.model)
	})
	if err != nil {
		return failure.Under(t.options.Stage+".eval: ", err)
	}
	// All ranks decide alike, by the smallest memory.
	memory, err := everyone(t.peers, "opening the model", device.Memory(t.plan.device)/int64(t.plan.sharers))
	if err != nil {
		return err
	}
	t.plan.fitMemory(sizeOf(t.model), int64(t.recipe.Model.Language.MaxLength), slices.Min(memory))
	return nil
}

// Fits checks that the tokenizer and max_length fit the model, and that every part that should train has weights that
// do.
func Fits(r *recipes.Recipe, stage *recipes.Stage, preprocessor *input.Preprocessor, m *model.LLaVA) error {
	shape := m.Language.Describe()
	if err := preprocessor.Fits(shape); err != nil {
		return err
	}
	if length := int64(r.Model.Language.MaxLength); length > shape.MaxPositions {
		return failure.Inputf("model.language.max_length %d is more than the %d positions "+
			"that the language model was made for; set it to that or less", length, shape.MaxPositions)
	}
	for part := range stage.Train {
		if !slices.ContainsFunc(m.Trainable(), func(p *nn.Param) bool { return p.Part == part }) {
			return failure.Inputf("train.%s selects no weight; check its only and except", part)
		}
	}
	return nil
}

// openProfile opens the profiler if asked for: of steps 3 to 5 of this process, when buffers have reached their size,
// or of those that a shorter run has, at least its last step.
func (t *trainer) openProfile(step int) (err error) {
	if !t.options.Profile {
		return nil
	}
	left := t.plan.total - step
	if at := t.options.StopAt; at > 0 {
		left = min(left, at-step)
	}
	dir, skip := filepath.Join(t.run.Dir, runs.ProfileDir), max(0, min(2, left-1))
	t.profile, err = profile.OpenProfiler(dir, t.plan.device, skip, 3, t.report.Say)
	return err
}

// stopwatch returns what times the parts of a step for a profile or a bench; nil if neither asks for it.
func (t *trainer) stopwatch() *profile.Stopwatch {
	if w := t.profile.Stopwatch(); w != nil {
		return w
	}
	return t.watch
}

func (t *trainer) close() {
	t.queued.free()
	_ = t.profile.Finish() // for a run that failed; a run that ended has finished it
	t.logs.close()
	if t.optimizer != nil {
		t.optimizer.free()
	}
	if t.model != nil {
		t.model.Free()
	}
	if t.data != nil {
		t.data.Close()
	}
	t.eval.close()
}

// projectorFile is the file that the projector starts from: the recipe's, or the export of the stage before this one.
func (t *trainer) projectorFile() (string, error) {
	return input.ProjectorFile(t.recipe, t.options.Stage)
}
