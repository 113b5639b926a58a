package train

import (
	"cmp"
	"math/rand/v2"
	"runtime"
	"slices"
	"time"

	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/train/device"
	"github.com/llavatrain/llavatrain/train/profile"
)

// Bench times training steps of a named shape with random weights, by the code of real runs.
type Bench struct {
	Shape   string
	Stage   int // 1 trains the projector; 2 the projector and the language model
	Batch   int // samples in a micro-batch
	Accum   int // micro-batches in a step; 0 is 1
	Steps   int
	Warmup  int
	Threads int
	Device  string
	Dtype   string
	Profile string        // folder for a profile of the timed steps, which are taken again for it; "": none
	Rows    string        // file of {"image": bool, "turns": [[question tokens, answer tokens], …]}; "": made up
	Report  runs.Observer // nil for none

	Projector string // type, with its default settings; "": mlp2x_gelu
	Tiles     bool   // images of several sizes, cut into tiles as LLaVA-1.6 does
}

// BenchResult has the fields of the Hugging Face timing script's result, so that the two can be compared.
type BenchResult struct {
	Peer          string  `json:"peer"`
	Shape         string  `json:"shape"`
	Stage         int     `json:"stage"`
	Device        string  `json:"device"`
	Dtype         string  `json:"dtype"`
	Batch         int     `json:"batch"`
	Accum         int     `json:"accum"`
	Checkpointing bool    `json:"checkpointing"`
	Fused         bool    `json:"fused"`
	Grouped       bool    `json:"grouped"`
	Threads       int     `json:"threads"`
	Steps         int     `json:"steps"`
	SamplesPerS   float64 `json:"samples_per_s"`
	TokensPerS    float64 `json:"tokens_per_s"`
	StepMSMedian  float64 `json:"step_ms_median"`
	StepMSMin     float64 `json:"step_ms_min"`
	PaddingShare  float64 `json:"padding_share"`
	LastLoss      float64 `json:"last_loss"`
	PeakRSSMB     int64   `json:"peak_rss_mb"`
	PeakGPUMB     int64   `json:"peak_gpu_mb,omitempty"`
	Torch         string  `json:"torch"`

	// These fields are only ours.
	Projector    string             `json:"projector"`
	Tiles        bool               `json:"tiles"`
	Recompute    string             `json:"recompute"` // none, selective or layers
	Moments      string             `json:"moments"`   // dtype of the optimizer's
	GPU          string             `json:"gpu,omitempty"`
	Tflops       float64            `json:"tflops_per_s"`        // useful operations, 10^12 a second; see flops
	Counts       string             `json:"flops_count"`         // 4N, or 6N if the language model trains
	MatmulTflops float64            `json:"matmul_tflops_per_s"` // of large matrix products on this device
	OfMatmul     float64            `json:"of_matmul"`           // tflops_per_s as a share of that
	MFU          float64            `json:"mfu,omitempty"`       // as a share of the GPU's dense bf16 rate, if known
	Share        map[string]float64 `json:"share"`               // of the time, by part, in steps after the timed ones
	PredictedMB  int64              `json:"memory_predicted_mb"` // of tensors
	MeasuredMB   int64              `json:"memory_measured_mb"`
}

// Run times the steps.
func (b Bench) Run() (BenchResult, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	rows, err := b.rows()
	if err != nil {
		return BenchResult{}, err
	}
	t, err := b.open()
	if err != nil {
		return BenchResult{}, err
	}
	defer t.close()
	watched := min(b.Steps, watchedSteps)
	if b.Profile != "" {
		skip := b.Warmup + b.Steps + watched
		t.profile, err = profile.OpenProfiler(b.Profile, t.plan.device, skip, b.Steps, t.report.Say)
		if err != nil {
			return BenchResult{}, err
		}
	}
	if _, _, err := b.run(t, rows, 0, b.Warmup); err != nil {
		return BenchResult{}, err
	}
	work, took, err := b.run(t, rows, b.Warmup, b.Steps)
	if err != nil {
		return BenchResult{}, err
	}
	r := b.result(t, work, took)
	t.watch = &profile.Stopwatch{Waits: true}
	if _, _, err := b.run(t, rows, b.Warmup+b.Steps, watched); err != nil {
		return BenchResult{}, err
	}
	r.Share = t.watch.Shares()
	if t.profile != nil {
		t.watch, t.profile.Usual = nil, time.Duration(r.StepMSMedian*float64(time.Millisecond))
		if _, _, err := b.run(t, rows, b.Warmup, b.Steps); err != nil {
			return BenchResult{}, err
		}
	}
	rate, err := matmulRate(t.plan.device, t.plan.dtype)
	r.MatmulTflops = rate / 1e12
	r.OfMatmul = r.Tflops / r.MatmulTflops
	return r, err
}

const watchedSteps = 5 // steps whose time is divided among the parts

// run takes n steps, the first of which has the number first, as a run does, but with data prepared in advance. It
// returns how long they took.
func (b Bench) run(t *trainer, rows []benchRow, first, n int) (work []finishedStep, took time.Duration, err error) {
	random := rand.New(rand.NewPCG(1, uint64(first)))
	steps := make([]data.Step, n)
	for i := range steps {
		if steps[i], err = b.step(first+i, rows, t, random); err != nil {
			return nil, 0, err
		}
	}
	add := func(finished []finishedStep, failed error) {
		work, err = append(work, finished...), cmp.Or(err, failed)
	}
	if err := synchronize(); err != nil {
		return nil, 0, err
	}
	began := time.Now()
	for _, st := range steps {
		if err := t.profile.Begin(); err != nil {
			return nil, 0, err
		}
		t.profile.Loaded()
		add(t.trainStep(st, 0))
		if err := cmp.Or(err, t.profile.End(st.Number+1)); err != nil {
			return nil, 0, err
		}
	}
	add(t.finishQueued())
	add(nil, synchronize())
	return work, time.Since(began), err
}

func synchronize() error { return torch.Do(func(*torch.Scope) { torch.Synchronize() }) }

// squaredLengths is the sum of the squares of the samples' lengths, which attention's scores grow with.
func squaredLengths(starts []int64) (sum float64) {
	for i := range len(starts) - 1 {
		length := float64(starts[i+1] - starts[i])
		sum += length * length
	}
	return sum
}

func (b Bench) result(t *trainer, work []finishedStep, took time.Duration) BenchResult {
	var times []float64
	var done amounts
	for _, w := range work {
		times = append(times, float64(w.StepMS))
		done.tokens += float64(w.Tokens)
		done.supervised += float64(w.SupervisedTokens)
		for _, micro := range w.step.Micro {
			done.tiles += float64(len(micro.Tiles))
			done.squaredLengths += squaredLengths(micro.Starts)
		}
	}
	seconds := took.Seconds()
	size := sizeOf(t.model)
	slices.Sort(times)
	engine, _ := torch.Open()
	r := BenchResult{
		Peer: "llavatrain", Shape: b.Shape, Stage: b.Stage, Batch: b.Batch, Accum: b.accum(), Steps: b.Steps,
		Device: t.plan.device.String(), Dtype: t.plan.dtype.String(), Threads: torch.Threads(), Fused: true,
		Checkpointing: t.plan.recompute == nn.RecomputeLayers, Recompute: string(t.plan.recompute),
		Moments: t.plan.moments.String(), Projector: t.recipe.Model.Projector.Type, Tiles: b.Tiles,
		SamplesPerS: float64(b.Batch*b.accum()*b.Steps) / seconds, TokensPerS: done.tokens / seconds,
		StepMSMedian: times[len(times)/2], StepMSMin: times[0],
		LastLoss: float64(work[len(work)-1].Loss), PeakRSSMB: device.PeakMemory(torch.CPU) >> 20, Torch: engine.Version,
		Tflops: flops(t.model, size.trains, done) / seconds / 1e12, Counts: "4N",
		PredictedMB: totalOf(size.memory(t.plan.setting(), t.largest)) >> 20,
		MeasuredMB:  t.measuredMemory() >> 20,
	}
	if size.trains[recipes.PartLanguage] {
		r.Counts = "6N"
	}
	if t.plan.device != torch.CPU {
		r.PeakGPUMB, r.GPU = device.PeakMemory(t.plan.device)>>20, torch.CardName(t.plan.device)
		if peak := peaks[r.GPU]; peak > 0 && t.plan.dtype == torch.BFloat16 {
			r.MFU = r.Tflops / peak
		}
	}
	return r
}
