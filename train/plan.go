package train

import (
	"cmp"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/loss"
	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/ranks"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/train/device"
	"github.com/llavatrain/llavatrain/train/exam"
	"github.com/llavatrain/llavatrain/train/score"
)

// plan is a stage with everything resolved that its recipe leaves open.
type plan struct {
	stage          *recipes.Stage
	device         torch.Device
	dtype          torch.Dtype
	threads        int
	micro          int       // samples in a micro-batch; 0 when tokens decides
	autoMicro      bool      // micro may become smaller to fit the memory: neither the recipe nor the run set it
	tokens         int       // positions in a micro-batch; 0 when micro decides
	answers        exam.Room // of the answers to benchmarks
	imageTiles     int64     // the most tiles that an image becomes; 0 is 1
	recompute      nn.Recompute
	hypothetical   bool        // planned for a GPU that this machine does not have
	momentsSetting string      // the recipe's optimizer.moments: auto, fp32 or bf16
	moments        torch.Dtype // of the optimizer
	total          int         // optimizer steps
	schedule       func(step int) float64
	average        loss.Average
	trains         func(part, name string) bool
	lora           map[string]recipes.LoRA // by part
	world          int                     // processes that train together
	sharers        int                     // of them, those that share the memory of this one's device
	zero           nn.Zero                 // what the processes divide
	widens         bool                    // they sum gradients in fp32
}

// divides is what the processes of a stage divide: nothing, if there is one.
func (p *plan) divides(d *recipes.Distributed, stage *recipes.Stage) nn.Zero {
	if p.world < 2 {
		return nn.Whole
	}
	return nn.Zero(d.Divides(stage.Train))
}

// newPlan resolves everything except what depends on the model's size. saved is the state that the run goes on from.
func newPlan(
	r *recipes.Recipe, stage *recipes.Stage, total int, saved checkpoints.State, place ranks.Place,
) (*plan, error) {
	p := &plan{stage: stage, total: total, tokens: stage.Batch.Tokens, lora: stage.Adapters(),
		world: place.World, sharers: place.Locals}
	p.zero, p.widens = p.divides(r.Distributed, stage), r.Distributed.Widens()
	err := p.dealable()
	if err != nil {
		return nil, err
	}
	if p.device, p.dtype, err = device.Placement(r.Device, r.Dtype); err != nil {
		return nil, err
	}
	if p.device != torch.CPU {
		p.sharers = 1
		card, err := place.Card(cards())
		if err != nil {
			return nil, err
		}
		p.device = torch.Device(card)
	}
	if p.schedule, err = openSchedule(stage.Schedule, total); err != nil {
		return nil, err
	}
	if p.average, err = loss.OpenAverage(stage.Loss); err != nil {
		return nil, err
	}
	if p.trains, err = Trains(stage.Train); err != nil {
		return nil, err
	}
	p.momentsSetting = stage.Optimizer.Moments
	engine := saved.Engine
	if engine["moments"] != "" && p.momentsSetting == "auto" {
		p.momentsSetting = engine["moments"]
	}
	threads, micro := engine["threads"], engine["micro"]
	if saved.Processes != p.processes() { // chosen anew; but the mean over micro-batches is another for others
		threads = ""
		if stage.Loss == "token_mean" {
			micro = ""
		}
	}
	p.threads = resolve(r.Threads, 0, threads, defaultThreads(place.Locals))
	p.setMicro(micro)
	return p, nil
}

// dealable refuses a step with too few samples for all processes, and what they cannot divide.
func (p *plan) dealable() error {
	if global := p.stage.Batch.Global; p.world > max(1, global) {
		return failure.Inputf("batch.global is %d samples, fewer than the %d processes that train: each computes "+
			"at least one sample of a step; raise batch.global or start fewer", global, p.world)
	}
	if eval := p.stage.Eval; p.zero >= nn.Weights && eval != nil && (eval.Samples > 0 || len(eval.Benchmarks) > 0) {
		return failure.Inputf("distributed.zero 3 shards weights, and one process answers eval.samples and " +
			"eval.benchmarks: leave them out, or set zero to 2")
	}
	// The export has the whole language model, of which a process has what trains alone.
	language := p.stage.Train[recipes.PartLanguage]
	if p.zero >= nn.Weights && (language.Only != "" || language.Except != "") {
		return failure.Inputf("distributed.zero 3 shards weights, and then train.language must train all of the " +
			"language model or adapters: leave out only and except, or set zero to 2")
	}
	return nil
}

// cards is how many GPUs this process sees.
func cards() int {
	engine, _ := torch.Open() // it succeeded before
	return engine.CUDADevices
}

// processes is world as checkpoints keep it: 0 for one alone.
func (p *plan) processes() int {
	if p.world == 1 {
		return 0
	}
	return p.world
}

// onceAStep is how gradients are summed where nothing else is asked for.
const onceAStep = "once a step"

// sums is how gradients are summed over the processes, as far as it changes bits; "" for once a step in their dtype.
func (p *plan) sums() (text string) {
	if p.world == 1 {
		return ""
	}
	if p.zero >= nn.Gradients {
		text = "after each micro-batch"
	}
	if p.widens && p.dtype != torch.Float32 {
		text = cmp.Or(text, onceAStep) + " in fp32"
	}
	return text
}

// idleWarning says that processes have nothing to compute; "" if all have.
func (p *plan) idleWarning() string {
	global := p.stage.Batch.Global
	if p.micro == 0 || p.world == 1 {
		return ""
	}
	if busy := (global + p.micro - 1) / p.micro; busy < p.world {
		return fmt.Sprintf("batch.global %d in micro-batches of %d keeps %d of %d processes busy: set batch.micro to "+
			"%d, or batch.global to %d", global, p.micro, busy, p.world, max(1, global/p.world), p.micro*p.world)
	}
	return ""
}

// setMicro decides the size of micro-batches; saved is what the run began with, "" for a new run.
func (p *plan) setMicro(saved string) {
	if p.tokens != 0 {
		return
	}
	batch := p.stage.Batch
	usual := min(score.DefaultMicro(p.device), (batch.Global+p.world-1)/p.world)
	p.micro = min(batch.Global, resolve(int(batch.Micro), int(recipes.Auto), saved, usual))
	p.autoMicro = batch.Micro == recipes.Auto && saved == ""
}

// DefaultThreads is what threads: 0 means in a new run: OMP_NUM_THREADS, which schedulers and containers set, or else
// as many as the process may use at once, by its CPU affinity and its control group's quota.
func DefaultThreads() int { return defaultThreads(1) }

// defaultThreads is DefaultThreads for one of several processes that share their host's cores.
func defaultThreads(locals int) int {
	if n, err := strconv.Atoi(os.Getenv("OMP_NUM_THREADS")); err == nil && n > 0 {
		return n
	}
	return max(1, runtime.GOMAXPROCS(0)/max(1, locals))
}

// resolve returns the recipe's value or, if that is auto, the one that the run began with, or else the default.
func resolve(value, auto int, saved string, fallback int) int {
	if value != auto {
		return value
	}
	if n, err := strconv.Atoi(saved); err == nil {
		return n
	}
	return fallback
}

// Trains returns whether the recipe's `train` section selects a parameter, by its part and name.
func Trains(parts map[string]recipes.Part) (func(part, name string) bool, error) {
	type filter struct{ only, except *regexp.Regexp }
	filters := map[string]filter{}
	for part, p := range parts {
		var f filter
		var err error
		if f.only, err = compile(p.Only); err != nil {
			return nil, failure.Inputf("train.%s.only: %w", part, err)
		}
		if f.except, err = compile(p.Except); err != nil {
			return nil, failure.Inputf("train.%s.except: %w", part, err)
		}
		filters[part] = f
	}
	return func(part, name string) bool {
		f, named := filters[part]
		return named && (f.only == nil || f.only.MatchString(name)) && (f.except == nil || !f.except.MatchString(name))
	}, nil
}

func compile(pattern string) (*regexp.Regexp, error) {
	if pattern == "" {
		return nil, nil
	}
	return regexp.Compile(pattern)
}

// engine is what the numbers depend on in addition to recipe and data; checkpoints keep it.
func (p *plan) engine() map[string]string {
	opened, _ := torch.Open() // it succeeded before
	kind := strings.SplitN(p.device.String(), ":", 2)[0]
	return map[string]string{
		"device": kind, "dtype": p.dtype.String(), "threads": strconv.Itoa(p.threads), "libtorch": opened.Version,
		"micro": strconv.Itoa(p.micro), "moments": p.moments.String(),
	}
}
