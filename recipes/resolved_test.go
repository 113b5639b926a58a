package recipes

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

var ignorePath = cmpopts.IgnoreFields(Recipe{}, "Path")

// TestResolvedLoadsAgain: a resolved recipe loads as the same recipe, in any folder.
func TestResolvedLoadsAgain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := anyRecipe.Draw(t, "recipe")
		text, err := want.Resolved()
		if err != nil {
			t.Fatal(err)
		}
		got, err := load("/elsewhere/other.yaml", text, nil)
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		if diff := cmp.Diff(want, got, ignorePath, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("after (-want +got):\n%s\n%s", diff, text)
		}
	})
}

// Generators of everything that Load can return.
var (
	anyText = rapid.OneOf(
		rapid.StringOfN(rapid.Rune(), 1, 12, -1),
		rapid.StringOfN(rapid.RuneFrom([]rune("aB0 :#-{}[]&*!|>'\"%@`,?=~.\\\u00a0\u2028\ufeff✓")), 1, 12, -1),
		rapid.SampledFrom([]string{"yes", "null", "~", "true", "1.5", "0x10", "1e3",
			"2024-01-01", "<<", "---", "- a", ".inf", " a ", "=", "0o7"}),
	).Filter(oneLine)
	anyName   = anyText.Filter(folderName)
	anyPath   = rapid.Map(anyText, func(s string) string { return filepath.Clean("/" + s) })
	anyRegexp = rapid.Map(anyText, func(s string) string { return `\Q` + s })
	positive  = rapid.Float64Range(1e-300, 1e300)
	count     = rapid.IntRange(1, 1<<60)

	anyWeights = rapid.OneOf(anyPath,
		rapid.StringMatching(`[A-Za-z0-9][A-Za-z0-9._-]{0,9}/[A-Za-z0-9][A-Za-z0-9._-]{0,9}`))

	anyPart = rapid.OneOf(
		rapid.Custom(func(t *rapid.T) Part {
			return Part{LR: positive.Draw(t, "lr"), Only: optional(anyRegexp).Draw(t, "only"),
				Except: optional(anyRegexp).Draw(t, "except")}
		}),
		rapid.Custom(func(t *rapid.T) Part { return Part{LR: positive.Draw(t, "lr"), LoRA: anyLoRA.Draw(t, "lora")} }),
	)
	anyLoRA = rapid.Custom(func(t *rapid.T) *LoRA {
		return &LoRA{R: count.Draw(t, "r"), Alpha: positive.Draw(t, "alpha"), Dropout: beta.Draw(t, "dropout"),
			Targets: anyRegexp.Draw(t, "targets")}
	})
	anyData = rapid.Custom(func(t *rapid.T) Data {
		if rapid.Bool().Draw(t, "in shards") {
			return Data{Shards: anyPath.Draw(t, "shards"), Images: anyPath.Draw(t, "images"),
				Weight: positive.Draw(t, "weight")}
		}
		return Data{Path: anyPath.Draw(t, "path"), Images: anyPath.Draw(t, "images"),
			Weight: positive.Draw(t, "weight")}
	})
	anyStage = rapid.Custom(func(t *rapid.T) *Stage {
		s := &Stage{
			Data:     rapid.SliceOfN(anyData, 1, 3).Draw(t, "data"),
			Template: anyText.Draw(t, "template"), Image: either("square", "pad").Draw(t, "image"),
			Turn:     either("ignore", "exif").Draw(t, "turn"),
			Order:    either("sequential", "shuffled", "grouped").Draw(t, "order"),
			Train:    rapid.MapOfN(rapid.SampledFrom(partNames), anyPart, 1, 3).Draw(t, "train"),
			Batch:    Batch{Global: count.Draw(t, "global")},
			Schedule: Schedule{either("cosine", "linear", "constant").Draw(t, "schedule"), anyWarmup.Draw(t, "warmup")},
			Optimizer: Optimizer{
				Betas: [2]float64{beta.Draw(t, "beta1"), beta.Draw(t, "beta2")}, Eps: positive.Draw(t, "eps"),
				WeightDecay: rapid.Float64Range(0, 1e300).Draw(t, "decay"),
				Clip:        rapid.Float64Range(0, 1e300).Draw(t, "clip"),
				Moments:     either("auto", "fp32", "bf16").Draw(t, "moments"),
			},
			Loss: either("token_mean", "micro_mean").Draw(t, "loss"),
			Save: Save{count.Draw(t, "every"), count.Draw(t, "keep")},
			BadSamples: rapid.SampledFrom([]BadSamples{{Policy: "skip"}, {Policy: "fail"}, {"skip", "355"},
				{"skip", "0.5%"}}).Draw(t, "bad"),
			Recompute: either("auto", "none", "selective", "layers").Draw(t, "recompute"),
		}
		if rapid.Bool().Draw(t, "evaluates") {
			rows, benchmark := rapid.SliceOfN(anyData, 1, 3), rapid.SliceOfN(anyBenchmark, 1, 1)
			s.Eval = &Eval{Every: count.Draw(t, "every")}
			samples := rapid.IntMin(0).Draw(t, "samples")
			one(t, "evaluation", func() { s.Eval.Data, s.Eval.Samples = rows.Draw(t, "held out"), samples },
				func() { s.Eval.Benchmarks = benchmark.Draw(t, "benchmarks") },
				func() { s.Eval.Data, s.Eval.Benchmarks = rows.Draw(t, "held out"), benchmark.Draw(t, "benchmarks") })
		}
		one(t, "length", func() { s.Epochs = positive.Draw(t, "epochs") }, func() { s.Steps = count.Draw(t, "steps") })
		one(t, "micro-batch", func() { s.Batch.Micro = Auto }, func() { s.Batch.Micro = Micro(count.Draw(t, "micro")) },
			func() { s.Batch.Tokens = count.Draw(t, "tokens") })
		return s
	})
	anyBenchmark = rapid.Custom(func(t *rapid.T) Benchmark {
		return Benchmark{Name: anyText.Draw(t, "name"), Data: anyWeights.Draw(t, "data"),
			Rule: optional(anyText).Draw(t, "rule"), Questions: count.Draw(t, "questions"),
			Every: count.Draw(t, "every")}
	})
	beta      = rapid.Float64Range(0, 0.99999999)
	anyWarmup = rapid.OneOf(rapid.Float64Range(0, 0.999), rapid.Map(count, func(n int) float64 { return float64(n) }))

	anyRecipe = rapid.Custom(func(t *rapid.T) *Recipe {
		r := &Recipe{
			Name: anyName.Draw(t, "name"), Runs: anyPath.Draw(t, "runs"),
			Device:  either("auto", "cpu", "cuda").Draw(t, "device"),
			Dtype:   either("auto", "fp32", "bf16").Draw(t, "dtype"),
			Threads: rapid.IntMin(0).Draw(t, "threads"), Workers: rapid.IntMin(0).Draw(t, "workers"),
			Seed: rapid.Uint64().Draw(t, "seed"),
			Model: Model{
				Vision: Vision{SelectLayer: rapid.Int().Draw(t, "layer"),
					SelectFeature: either("patch", "cls_patch").Draw(t, "feature"),
					ImageSize:     rapid.IntRange(0, 4096).Draw(t, "size")},
				Projector: Projector{Type: anyText.Draw(t, "type"), Weights: optional(anyPath).Draw(t, "projector")},
				Language: Language{
					Tokenizer: Tokenizer{Path: optional(anyPath).Draw(t, "tokenizer"),
						Legacy: either("auto", "true", "false").Draw(t, "legacy"),
						Add:    rapid.SampledFrom([][]string{nil, {"<box>", "</box>"}}).Draw(t, "add")},
					MaxLength: count.Draw(t, "length"),
				},
			},
		}
		v, l := &r.Model.Vision, &r.Model.Language
		one(t, "vision", func() { v.Weights = anyWeights.Draw(t, "weights") },
			func() { v.Config = anyPath.Draw(t, "config") })
		one(t, "language", func() { l.Weights = anyWeights.Draw(t, "weights") },
			func() { l.Config = anyPath.Draw(t, "config") })
		one(t, "stages", func() { r.Pretrain = anyStage.Draw(t, "pretrain") },
			func() { r.Finetune = anyStage.Draw(t, "finetune") },
			func() { r.Pretrain, r.Finetune = anyStage.Draw(t, "pretrain"), anyStage.Draw(t, "finetune") })
		for _, s := range r.sections() {
			if s.stage.Train[PartLanguage].LoRA != nil { // beside which there can be no new tokens
				l.Tokenizer.Add = nil
			}
		}
		return r
	})
)

func either(values ...string) *rapid.Generator[string] { return rapid.SampledFrom(values) }

func optional(g *rapid.Generator[string]) *rapid.Generator[string] {
	return rapid.OneOf(rapid.Just(""), g)
}

// one runs one of the alternatives.
func one(t *rapid.T, name string, alternatives ...func()) {
	rapid.SampledFrom(alternatives).Draw(t, name)()
}

// TestResolvedIsComplete: no key is left to a default that a later version might change.
func TestResolvedIsComplete(t *testing.T) {
	path := write(t, minimal)
	text, err := mustLoad(t, path).Resolved()
	if err != nil {
		t.Fatal(err)
	}
	want := strings.ReplaceAll(`name: recipe
runs: DIR/runs
device: auto
dtype: auto
threads: 0
workers: 0
seed: 42
model:
  vision:
    weights: DIR/tower
    select_layer: -2
    select_feature: patch
  projector:
    type: mlp2x_gelu
  language:
    weights: lmsys/vicuna-7b-v1.5
    tokenizer:
      legacy: auto
    max_length: 2048
pretrain:
  data:
    - path: DIR/train.json
      images: DIR
      weight: 1
  template: plain
  image: square
  orientation: ignore
  order: shuffled
  train:
    projector:
      lr: 0.001
  batch:
    global: 64
    micro: auto
  epochs: 1
  schedule:
    type: cosine
    warmup: 0.03
  optimizer:
    betas: [0.9, 0.999]
    eps: 1e-08
    weight_decay: 0
    clip: 1
    moments: auto
  loss: token_mean
  save:
    every: 500
    keep: 2
  bad_samples: skip
  recompute: auto
`, "DIR", filepath.Dir(path))
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("resolved (-want +got):\n%s", diff)
	}
}

// TestDigest: exactly the keys that change a stage's numbers change its digest.
func TestDigest(t *testing.T) {
	const finetune = `finetune:
  data: [{path: b.json}]
  template: v1
  train: {language: {lr: 1}}
  batch: {global: 8}
`
	path := write(t, minimal+finetune)
	base := mustLoad(t, path).Digest("pretrain")
	for _, c := range []struct {
		set     string
		changed []string
	}{
		{"seed=1", []string{"seed"}},
		{"dtype=fp32", []string{"dtype"}},
		{"model.vision.select_layer=-1", []string{"model.vision.select_layer"}},
		{"model.vision.image_size=336", []string{"model.vision.image_size"}},
		{"model.language.tokenizer.legacy=true", []string{"model.language.tokenizer.legacy"}},
		{"pretrain.data=[{path: a, weight: 2}, {path: b}]",
			[]string{"pretrain.data.0.weight", "pretrain.data.1.weight"}},
		{"pretrain.train.projector.lr=1", []string{"pretrain.train.projector.lr"}},
		{"pretrain.train.projector.only=a", []string{"pretrain.train.projector.only"}},
		{"pretrain.train.projector.lora={r: 8, alpha: 16}", []string{
			"pretrain.train.projector.lora.alpha", "pretrain.train.projector.lora.dropout",
			"pretrain.train.projector.lora.r",
			"pretrain.train.projector.lora.targets",
		}},
		{"pretrain.optimizer.betas=[0.9, 0.99]", []string{"pretrain.optimizer.betas.1"}},
		{"pretrain.batch.micro=4", []string{"pretrain.batch.micro"}},
		{"pretrain.steps=4", []string{"pretrain.epochs", "pretrain.steps"}},
		{"pretrain.orientation=exif", []string{"pretrain.orientation"}},
		{"pretrain.orientation=ignore", nil},
		{"pretrain.max_pixels=51000000", []string{"pretrain.max_pixels"}},
		{"pretrain.max_pixels=50000000", nil},
		{"pretrain.bad_samples=fail", []string{"pretrain.bad_samples"}},
		{"name=other", nil},
		{"runs=other", nil},
		{"threads=9", nil},
		{"workers=9", nil},
		{"device=cpu", nil},
		{"pretrain.save.every=1", nil},
		{"pretrain.save.keep=1", nil},
		{"pretrain.eval={data: [{path: held.json}], every: 5}", nil},
		{"pretrain.eval={data: [{path: held.json}], samples: 5}", nil},
		{"pretrain.eval={benchmarks: [{name: pope, data: eval/pope, questions: 5, every: 7}]}", nil},
		{"pretrain.data.0.path=other", nil},
		{"pretrain.data.0.images=other", nil},
		{"pretrain.data=[{shards: other}]", nil},
		{"model.vision.weights=other", nil},
		{"model.projector.weights=other", nil},
		{"model.language.config=other", nil},
		{"model.language.tokenizer.path=other", nil},
		{"finetune.batch.global=9", nil},
	} {
		got := mustLoad(t, path, c.set).Digest("pretrain")
		var changed []string
		for key := range both(base, got) {
			if base[key] != got[key] {
				changed = append(changed, key)
			}
		}
		slices.Sort(changed)
		if diff := cmp.Diff(c.changed, changed); diff != "" {
			t.Errorf("--set %q changed (-want +got):\n%s", c.set, diff)
		}
	}
	if got := base["pretrain.train.projector.lr"]; got != "0.001" {
		t.Errorf("learning rate %q", got)
	}
}

func both(a, b map[string]string) map[string]string {
	union := maps.Clone(a)
	maps.Copy(union, b)
	return union
}
