package recipes

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// minimal has the required keys and nothing else. It ends at line 9.
const minimal = `model:
  vision: {weights: tower}
  language: {weights: lmsys/vicuna-7b-v1.5}
pretrain:
  data: [{path: train.json}]
  template: plain
  train:
    projector: {lr: 1e-3}
  batch: {global: 64}
`

// write puts text into a file called recipe.yaml in a new folder.
func write(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "recipe.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func mustLoad(t testing.TB, path string, set ...string) *Recipe {
	t.Helper()
	r, err := Load(path, set)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestDefaults fixes the value of every key that a recipe does not give.
func TestDefaults(t *testing.T) {
	path := write(t, minimal)
	dir := filepath.Dir(path)
	want := &Recipe{
		Name: "recipe", Runs: filepath.Join(dir, "runs"), Device: "auto", Dtype: "auto", Seed: 42, Path: path,
		Model: Model{
			Vision:    Vision{Weights: filepath.Join(dir, "tower"), SelectLayer: -2, SelectFeature: "patch"},
			Projector: Projector{Type: "mlp2x_gelu"},
			Language:  Language{Weights: "lmsys/vicuna-7b-v1.5", Tokenizer: Tokenizer{Legacy: "auto"}, MaxLength: 2048},
		},
		Pretrain: &Stage{
			Data:     []Data{{Path: filepath.Join(dir, "train.json"), Images: dir, Weight: 1}},
			Template: "plain", Image: "square", Order: "shuffled",
			Train:     map[string]Part{"projector": {LR: 1e-3}},
			Batch:     Batch{Global: 64, Micro: Auto},
			Epochs:    1,
			Schedule:  Schedule{Type: "cosine", Warmup: 0.03},
			Optimizer: Optimizer{Betas: [2]float64{0.9, 0.999}, Eps: 1e-8, Clip: 1, Moments: "auto"},
			Loss:      "token_mean", Save: Save{Every: 500, Keep: 2}, BadSamples: BadSamples{Policy: "skip"},
			Turn: "ignore", Recompute: "auto",
		},
	}
	if diff := cmp.Diff(want, mustLoad(t, path)); diff != "" {
		t.Errorf("minimal recipe (-want +got):\n%s", diff)
	}
}

// TestEveryKey sets each key to a value that is not its default.
func TestEveryKey(t *testing.T) {
	path := write(t, `
name: yes                               # text, whatever YAML 1.1 says
runs: /runs
device: cuda
dtype: bf16
threads: 3
workers: 4
seed: 18446744073709551615
model:
  vision: {config: tower.json, select_layer: -1, select_feature: cls_patch, image_size: 336}
  projector: {type: linear, weights: sub/../projector.bin}
  language: {config: /language.json, tokenizer: {path: tok, legacy: true}, max_length: 512}
finetune:
  data:
    - {path: a.json, images: "pictures", weight: 2}
    - path: 2024
      weight: .5
  template: v1
  image: pad
  order: grouped
  train: {vision: {lr: 1, only: 'layers\.[0-9]+'}, language: {lr: 2e-5, except: norm},
    projector: {lr: 1, lora: {r: 4, alpha: 6.5, dropout: 0.1, targets: q}}}
  batch: {global: 8, tokens: 4096}
  steps: 7
  schedule: {type: constant, warmup: 10}
  optimizer: {betas: [0, 0.5], eps: 1e-6, weight_decay: 0.1, clip: 0, moments: bf16}
  loss: micro_mean
  save: {every: 1, keep: 9}
  eval: {data: [{path: held.json, images: held, weight: .5}], every: 3, samples: 4,
    benchmarks: [{name: pope, data: lmms-lab/POPE}, {name: gqa, data: gqa, rule: lmms, questions: 50, every: 20}]}
  bad_samples: fail
  recompute: layers
`)
	dir := filepath.Dir(path)
	in := func(name string) string { return filepath.Join(dir, name) }
	want := &Recipe{
		Name: "yes", Runs: "/runs", Device: "cuda", Dtype: "bf16", Threads: 3, Workers: 4, Seed: 1<<64 - 1, Path: path,
		Model: Model{
			Vision:    Vision{Config: in("tower.json"), SelectLayer: -1, SelectFeature: "cls_patch", ImageSize: 336},
			Projector: Projector{Type: "linear", Weights: in("projector.bin")},
			Language: Language{Config: "/language.json", Tokenizer: Tokenizer{Path: in("tok"), Legacy: "true"},
				MaxLength: 512},
		},
		Finetune: &Stage{
			Data: []Data{{Path: in("a.json"), Images: in("pictures"), Weight: 2},
				{Path: in("2024"), Images: dir, Weight: 0.5}},
			Template: "v1", Image: "pad", Order: "grouped",
			Train: map[string]Part{
				"vision": {LR: 1, Only: `layers\.[0-9]+`}, "language": {LR: 2e-5, Except: "norm"},
				"projector": {LR: 1, LoRA: &LoRA{R: 4, Alpha: 6.5, Dropout: 0.1, Targets: "q"}},
			},
			Batch:     Batch{Global: 8, Tokens: 4096},
			Steps:     7,
			Schedule:  Schedule{Type: "constant", Warmup: 10},
			Optimizer: Optimizer{Betas: [2]float64{0, 0.5}, Eps: 1e-6, WeightDecay: 0.1, Moments: "bf16"},
			Loss:      "micro_mean", Save: Save{Every: 1, Keep: 9},
			Eval: &Eval{Data: []Data{{Path: in("held.json"), Images: in("held"), Weight: 0.5}}, Every: 3, Samples: 4,
				Benchmarks: []Benchmark{{Name: "pope", Data: "lmms-lab/POPE", Questions: 300, Every: 1000},
					{Name: "gqa", Data: in("gqa"), Rule: "lmms", Questions: 50, Every: 20}}},
			BadSamples: BadSamples{Policy: "fail"}, Turn: "ignore", Recompute: "layers",
		},
	}
	if diff := cmp.Diff(want, mustLoad(t, path)); diff != "" {
		t.Errorf("full recipe (-want +got):\n%s", diff)
	}
}

func TestStage(t *testing.T) {
	r := mustLoad(t, write(t, minimal))
	if s, err := r.Stage("pretrain"); s != r.Pretrain || err != nil {
		t.Errorf("Stage(pretrain) = %v, %v", s, err)
	}
	for _, name := range []string{"finetune", "align"} {
		if _, err := r.Stage(name); err == nil ||
			!strings.HasSuffix(err.Error(), `has no section "`+name+`"; it has "pretrain"`) {
			t.Errorf("Stage(%s): %v", name, err)
		}
	}
}

// TestWeights: a local folder wins over a hub id, and ./ forces a path.
func TestWeights(t *testing.T) {
	for _, c := range []struct {
		weights, want string // want is relative to the recipe's folder, or an id
		folder        string // exists
	}{
		{"openai/clip-vit-large-patch14-336", "openai/clip-vit-large-patch14-336", ""},
		{"openai/clip", "DIR/openai/clip", "openai/clip"},
		{"./openai/clip", "DIR/openai/clip", ""},
		{"clip", "DIR/clip", ""},
		{"a/b/c", "DIR/a/b/c", ""},
		{"../clip", "DIR/../clip", ""},
		{"/models/clip", "/models/clip", ""},
		{"~/clip", "DIR/~/clip", ""},
	} {
		path := write(t, strings.Replace(minimal, "weights: tower", "weights: "+c.weights, 1))
		dir := filepath.Dir(path)
		if err := os.MkdirAll(filepath.Join(dir, c.folder), 0o700); err != nil {
			t.Fatal(err)
		}
		want := c.want
		if below, ok := strings.CutPrefix(want, "DIR/"); ok {
			want = filepath.Join(dir, below)
		}
		if got := mustLoad(t, path).Model.Vision.Weights; got != want {
			t.Errorf("weights: %s = %q, want %q", c.weights, got, want)
		}
	}
}

func TestLoadUnreadable(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "none.yaml"), nil)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	if _, err := Load(t.TempDir(), nil); err == nil {
		t.Error("a folder was loaded")
	}
	if _, err := load("a\nb.yaml", []byte(minimal), nil); err == nil {
		t.Error("a path that Resolved cannot hold was loaded")
	}
}
