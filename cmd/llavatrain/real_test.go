package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/cmd/llavatrain/program"
	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/train/input"
)

const realRecipe = `
name: real
dtype: fp32
model:
  vision: {weights: %[1]s/dinov2-small-clip-112, select_layer: -2}
  projector: {type: mlp2x_gelu}
  language: {weights: %[1]s/smollm2-135m, max_length: 512}
pretrain:
  data: [{path: %[2]s/pretrain.json, images: %[2]s/images}]
  template: plain
  train: {projector: {lr: 1e-3}}
  batch: {global: 8, micro: 4}
  steps: 20
  save: {every: 10, keep: 9}
finetune:
  data: [{path: %[2]s/instruct.json, images: %[2]s/images}]
  template: smollm2
  image: pad
  train: {projector: {lr: 2e-5}, language: {lr: 2e-5}}
  batch: {global: 8, micro: 4}
  steps: 20
  save: {every: 10, keep: 9}
`

// TestRealModels trains both stages on real weights and photos, and compares with transformers: the losses of the first
// two steps, while the warm-up has left the weights as they were, and the exported model. Later losses of stage 1 are
// chaotic. A run that is stopped and resumed ends in the bytes of one that is not. `make real-check` calls it.
func TestRealModels(t *testing.T) {
	real, python := os.Getenv("LLAVATRAIN_REAL"), os.Getenv("REFERENCE_PYTHON")
	if real == "" || python == "" {
		t.Skip("LLAVATRAIN_REAL or REFERENCE_PYTHON is not set: see scripts/real-check.sh")
	}
	dir := t.TempDir()
	recipe := filepath.Join(dir, "real.yaml")
	write(t, recipe, fmt.Sprintf(realRecipe, real, shared(t, "coco-mini")))
	script := func(name string, args ...string) {
		t.Helper()
		args = append([]string{filepath.Join("..", "..", "scripts", "reference", name)}, args...)
		out, err := exec.Command(python, args...).CombinedOutput()
		if t.Logf("%s", out); err != nil {
			t.Error(err)
		}
	}
	whole, parts := filepath.Join(dir, "whole"), filepath.Join(dir, "parts")
	for _, stage := range recipes.StageNames {
		command(t, 0, stage, recipe, "--runs", whole)
		command(t, 0, stage, recipe, "--runs", parts, "--stop-at", "1")
		run := filepath.Join(parts, "real", stage)
		first, record := filepath.Join(dir, stage+"-first"), filepath.Join(dir, stage+"-steps.safetensors")
		command(t, 0, "export", filepath.Join(run, "checkpoints", "step-000001"), "--format", "hf", "--dtype", "fp32",
			"--out", first)
		command(t, 0, stage, recipe, "--runs", parts, "--resume", "--stop-at", "13")
		command(t, 0, stage, recipe, "--runs", parts, "--resume")
		recordSteps(t, run, stage, first, record)
		script("steps.py", first, record)
		for _, file := range []string{"mm_projector.safetensors", "model.safetensors"} {
			unbroken := filepath.Join(whole, "real", stage, "export", file)
			if !checkpoints.Exists(unbroken) {
				continue
			}
			if !bytes.Equal(read(t, unbroken), read(t, filepath.Join(run, "export", file))) {
				t.Errorf("%s: %s differs after two stops", stage, file)
			}
		}
	}
	folder, record := filepath.Join(dir, "hf"), filepath.Join(dir, "record.safetensors")
	command(t, 0, "export", filepath.Join(parts, "real"), "--format", "hf", "--dtype", "fp32", "--out", folder)
	recordAnswers(t, folder, record)
	script("exported.py", "--train", folder, record)
}

// TestRealTower compares the features that DINOv2-small, as it is published, has for two photos with transformers'. Its
// position embeddings are for 518 pixels a side, its image processor makes 224.
func TestRealTower(t *testing.T) {
	real, python := os.Getenv("LLAVATRAIN_REAL"), os.Getenv("REFERENCE_PYTHON")
	if real == "" || python == "" {
		t.Skip("LLAVATRAIN_REAL or REFERENCE_PYTHON is not set: see scripts/real-check.sh")
	}
	r := recipes.Model{
		Vision: recipes.Vision{Weights: filepath.Join(real, "dinov2-small"), SelectLayer: -2,
			SelectFeature: "cls_patch"},
		Projector: recipes.Projector{Type: "linear"},
		Language: recipes.Language{Weights: filepath.Join(real, "smollm2-135m"), MaxLength: 512,
			Tokenizer: recipes.Tokenizer{Legacy: "auto"}},
	}
	record := filepath.Join(t.TempDir(), "record.safetensors")
	recordFeatures(t, r, record)
	script := filepath.Join("..", "..", "scripts", "reference", "tower.py")
	out, err := exec.Command(python, script, r.Vision.Weights, record).CombinedOutput()
	if t.Logf("%s", out); err != nil {
		t.Error(err)
	}
}

// recordFeatures writes two photos, as decoded and as prepared, and the tower's features of them, for tower.py.
func recordFeatures(t *testing.T, r recipes.Model, path string) {
	t.Helper()
	preprocessor, err := input.OpenPreprocessor(r)
	if err != nil {
		t.Fatal(err)
	}
	table := preprocessor.Normalization()
	m, err := model.Open(r, model.OpenOptions{Device: torch.CPU, Dtype: torch.Float32, Normalization: table})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Free()
	var tensors []checkpoints.Tensor
	for k, question := range recordedAnswers(t)[:2] {
		photo, err := decodedPhoto(shared(t, "coco-mini", "images"), question.Image)
		if err != nil {
			t.Fatal(err)
		}
		levels := preprocessor.Processors[0].Prepare(&picture.RGB{W: int(photo.Shape[1]), H: int(photo.Shape[0]),
			Pix: photo.Data}, "square")
		pixels := make([]float32, len(levels))
		for i, level := range levels {
			pixels[i] = table[i/(len(levels)/3)*256+int(level)]
		}
		var features checkpoints.Tensor
		if err := torch.Do(func(s *torch.Scope) {
			x := m.Features(s, levels, nn.DropoutKeys{}) // [1+P,Dv]
			features = checkpoints.Float32Tensor(fmt.Sprintf("%d.features", k), torch.Read[float32](x))
			features.Shape = x.Shape()
		}); err != nil {
			t.Fatal(err)
		}
		photo.Name = fmt.Sprintf("%d.photo", k)
		prepared := checkpoints.Float32Tensor(fmt.Sprintf("%d.pixels", k), pixels)
		prepared.Shape = squareOf(len(pixels))
		tensors = append(tensors, photo, prepared, features)
	}
	if err := checkpoints.WriteSafetensors(path, nil, tensors); err != nil {
		t.Fatal(err)
	}
}

// recordSteps writes the samples of a run's first two steps, and their losses, for steps.py.
func recordSteps(t *testing.T, run, stage, folder, path string) {
	t.Helper()
	r, err := recipes.Load(filepath.Join(run, runs.RecipeFile), nil)
	if err != nil {
		t.Fatal(err)
	}
	section, err := r.Stage(stage)
	if err != nil {
		t.Fatal(err)
	}
	preprocessor, err := input.OpenPreprocessor(r.Model)
	if err != nil {
		t.Fatal(err)
	}
	terminal := program.NewTerminal(os.Stderr)
	d, err := input.OpenRows(r, section, preprocessor, terminal)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	ledger, err := runs.OpenLedger(run)
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Image int64 `json:"image_token_index"`
	}
	if err := json.Unmarshal(read(t, filepath.Join(folder, "config.json")), &config); err != nil {
		t.Fatal(err)
	}
	var tensors []checkpoints.Tensor
	losses, table := map[string]string{}, preprocessor.Normalization()
	for _, m := range readMetrics(t, run)[:2] {
		losses[fmt.Sprintf("loss.%d", m.Step)] = strconv.FormatFloat(float64(m.Loss), 'g', -1, 64)
		step, err := ledger.Step(m.Step, terminal)
		if err != nil {
			t.Fatal(err)
		}
		for k, row := range step.Rows {
			sample, err := d.Prepare(t.Context(), row.Data, row.Row)
			if err != nil {
				t.Fatal(err)
			}
			tensors = append(tensors, sampleTensors(fmt.Sprintf("%d.%d.", m.Step, k), sample, config.Image, table)...)
		}
	}
	if err := checkpoints.WriteSafetensors(path, losses, tensors); err != nil {
		t.Fatal(err)
	}
}

// sampleTensors are a sample's ids and labels, and the normalised pixels of its image.
func sampleTensors(prefix string, s data.Sample, image int64, table []float32) (list []checkpoints.Tensor) {
	ids, labels := make([]int64, len(s.IDs)), make([]int64, len(s.IDs))
	for i, id := range s.IDs {
		if ids[i], labels[i] = int64(id), int64(s.Labels[i]); id == data.ImageToken {
			ids[i] = image
		}
	}
	list = append(list, integers(prefix+"input_ids", ids), integers(prefix+"labels", labels))
	for _, picture := range s.Images {
		pixels := make([]float32, len(picture.Pixels))
		for i, level := range picture.Pixels {
			pixels[i] = table[i/(len(pixels)/3)*256+int(level)]
		}
		tensor := checkpoints.Float32Tensor(prefix+"pixels", pixels)
		tensor.Shape = squareOf(len(pixels))
		list = append(list, tensor)
	}
	return list
}
