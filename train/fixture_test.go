package train

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/model/torch/torchtest"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/train/device"
)

// A model of 3 tower layers up to the selected one and 3 language layers, random from the recipe's seed: 16 positions
// an image.
const (
	tinyTower = `{"model_type": "clip_vision_model", "hidden_size": 32, "num_hidden_layers": 4,
		"num_attention_heads": 4, "intermediate_size": 64, "image_size": 56, "patch_size": 14}`
	tinySecondTower = `{"model_type": "dinov2", "hidden_size": 96, "num_hidden_layers": 4,
		"num_attention_heads": 3, "mlp_ratio": 3, "image_size": 21, "patch_size": 7}`
	tinyLanguage = `{"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 3,
		"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 96,
		"vocab_size": 200, "max_position_embeddings": 512}`
	tinyRecipe = `
name: tiny
device: cpu
dtype: fp32
threads: 1
seed: 7
model:
  vision: {config: tower.json}
  language: {config: language.json, tokenizer: {path: none}, max_length: 256}
finetune:
  data: [{path: none.json, images: .}]
`
)

// openTiny opens the tiny model for a stage as a run does, but without data. The stage's other keys are given as YAML,
// indented by two.
func openTiny(t *testing.T, stage string) *trainer {
	t.Helper()
	return openTinyModel(t, "", stage)
}

// openTinyModel is openTiny with further keys of model, indented by two.
func openTinyModel(t *testing.T, keys, stage string) *trainer {
	t.Helper()
	recipe := strings.Replace(tinyRecipe, "finetune:", keys+"finetune:", 1) + stage
	return openTinyRecipe(t, recipe, make([]float32, 3*256))
}

// openTinyRecipe is openTiny for another recipe with a stage finetune, and with the given normalisation.
func openTinyRecipe(t *testing.T, recipe string, normalization []float32) *trainer {
	t.Helper()
	torchtest.NoLeaks(t)
	dir := t.TempDir()
	for name, text := range map[string]string{
		"tower.json": tinyTower, "second.json": tinySecondTower, "language.json": tinyLanguage, "tiny.yaml": recipe,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	r, err := recipes.Load(filepath.Join(dir, "tiny.yaml"), nil)
	if err != nil {
		t.Fatal(err)
	}
	tr := &trainer{recipe: r, options: Options{Stage: "finetune"}, report: runs.Silent{}, peers: noPeers()}
	steps := max(1, r.Finetune.Steps)
	if tr.plan, err = newPlan(r, r.Finetune, steps, checkpoints.State{}, noPeers().Place); err != nil {
		t.Fatal(err)
	}
	tr.startEngine()
	if err := tr.openModel(model.OpenOptions{Normalization: normalization}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tr.close)
	tr.plan.fitMemory(sizeOf(tr.model), 256, device.Memory(torch.CPU))
	if tr.optimizer, err = newOptimizer(r.Finetune.Optimizer, tr.model.Params, tr.plan.moments, r.Seed); err != nil {
		t.Fatal(err)
	}
	return tr
}

// tinyStage trains both parts.
var tinyStage = trains("projector", "language")

// trains is a stage that trains the named parts at a constant rate.
func trains(parts ...string) string {
	var list []string
	for _, part := range parts {
		list = append(list, part+": {lr: 1e-3}")
	}
	return `
  template: vicuna_v1
  train: {` + strings.Join(list, ", ") + `}
  batch: {global: 8}
  steps: 10
  schedule: {type: constant}
`
}

// tinySamples are rows of random ids and pixels: three of four with an image, one to three turns.
func tinySamples(tr *trainer, seed uint64, n int) (list []data.Sample) {
	random := rand.New(rand.NewPCG(seed, 3))
	tower, vocabulary := tr.model.Tower.Describe(), int32(tr.model.Language.Describe().VocabSize)
	for i := range n {
		s := data.Sample{
			ID: fmt.Sprintf("sample-%d", i), Row: i, Place: i, IDs: []int32{1}, Labels: []int32{data.Ignore},
		}
		if random.IntN(4) > 0 {
			layout := tinyLayout(tr, random)
			pixels := make([]uint8, tower.Pixels()*int64(layout.Tiles()))
			for k := range pixels {
				pixels[k] = uint8(random.Uint32())
			}
			s.Images, s.Before = []picture.Picture{{Pixels: pixels, Layout: layout}}, []int{len(s.IDs)}
			for range layout.Positions() {
				s.IDs, s.Labels = append(s.IDs, data.ImageToken), append(s.Labels, data.Ignore)
			}
		}
		for range 1 + random.IntN(3) {
			question := 4 + random.IntN(12)
			for k := range question + 2 + random.IntN(10) {
				id, label := 3+random.Int32N(vocabulary-3), int32(data.Ignore)
				if k >= question {
					label = id
				}
				s.IDs, s.Labels = append(s.IDs, id), append(s.Labels, label)
			}
		}
		list = append(list, s)
	}
	return list
}

// tinyLayout is how an image of the tiny model lies: one tile or, if the model has tiles, those of a random size.
func tinyLayout(tr *trainer, random *rand.Rand) picture.Layout {
	shape, tiles := tr.model.ProjectorShape, tr.recipe.Model.Tiles
	if tiles == nil {
		return picture.Flat(int(shape.Tokens))
	}
	edge := int(tr.model.Tower.Describe().ImageSize)
	tiling := picture.Tiling{Edge: edge, Side: int(shape.Side), Features: int(shape.Tokens), Max: tiles.Max,
		Merge: picture.Merge(tiles.Merge), Pinpoints: []picture.Pinpoint{{Width: edge, Height: edge},
			{Width: 2 * edge, Height: edge}, {Width: 2 * edge, Height: 2 * edge}}}
	return tiling.Layout(1+random.IntN(3*edge), 1+random.IntN(3*edge))
}

// tinyStep is a step of those samples in micro-batches of the given size.
func tinyStep(t *testing.T, tr *trainer, number int, samples []data.Sample, micro int) data.Step {
	t.Helper()
	return data.Step{Number: number, Micro: collate(t, tr, data.Split(samples, micro))}
}

func collate(t *testing.T, tr *trainer, groups [][]data.Sample) (batches []data.Batch) {
	t.Helper()
	for _, group := range groups {
		b, err := data.Collate(group, func(n int) []uint8 { return make([]uint8, n) })
		if err != nil {
			t.Fatal(err)
		}
		batches = append(batches, b)
	}
	return batches
}

// takeStep takes a step on a CPU, as a run does, and returns its numbers.
func takeStep(t *testing.T, tr *trainer, step data.Step) runs.Metrics {
	t.Helper()
	finished, err := tr.trainStep(step, 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(finished) != 1 || tr.queued != nil {
		t.Fatalf("%d steps are finished after one, queued: %v", len(finished), tr.queued != nil)
	}
	return finished[0].Metrics
}

// gradients returns the gradients of one step, a list for each flat buffer, read before the update. It clears the
// buffers afterwards.
func gradients(t *testing.T, tr *trainer, groups [][]data.Sample) (all [][]float32) {
	t.Helper()
	queued, err := tr.forwardBackward(data.Step{Micro: collate(t, tr, groups)})
	if err != nil {
		t.Fatal(err)
	}
	defer queued.free()
	if err := torch.Do(func(*torch.Scope) {
		for _, g := range tr.optimizer.groups {
			all = append(all, torch.Read[float32](g.Grad))
			g.Grad.Zero()
		}
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// parameters returns the trainable weights, a list for each flat buffer.
func parameters(t *testing.T, tr *trainer) (all [][]float32) {
	t.Helper()
	if err := torch.Do(func(*torch.Scope) {
		for _, g := range tr.optimizer.groups {
			all = append(all, torch.Read[float32](g.Data))
		}
	}); err != nil {
		t.Fatal(err)
	}
	return all
}
