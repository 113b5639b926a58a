package main

import (
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"testing"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/model/torch/torchtest"
)

// curve is a recorded run of the original's trainer on ../../../shared/parity; its README describes how it was made.
type curve struct {
	Template         string  `json:"template"`
	Data             string  `json:"data"`
	Projector        string  `json:"mm_projector_type"`
	Aspect           string  `json:"image_aspect_ratio"`
	Batch            int     `json:"batch"`
	Accumulation     int     `json:"accumulation"`
	LR               float64 `json:"learning_rate"`
	WarmupRatio      float64 `json:"warmup_ratio"`
	InitialProjector string  `json:"initial_projector"`
	Curve            []struct {
		LR           float64 `json:"lr"`
		Loss         float64 `json:"loss"`
		Tokens       int     `json:"tokens"`
		GradNorm     float64 `json:"grad_norm"`
		MicroBatches [][]int `json:"micro_batches"`
	} `json:"curve"`
}

// Tolerances from the recording's README, which allow for other versions of libtorch.
const (
	lossTolerance  = 1e-5 // relative
	normTolerance  = 1e-4 // relative
	finalTolerance = 1e-4 // absolute
)

func TestCurvesOfTheOriginal(t *testing.T) {
	for _, c := range []struct {
		name, stage, loss string
		plain             bool // over libtorch's operations
		args              []string
	}{
		{"stage1", "pretrain", "micro_mean", false, nil},
		{"stage1", "pretrain", "micro_mean", true, nil},
		{"stage1-linear", "pretrain", "micro_mean", false, nil},
		{"stage2", "finetune", "micro_mean", false, nil},
		{"stage2", "finetune", "micro_mean", true, nil},
		{"stage2", "finetune", "micro_mean", false, []string{set("finetune.recompute", "selective")}},
		{"stage2-token-mean", "finetune", "token_mean", false, nil},
		{"stage2-token-mean", "finetune", "token_mean", false,
			[]string{set("finetune.recompute", "layers"), set("finetune.batch.micro", "1")}},
	} {
		t.Run(fmt.Sprint(c.name, map[bool]string{true: " over libtorch's operations"}[c.plain], c.args),
			func(t *testing.T) {
				defer torchtest.SetFused(torchtest.SetFused(!c.plain))
				parity := shared(t, "parity")
				var recorded curve
				if err := json.Unmarshal(read(t, filepath.Join(parity, c.name+".json")), &recorded); err != nil {
					t.Fatal(err)
				}
				dir := t.TempDir()
				writeRecordedOrder(t, recorded, filepath.Join(dir, "rows.json"))
				write(t, filepath.Join(dir, "curve.yaml"), recorded.recipe(t, c.stage, c.loss))
				command(t, 0, append([]string{c.stage, filepath.Join(dir, "curve.yaml")}, c.args...)...)
				runDir := filepath.Join(dir, "runs", "curve", c.stage)
				compareCurve(t, recorded, runDir)
				compareFinal(t, filepath.Join(parity, c.name+"-final.safetensors"), filepath.Join(runDir, "export"),
					c.stage)
				requireFrozen(t, parity, filepath.Join(runDir, "export"), c.stage)
			})
	}
}

// writeRecordedOrder writes the rows in the order in which the original used them.
func writeRecordedOrder(t *testing.T, c curve, path string) {
	var rows, ordered []json.RawMessage
	if err := json.Unmarshal(read(t, shared(t, "coco-mini", c.Data)), &rows); err != nil {
		t.Fatal(err)
	}
	for _, step := range c.Curve {
		for _, micro := range step.MicroBatches {
			for _, row := range micro {
				ordered = append(ordered, rows[row])
			}
		}
	}
	writeRows(t, path, ordered)
}

// recordedLegacy says with which tokenizer setting the set was recorded.
func recordedLegacy(t *testing.T) bool {
	t.Helper()
	var config struct{ Legacy bool }
	if err := json.Unmarshal(read(t, shared(t, "parity", "llm", "tokenizer_config.json")), &config); err != nil {
		t.Fatal(err)
	}
	return config.Legacy
}

func (c curve) recipe(t *testing.T, stage, loss string) string {
	train := fmt.Sprintf("{projector: {lr: %g}}", c.LR)
	if stage == "finetune" {
		train = fmt.Sprintf("{projector: {lr: %g}, language: {lr: %g}}", c.LR, c.LR)
	}
	return fmt.Sprintf(`
threads: 2
model:
  vision: {weights: %[1]s/clip}
  projector: {type: %[2]s, weights: %[1]s/%[3]s}
  language: {weights: %[1]s/llm, tokenizer: {path: %[4]s, legacy: "%[15]t"}}
%[5]s:
  data: [{path: rows.json, images: %[6]s/images}]
  template: %[7]s
  image: %[8]s
  order: sequential
  train: %[9]s
  batch: {global: %[10]d, micro: %[11]d}
  steps: %[12]d
  schedule: {type: cosine, warmup: %[13]g}
  optimizer: {clip: 0}
  loss: %[14]s
`, shared(t, "parity"), c.Projector, c.InitialProjector, shared(t, "llama-tokenizer"), stage, shared(t, "coco-mini"),
		c.Template, c.Aspect, train, c.Batch*c.Accumulation, c.Batch, len(c.Curve), c.WarmupRatio, loss,
		recordedLegacy(t))
}

func compareCurve(t *testing.T, c curve, runDir string) {
	t.Helper()
	metrics := readMetrics(t, runDir)
	if len(metrics) != len(c.Curve) {
		t.Fatalf("%d steps, want %d", len(metrics), len(c.Curve))
	}
	var worstLoss, worstNorm float64
	for i, want := range c.Curve {
		got := metrics[i]
		worstLoss = math.Max(worstLoss, relative(float64(got.Loss), want.Loss))
		worstNorm = math.Max(worstNorm, relative(float64(got.GradNorm), want.GradNorm))
		if got.SupervisedTokens != want.Tokens {
			t.Errorf("step %d supervises %d tokens, want %d", i+1, got.SupervisedTokens, want.Tokens)
		}
		for part, lr := range got.LR {
			if math.Abs(float64(lr)-want.LR) > 1e-12 {
				t.Errorf("step %d: learning rate of %s is %v, want %v", i+1, part, lr, want.LR)
			}
		}
	}
	t.Logf("largest relative difference: loss %.2g, gradient norm %.2g", worstLoss, worstNorm)
	if worstLoss > lossTolerance || worstNorm > normTolerance {
		t.Errorf("loss differs by %.2g relative (at most %g), gradient norm by %.2g (at most %g)", worstLoss,
			lossTolerance, worstNorm, normTolerance)
	}
}

func relative(got, want float64) float64 { return math.Abs(got-want) / math.Abs(want) }

func compareFinal(t *testing.T, recorded, export, stage string) {
	t.Helper()
	file := map[string]string{"pretrain": "mm_projector.safetensors", "finetune": "model.safetensors"}[stage]
	want, got := openWeights(t, recorded), openWeights(t, filepath.Join(export, file))
	worst := 0.0
	for _, name := range want.Names() {
		a, b := floats(t, want, name), floats(t, got, name)
		for i := range a {
			worst = math.Max(worst, math.Abs(float64(a[i]-b[i])))
		}
	}
	if t.Logf("largest difference of the final weights: %.2g", worst); worst > finalTolerance {
		t.Errorf("final weights differ by %g, more than %g", worst, finalTolerance)
	}
}

// requireFrozen checks that stage 2 exports the tower bit for bit as it was loaded. (Stage 1 exports only the
// projector; TestFrozenWeightsStay checks that it changes nothing else.)
func requireFrozen(t *testing.T, parity, export, stage string) {
	t.Helper()
	if stage == "pretrain" {
		return
	}
	tower, exported := openWeights(t, filepath.Join(parity, "clip")),
		openWeights(t, filepath.Join(export, "model.safetensors"))
	compared := 0
	for _, name := range exported.Names() {
		before, err := tower.Tensor(name[min(len(name), len("model.vision_tower.vision_tower.")):])
		if err != nil {
			continue // not the tower's
		}
		after, err := exported.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		if compared++; string(before.Data) != string(after.Data) {
			t.Errorf("frozen tensor %s changed", name)
		}
	}
	if compared < 50 {
		t.Errorf("only %d tensors of the tower were found in the export", compared)
	}
}

func openWeights(t *testing.T, path string) *checkpoints.Weights {
	t.Helper()
	w, err := checkpoints.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

func floats(t *testing.T, w *checkpoints.Weights, name string) []float32 {
	t.Helper()
	tensor, err := w.Tensor(name)
	if err != nil {
		t.Fatal(err)
	}
	values, err := tensor.Float32s()
	if err != nil {
		t.Fatal(err)
	}
	return values
}
