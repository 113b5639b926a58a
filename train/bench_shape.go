package train

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/train/device"
)

// benchShapes have the tower's width, layers, heads, MLP width, image size and patch size, and the language model's
// width, layers, heads, MLP width and vocabulary.
var benchShapes = map[string]struct{ vision, language [6]int64 }{
	"tiny":  {[6]int64{64, 4, 4, 256, 56, 14}, [6]int64{128, 4, 4, 352, 1000}},
	"small": {[6]int64{384, 12, 6, 1536, 224, 16}, [6]int64{512, 8, 8, 1408, 32000}},
	"0.5b":  {[6]int64{1024, 24, 16, 4096, 336, 14}, [6]int64{896, 24, 14, 4864, 32000}},
	"7b":    {[6]int64{1024, 24, 16, 4096, 336, 14}, [6]int64{4096, 32, 32, 11008, 32000}},
	"13b":   {[6]int64{1024, 24, 16, 4096, 336, 14}, [6]int64{5120, 40, 40, 13824, 32000}},
}

// open builds the shape's model with random weights and its optimizer.
func (b Bench) open() (*trainer, error) { return b.openParts(b.parts()) }

func (b Bench) parts() map[string]recipes.Part {
	parts := map[string]recipes.Part{recipes.PartProjector: {LR: 1e-4}}
	if b.Stage == 2 {
		parts[recipes.PartLanguage] = recipes.Part{LR: 1e-4}
	}
	return parts
}

func (b Bench) openParts(parts map[string]recipes.Part) (*trainer, error) {
	dir, err := os.MkdirTemp("", "llavatrain-bench-")
	if err != nil {
		return nil, failure.Storage(err)
	}
	defer os.RemoveAll(dir)
	r, stage, err := b.recipe(dir, parts)
	if err != nil {
		return nil, err
	}
	return b.build(r, stage)
}

// recipe describes the shape with random weights. It writes the models' configurations into dir.
func (b Bench) recipe(dir string, parts map[string]recipes.Part) (*recipes.Recipe, *recipes.Stage, error) {
	shape, err := failure.LookUp("--shape", b.Shape, benchShapes)
	if err != nil {
		return nil, nil, err
	}
	v, l := shape.vision, shape.language
	tower := map[string]any{"model_type": "clip_vision_model", "hidden_size": v[0], "num_hidden_layers": v[1],
		"num_attention_heads": v[2], "intermediate_size": v[3], "image_size": v[4], "patch_size": v[5]}
	language := map[string]any{"model_type": "llama", "hidden_size": l[0], "num_hidden_layers": l[1],
		"num_attention_heads": l[2], "intermediate_size": l[3], "vocab_size": l[4], "max_position_embeddings": 4096}
	err = cmp.Or(
		writeJSON(filepath.Join(dir, "tower.json"), tower),
		writeJSON(filepath.Join(dir, "language.json"), language))
	if err != nil {
		return nil, nil, err
	}
	stage := &recipes.Stage{
		Train: parts, Batch: recipes.Batch{Global: b.Batch * b.accum(), Micro: recipes.Micro(b.Batch)},
		Loss: "token_mean", Recompute: "auto", Schedule: recipes.Schedule{Type: "constant"},
		Optimizer: recipes.Optimizer{Betas: [2]float64{0.9, 0.999}, Eps: 1e-8, Moments: "auto"},
	}
	projector, err := recipes.ParseProjector(cmp.Or(b.Projector, "mlp2x_gelu"), nil)
	if err != nil {
		return nil, nil, fmt.Errorf("--projector: %w", err)
	}
	r := &recipes.Recipe{Device: b.Device, Dtype: b.Dtype, Threads: b.Threads, Seed: 1, Model: recipes.Model{
		Vision:    recipes.Vision{Config: filepath.Join(dir, "tower.json"), SelectLayer: -2, SelectFeature: "patch"},
		Projector: projector,
		Language:  recipes.Language{Config: filepath.Join(dir, "language.json"), MaxLength: 2048},
	}}
	if b.Tiles {
		r.Model.Tiles = &recipes.Tiles{Merge: recipes.MergeSpatialUnpad, Several: "pad"}
	}
	return r, stage, nil
}

func (b Bench) build(r *recipes.Recipe, stage *recipes.Stage) (*trainer, error) {
	t := &trainer{recipe: r, report: runs.Silent{}, peers: noPeers()}
	if b.Report != nil {
		t.report = b.Report
	}
	var err error
	if t.plan, err = newPlan(r, stage, b.Warmup+b.Steps, checkpoints.State{}, t.peers.Place); err != nil {
		return nil, err
	}
	t.startEngine()
	if err := b.fits(t.plan, r.Model); err != nil {
		return nil, err
	}
	if err := t.openModel(model.OpenOptions{Normalization: make([]float32, 3*256)}); err != nil {
		return nil, err
	}
	t.optimizer, err = newOptimizer(stage.Optimizer, t.model.Params, t.plan.moments, r.Seed)
	return t, err
}

// fits refuses a shape that does not fit into the device's memory, before any weight is made.
func (b Bench) fits(p *plan, m recipes.Model) error {
	rehearsed, err := model.Rehearse(m, model.OpenOptions{Trains: p.trains, LoRA: p.lora})
	if err != nil {
		return err
	}
	defer rehearsed.Free()
	size, room := sizeOf(rehearsed), int64(share*float64(device.Memory(p.device)))
	p.fitMemory(size, size.tower.Tokens+benchTurns, device.Memory(p.device))
	need := func(samples int) int64 {
		n := int64(samples)
		return totalOf(size.memory(p.setting(),
			load{n * (size.tower.Tokens + benchTurns), n * benchTurns / 2, n, n * benchTurns}))
	}
	fitting := b.Batch
	for fitting > 0 && need(fitting) > room {
		fitting /= 2
	}
	if fitting == b.Batch {
		return nil
	}
	nearest := fmt.Sprintf("--batch %d fits (%s)", fitting, checkpoints.Megabytes(need(fitting)))
	if fitting == 0 {
		nearest = fmt.Sprintf("not even --batch 1 fits (%s)", checkpoints.Megabytes(need(1)))
	}
	return failure.Inputf("shape %s, stage %d, batch %d needs an estimated %s for tensors, but %s has room for %s; %s",
		b.Shape, b.Stage, b.Batch, checkpoints.Megabytes(need(b.Batch)), p.device, checkpoints.Megabytes(room), nearest)
}

const benchTurns = 128 // positions of text in one row, for the estimate

func writeJSON(path string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o666)
}
