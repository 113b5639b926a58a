package train

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
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
	Rows    string // file of rows, as {"image": bool, "turns": [[question tokens, answer tokens], …]}; "": made up
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
}

// benchShapes are width, layers, heads, mlp of the tower with its picture and patch size, and of the language model with its vocabulary.
var benchShapes = map[string]struct{ vision, language [6]int64 }{
	"tiny":  {[6]int64{64, 4, 4, 256, 56, 14}, [6]int64{128, 4, 4, 352, 1000}},
	"small": {[6]int64{384, 12, 6, 1536, 224, 16}, [6]int64{512, 8, 8, 1408, 32000}},
	"0.5b":  {[6]int64{1024, 24, 16, 4096, 336, 14}, [6]int64{896, 24, 14, 4864, 32000}},
	"7b":    {[6]int64{1024, 24, 16, 4096, 336, 14}, [6]int64{4096, 32, 32, 11008, 32000}},
}

// benchRow is one conversation by its lengths.
type benchRow struct {
	Image bool     `json:"image"`
	Turns [][2]int `json:"turns"`
}

// Run times the steps.
func (b Bench) Run() (BenchResult, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	t, err := b.open()
	if err != nil {
		return BenchResult{}, err
	}
	defer t.close()
	rows, err := b.rows()
	if err != nil {
		return BenchResult{}, err
	}
	random := rand.New(rand.NewPCG(1, 0))
	var times []time.Duration
	var tokens int
	var last Metrics
	for i := range b.Warmup + b.Steps {
		st, err := b.step(i, rows, t, random)
		if err != nil {
			return BenchResult{}, err
		}
		torch.Synchronize()
		began := time.Now()
		if last, err = t.step(st); err != nil {
			return BenchResult{}, err
		}
		torch.Synchronize()
		if i >= b.Warmup {
			times = append(times, time.Since(began))
			tokens += last.Tokens
		}
	}
	return b.result(t, times, tokens, last), nil
}

func (b Bench) result(t *trainer, times []time.Duration, tokens int, last Metrics) BenchResult {
	var total time.Duration
	for _, d := range times {
		total += d
	}
	slices.Sort(times)
	engine, _ := torch.Open()
	r := BenchResult{
		Peer: "llavatrain", Shape: b.Shape, Stage: b.Stage, Device: t.plan.device.String(), Dtype: t.plan.dtype.String(), Batch: b.Batch, Accum: 1,
		Checkpointing: t.plan.recompute, Fused: true, Threads: torch.Threads(), Steps: b.Steps,
		SamplesPerS: float64(b.Batch*b.Steps) / total.Seconds(), TokensPerS: float64(tokens) / total.Seconds(),
		StepMSMedian: milliseconds(times[len(times)/2]), StepMSMin: milliseconds(times[0]),
		LastLoss: float64(last.Loss), PeakRSSMB: peakMemory(torch.CPU) >> 20, Torch: engine.Version,
	}
	if t.plan.device != torch.CPU {
		r.PeakGPUMB = peakMemory(t.plan.device) >> 20
	}
	return r
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }

// open builds the shape's model with random weights and its optimizer.
func (b Bench) open() (*trainer, error) {
	parts := map[string]recipes.Part{partProjector: {LR: 1e-4}}
	if b.Stage == 2 {
		parts[partLanguage] = recipes.Part{LR: 1e-4}
	}
	return b.openParts(parts)
}

func (b Bench) openParts(parts map[string]recipes.Part) (*trainer, error) {
	shape, ok := benchShapes[b.Shape]
	if !ok {
		return nil, fmt.Errorf("%w: shape %q is unknown; known are %s", ErrUsage, b.Shape, strings.Join(slices.Sorted(maps.Keys(benchShapes)), ", "))
	}
	dir, err := os.MkdirTemp("", "llavatrain-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	v, l := shape.vision, shape.language
	tower := map[string]any{"model_type": "clip_vision_model", "hidden_size": v[0], "num_hidden_layers": v[1], "num_attention_heads": v[2],
		"intermediate_size": v[3], "image_size": v[4], "patch_size": v[5]}
	language := map[string]any{"model_type": "llama", "hidden_size": l[0], "num_hidden_layers": l[1], "num_attention_heads": l[2],
		"intermediate_size": l[3], "vocab_size": l[4], "max_position_embeddings": 4096}
	if err := firstError(writeJSON(filepath.Join(dir, "tower.json"), tower), writeJSON(filepath.Join(dir, "language.json"), language)); err != nil {
		return nil, err
	}
	stage := &recipes.Stage{Train: parts, Batch: recipes.Batch{Global: b.Batch, Micro: recipes.Micro(b.Batch)}, Loss: "token_mean", Recompute: "auto",
		Schedule: recipes.Schedule{Type: "constant"}, Optimizer: recipes.Optimizer{Betas: [2]float64{0.9, 0.999}, Eps: 1e-8}}
	r := &recipes.Recipe{Device: b.Device, Dtype: b.Dtype, Threads: b.Threads, Seed: 1, Model: recipes.Model{
		Vision:    recipes.Vision{Config: filepath.Join(dir, "tower.json"), SelectLayer: -2, SelectFeature: "patch"},
		Projector: recipes.Projector{Type: "mlp2x_gelu"},
		Language:  recipes.Language{Config: filepath.Join(dir, "language.json"), MaxLength: 2048},
	}}
	return b.build(r, stage)
}

func (b Bench) build(r *recipes.Recipe, stage *recipes.Stage) (*trainer, error) {
	t := &trainer{recipe: r, report: silent{}}
	var err error
	if t.plan, err = newPlan(r, stage, b.Warmup+b.Steps, nil); err != nil {
		return nil, err
	}
	torch.SetThreads(t.plan.threads)
	t.model, err = model.Open(r.Model, model.OpenOptions{
		Device: t.plan.device, Dtype: t.plan.dtype, Seed: 1, Trains: t.plan.trains, LoRA: t.plan.lora, Normalization: make([]float32, 3*256),
	})
	if err != nil {
		return nil, err
	}
	t.optimizer, err = newOptimizer(stage.Optimizer, t.model.Params)
	return t, err
}

func writeJSON(path string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o666)
}

// rows reads the rows of the file, or makes some up: 6 of 7 with a picture, one to six turns.
func (b Bench) rows() (rows []benchRow, err error) {
	if b.Rows != "" {
		text, err := os.ReadFile(b.Rows)
		if err == nil {
			err = json.Unmarshal(text, &rows)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: rows: %w", ErrUsage, err)
		}
	}
	random := rand.New(rand.NewPCG(2, 0))
	for range 512 * (1 - min(1, len(rows))) {
		row := benchRow{Image: random.IntN(7) > 0}
		for range 1 + random.IntN(6) {
			row.Turns = append(row.Turns, [2]int{10 + random.IntN(20), 3 + random.IntN(60)})
		}
		rows = append(rows, row)
	}
	if b.Stage == 1 {
		rows = slices.DeleteFunc(rows, func(r benchRow) bool { return !r.Image })
	}
	return rows, nil
}

// step makes the i-th batch from the rows in their order, with random ids and pixels.
func (b Bench) step(i int, rows []benchRow, t *trainer, random *rand.Rand) (data.Step, error) {
	var samples []data.Sample
	tower, vocabulary := t.model.Tower.Describe(), int32(t.model.Language.Describe().VocabSize)
	for k := range b.Batch {
		samples = append(samples, b.sample(rows[(i*b.Batch+k)%len(rows)], tower, vocabulary, random))
	}
	batch, err := data.Collate(samples, int(tower.Tokens), func(n int) []uint8 { return make([]uint8, n) })
	return data.Step{Number: i, Micro: []data.Batch{batch}}, err
}

func (b Bench) sample(r benchRow, tower model.TowerShape, vocabulary int32, random *rand.Rand) data.Sample {
	const maxLength = 2048
	s := data.Sample{IDs: []int32{1}, Labels: []int32{data.Ignore}}
	if r.Image {
		for range tower.Tokens {
			s.IDs, s.Labels = append(s.IDs, data.ImageToken), append(s.Labels, data.Ignore)
		}
		pixels := make([]uint8, 3*tower.ImageSize*tower.ImageSize)
		for i := range pixels {
			pixels[i] = uint8(random.Uint32())
		}
		s.Images = []data.Picture{{Pixels: pixels}}
	}
	turns := r.Turns
	if b.Stage == 1 { // a caption of ordinary length
		turns = [][2]int{{0, max(8, min(r.Turns[0][1], 24))}}
	}
	for _, turn := range turns {
		for i := range turn[0] + turn[1] {
			id, label := 3+random.Int32N(vocabulary-4), int32(data.Ignore)
			if i >= turn[0] {
				label = id
			}
			s.IDs, s.Labels = append(s.IDs, id), append(s.Labels, label)
		}
	}
	n := min(maxLength, len(s.IDs))
	s.IDs, s.Labels = s.IDs[:n], s.Labels[:n]
	return s
}

// silent is a report that nobody reads.
type silent struct{}

func (silent) Say(string)                    {}
func (silent) Progress(string, int64, int64) {}
func (silent) Step(Metrics, int)             {}
