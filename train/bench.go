package train

import (
	"math/rand/v2"
	"runtime"
	"slices"
	"time"

	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
)

// Bench times training steps of a named shape with random weights, through the code that real runs take.
type Bench struct {
	Shape   string
	Stage   int // 1: projector alone; 2: projector and language model
	Batch   int
	Steps   int
	Warmup  int
	Threads int
	Device  string
	Dtype   string
	Profile string // folder for a profile of the timed steps, taken once more; "": none
	Rows    string // file of rows, as {"image": bool, "turns": [[question tokens, answer tokens], …]}; "": made up
	Report  Report // nil for nobody
}

// BenchResult has the fields of the peer's timing script, so that the two can be laid side by side.
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

	// What the peer does not say.
	Recompute    string             `json:"recompute"`           // none, selective or layers
	Moments      string             `json:"moments"`             // dtype of the optimizer's
	Tflops       float64            `json:"tflops_per_s"`        // useful operations, 10^12 a second: see flops
	Counts       string             `json:"flops_count"`         // 4N, or 6N where the language model trains
	MatmulTflops float64            `json:"matmul_tflops_per_s"` // of large products on this device
	MFU          float64            `json:"mfu"`                 // the first as a share of the second
	Share        map[string]float64 `json:"share"`               // of time by part, in steps after the timed ones
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
		if t.profile, err = openProfiler(b.Profile, b.Warmup+b.Steps+watched, b.Steps); err != nil {
			return BenchResult{}, err
		}
	}
	work, err := b.run(t, rows, 0, b.Warmup+b.Steps)
	if err != nil {
		return BenchResult{}, err
	}
	r := b.result(t, work[b.Warmup:])
	t.watch = &stopwatch{waits: true}
	if _, err := b.run(t, rows, b.Warmup+b.Steps, watched); err != nil {
		return BenchResult{}, err
	}
	r.Share = t.watch.shares()
	if t.profile != nil {
		t.profile.usual = time.Duration(r.StepMSMedian * float64(time.Millisecond))
		if _, err := b.run(t, rows, b.Warmup, b.Steps); err != nil {
			return BenchResult{}, err
		}
	}
	rate, err := matmulRate(t.plan.device, t.plan.dtype)
	r.MatmulTflops = rate / 1e12
	r.MFU = r.Tflops / r.MatmulTflops
	return r, err
}

const watchedSteps = 5 // whose time is divided among the parts

// timed is one step: how long it took and what was in it.
type timed struct {
	time    time.Duration
	metrics Metrics
	squares float64 // summed squares of the samples' lengths
}

// run takes n steps from the first-th on.
func (b Bench) run(t *trainer, rows []benchRow, first, n int) (work []timed, err error) {
	random := rand.New(rand.NewPCG(1, uint64(first)))
	for i := range n {
		st, err := b.step(first+i, rows, t, random)
		if err != nil {
			return nil, err
		}
		torch.Synchronize()
		if err := t.profile.begin(t); err != nil {
			return nil, err
		}
		t.profile.loaded()
		began := time.Now()
		m, err := t.step(st)
		if err != nil {
			return nil, err
		}
		torch.Synchronize()
		work = append(work, timed{time.Since(began), m, squares(st.Micro[0].Starts)})
		if err := t.profile.end(t, m.Step); err != nil {
			return nil, err
		}
	}
	return work, nil
}

func squares(starts []int64) (sum float64) {
	for i := range len(starts) - 1 {
		length := float64(starts[i+1] - starts[i])
		sum += length * length
	}
	return sum
}

func (b Bench) result(t *trainer, work []timed) BenchResult {
	var total time.Duration
	var times []time.Duration
	var done amounts
	for _, w := range work {
		times, total = append(times, w.time), total+w.time
		done.tokens += float64(w.metrics.Tokens)
		done.supervised += float64(w.metrics.SupervisedTokens)
		done.pictures += float64(w.metrics.Images)
		done.squares += w.squares
	}
	size := sizeOf(t.model)
	slices.Sort(times)
	engine, _ := torch.Open()
	r := BenchResult{
		Peer: "llavatrain", Shape: b.Shape, Stage: b.Stage, Device: t.plan.device.String(), Dtype: t.plan.dtype.String(), Batch: b.Batch, Accum: 1,
		Checkpointing: t.plan.recompute == nn.RecomputeLayers, Recompute: string(t.plan.recompute), Moments: t.plan.moments.String(), Fused: true, Threads: torch.Threads(), Steps: b.Steps,
		SamplesPerS: float64(b.Batch*b.Steps) / total.Seconds(), TokensPerS: done.tokens / total.Seconds(),
		StepMSMedian: milliseconds(times[len(times)/2]), StepMSMin: milliseconds(times[0]),
		LastLoss: float64(work[len(work)-1].metrics.Loss), PeakRSSMB: peakMemory(torch.CPU) >> 20, Torch: engine.Version,
		Tflops: flops(t.model, size.trains, done) / total.Seconds() / 1e12, Counts: "4N",
		PredictedMB: totalOf(size.memory(t.plan.setting(), t.largest)) >> 20, MeasuredMB: t.measuredMemory() >> 20,
	}
	if size.trains[partLanguage] {
		r.Counts = "6N"
	}
	if t.plan.device != torch.CPU {
		r.PeakGPUMB = peakMemory(t.plan.device) >> 20
	}
	return r
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }

// silent is a report that nobody reads.
type silent struct{}

func (silent) Say(string)                    {}
func (silent) Progress(string, int64, int64) {}
func (silent) Step(Metrics, int)             {}
