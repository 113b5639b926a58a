package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/cmd/llavatrain/program"
	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/train/answer"
	"github.com/llavatrain/llavatrain/train/input"
)

// TestExportIsReadByTransformers exports the parity set's model, and one of each family, and loads them with
// transformers: same logits, same greedy answer, same ids and pixels from its processor. It needs REFERENCE_PYTHON, a
// Python with scripts/reference/requirements.txt.
func TestExportIsReadByTransformers(t *testing.T) {
	python := os.Getenv("REFERENCE_PYTHON")
	if python == "" {
		t.Skip("REFERENCE_PYTHON is not set: see scripts/reference/exported.py")
	}
	args := []string{filepath.Join("..", "..", "scripts", "reference", "exported.py")}
	export := func(source string) {
		t.Helper()
		folder, record := filepath.Join(t.TempDir(), "hf"), filepath.Join(t.TempDir(), "record.safetensors")
		command(t, 0, "export", source, "--format", "hf", "--shards", "3MB", "--out", folder)
		recordAnswers(t, folder, record)
		args = append(args, folder, record)
	}
	source := linked(t, shared(t, "parity", "llava-original"))
	edit(t, filepath.Join(source, "config.json"), map[string]any{"mm_vision_tower": shared(t, "parity", "clip")})
	for _, legacy := range []bool{false, true} {
		edit(t, filepath.Join(source, "tokenizer_config.json"), map[string]any{"legacy": legacy})
		export(source)
	}
	for _, f := range families {
		export(f.folder(t))
	}
	out, err := exec.Command(python, args...).CombinedOutput()
	if t.Logf("%s", out); err != nil {
		t.Error(err)
	}
}

// TestTrainedRunsAreReadByTransformers trains runs and loads their exports: whatever a run does to a configuration, a
// processor or a generation configuration ends there. One more training step in transformers must run, and its save.
func TestTrainedRunsAreReadByTransformers(t *testing.T) {
	python := os.Getenv("REFERENCE_PYTHON")
	if python == "" {
		t.Skip("REFERENCE_PYTHON is not set: see scripts/reference/exported.py")
	}
	args := []string{filepath.Join("..", "..", "scripts", "reference", "exported.py"), "--train"}
	clip := shared(t, "parity", "clip")
	siglip, err := filepath.Abs(sigLIP)
	if err != nil {
		t.Fatal(err)
	}
	dinov2 := filepath.Join(filepath.Dir(siglip), "dinov2_smaller") // positions for 20 pixels a side
	for _, run := range []struct{ name, tower, image, train, more string }{
		{"full, pad", clip, "pad", "{projector: {lr: 1e-3}, language: {lr: 1e-3}}", ""},
		{"full, square", clip, "square", "{projector: {lr: 1e-3}, language: {lr: 1e-3}}", ""},
		{"tower", clip, "pad", "{vision: {lr: 1e-3}, projector: {lr: 1e-3}, language: {lr: 1e-3}}", ""},
		{"merged", clip, "pad", "{projector: {lr: 1e-3}, language: {lr: 1e-3, lora: {r: 4, alpha: 8}}}", "merge"},
		{"SigLIP", siglip, "pad", "{projector: {lr: 1e-3}, language: {lr: 1e-3}}", ""},
		{"DINOv2", dinov2 + ", image_size: 12", "pad", "{vision: {lr: 1e-3}, projector: {lr: 1e-3}}", ""},
	} {
		dir := t.TempDir()
		recipe := filepath.Join(dir, "trained.yaml")
		write(t, recipe, fmt.Sprintf(trainedRecipe, run.tower, shared(t, "parity", "llm"),
			shared(t, "llama-tokenizer", "tokenizer.model"), shared(t, "coco-mini", "instruct.json"),
			shared(t, "coco-mini", "images"), run.image, run.train))
		command(t, 0, "finetune", recipe, "--runs", filepath.Join(dir, "runs"))
		trained := filepath.Join(dir, "runs", "trained")
		if run.more == "merge" {
			merged := filepath.Join(dir, "merged")
			command(t, 0, "merge", trained, "--out", merged)
			trained = merged
		}
		folder, record := filepath.Join(dir, "hf"), filepath.Join(dir, "record.safetensors")
		command(t, 0, "export", trained, "--format", "hf", "--dtype", "fp32", "--out", folder)
		recordAnswers(t, folder, record)
		args = append(args, folder, record)
	}
	out, err := exec.Command(python, args...).CombinedOutput()
	if t.Logf("%s", out); err != nil {
		t.Error(err)
	}
}

const trainedRecipe = `
name: trained
threads: 1
dtype: fp32
model:
  vision: {weights: %s}
  projector: {type: mlp2x_gelu}
  language: {weights: %s, tokenizer: {path: %s, legacy: false}, max_length: 512}
finetune:
  data: [{path: %s, images: %s}]
  template: vicuna_v1
  image: %s
  train: %s
  batch: {global: 2, micro: 2}
  steps: 3
`

// TestTilesAreReadByTransformers trains the models of ../../../shared/parity-connectors on and loads their exports,
// with pictures of odd sizes: smaller than a tile, very wide and very tall ones among them.
func TestTilesAreReadByTransformers(t *testing.T) {
	python := os.Getenv("REFERENCE_PYTHON")
	if python == "" {
		t.Skip("REFERENCE_PYTHON is not set: see scripts/reference/exported.py")
	}
	args := []string{filepath.Join("..", "..", "scripts", "reference", "exported.py"), "--train"}
	var questions []asked
	for _, image := range oddPictures(t) {
		questions = append(questions, asked{image, "What is this?"})
	}
	add := func(model string) {
		dir := t.TempDir()
		folder, values := filepath.Join(dir, "hf"), filepath.Join(dir, "record.safetensors")
		command(t, 0, "export", model, "--format", "hf", "--dtype", "fp32", "--template", "qwen_2", "--out", folder)
		record(t, folder, values, questions)
		args = append(args, folder, values)
	}
	for _, m := range tiledModels {
		add(shared(t, "parity-connectors", m.name))
		for _, train := range []string{
			"{projector: {lr: 1e-3}, language: {lr: 1e-3}}",
			"{vision: {lr: 1e-3}, projector: {lr: 1e-3}, language: {lr: 1e-3}}",
		} {
			dir := t.TempDir()
			rows := shared(t, "parity-connectors", "rows.json")
			write(t, filepath.Join(dir, "trained.yaml"), m.recipe(t, rows, train, 2, 3))
			command(t, 0, "finetune", filepath.Join(dir, "trained.yaml"))
			add(filepath.Join(dir, "runs", "trained"))
		}
	}
	out, err := exec.Command(python, args...).CombinedOutput()
	if t.Logf("%s", out); err != nil {
		t.Error(err)
	}
}

// oddPictures are crops of a photo in twelve sizes.
func oddPictures(t *testing.T) (paths []string) {
	photo, err := decodedPhoto(shared(t, "coco-mini", "images"), recordedAnswers(t)[0].Image)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for i, size := range [][2]int{{131, 57}, {57, 131}, {44, 31}, {40, 40}, {48, 48}, {200, 33}, {37, 150}, {97, 49},
		{150, 5}, {3, 160}, {1, 1}, {289, 288}} {
		width, height := size[0], size[1]
		crop := image.NewNRGBA(image.Rect(0, 0, width, height))
		for y := range height {
			for x := range width {
				at := (y*int(photo.Shape[1]) + x) * 3
				crop.SetNRGBA(x, y, color.NRGBA{photo.Data[at], photo.Data[at+1], photo.Data[at+2], 255})
			}
		}
		path := filepath.Join(dir, fmt.Sprintf("%02d-%dx%d.png", i, width, height))
		file, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(png.Encode(file, crop), file.Close()); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	return paths
}

// asked is a question about an image.
type asked struct{ image, text string }

// recordAnswers writes the values that exported.py compares with, for the questions of the parity set.
func recordAnswers(t *testing.T, folder, path string) {
	t.Helper()
	var questions []asked
	for _, p := range recordedAnswers(t) {
		question, _, _ := strings.Cut(strings.SplitN(p.Prompt, "<image>\n", 2)[1], " ASSISTANT:")
		questions = append(questions, asked{shared(t, "coco-mini", "images", p.Image), question})
	}
	record(t, folder, path, questions)
}

// record writes the values that exported.py compares with.
func record(t *testing.T, folder, path string, questions []asked) {
	t.Helper()
	a, err := answer.OpenAnswerer(answer.Named{Path: folder}, program.NewTerminal(os.Stderr))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	table := a.Normalization()
	m, err := model.Open(a.Model, model.OpenOptions{Device: torch.CPU, Dtype: torch.Float32, Normalization: table})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Free()
	var config struct {
		Image int64 `json:"image_token_index"`
	}
	if err := json.Unmarshal(read(t, filepath.Join(folder, "config.json")), &config); err != nil {
		t.Fatal(err)
	}
	var tensors []checkpoints.Tensor
	texts := map[string]string{}
	for k, q := range questions {
		key := func(name string) string { return strconv.Itoa(k) + "." + name }
		picture, err := a.OpenPicture(q.image, false)
		if err != nil {
			t.Fatal(err)
		}
		batch, err := a.Batch("", q.text, picture)
		if err != nil {
			t.Fatal(err)
		}
		in := input.Input(batch)
		ids := append([]int64(nil), in.IDs...)
		for _, slot := range append(in.Slots, in.Newlines...) {
			ids[slot] = config.Image
		}
		tile := len(picture.Pixels) / len(batch.Tiles)
		pixels := make([]float32, len(picture.Pixels))
		for i, level := range picture.Pixels {
			pixels[i] = table[i%tile/(tile/3)*256+int(level)]
		}
		var logits []float32
		in.Wanted = []int64{int64(len(ids) - 1)}
		if err := torch.Do(func(s *torch.Scope) {
			logits = torch.Read[float32](m.Logits(s,
				m.Forward(s, in).Hidden))
		}); err != nil {
			t.Fatal(err)
		}
		in.Wanted = nil
		var tokens []int64
		if err := m.Generate(in, model.Sampling{MaxTokens: 8},
			func(id int32) bool { tokens = append(tokens, int64(id)); return true }); err != nil {
			t.Fatal(err)
		}
		shaped := checkpoints.Float32Tensor(key("pixels"), pixels)
		shaped.Shape = squareOf(tile)
		if a.Notes.Aspect == recipes.AnyResolution {
			shaped.Shape = append([]int64{int64(len(batch.Tiles))}, shaped.Shape...)
		}
		levels := checkpoints.Tensor{Info: checkpoints.Info{Name: key("levels"), Dtype: checkpoints.U8,
			Shape: shaped.Shape}, Data: picture.Pixels}
		photo, err := decodedPhoto(filepath.Dir(q.image), filepath.Base(q.image))
		if err != nil {
			t.Fatal(err)
		}
		photo.Name = key("photo")
		tensors = append(tensors, photo, levels, integers(key("input_ids"), ids), integers(key("tokens"), tokens),
			shaped, checkpoints.Float32Tensor(key("logits"), logits))
		texts[key("question")] = q.text
	}
	if err := checkpoints.WriteSafetensors(path, texts, tensors); err != nil {
		t.Fatal(err)
	}
}

// decodedPhoto is an image as Pillow decodes it, [H,W,3].
func decodedPhoto(folder, name string) (t checkpoints.Tensor, err error) {
	images, err := picture.OpenImages(folder, picture.Options{})
	if err != nil {
		return t, err
	}
	defer images.Close()
	rgb, err := images.Read(name)
	if err != nil {
		return t, err
	}
	t.Info = checkpoints.Info{Dtype: checkpoints.U8, Shape: []int64{int64(rgb.H), int64(rgb.W), 3}}
	t.Data = rgb.Pix
	return t, nil
}

// squareOf is the shape of n values of a square image, [3,S,S].
func squareOf(n int) []int64 {
	side := int64(math.Sqrt(float64(n / 3)))
	return []int64{3, side, side}
}

func integers(name string, values []int64) checkpoints.Tensor {
	var data []byte
	for _, x := range values {
		data = binary.LittleEndian.AppendUint64(data, uint64(x))
	}
	info := checkpoints.Info{Name: name, Dtype: checkpoints.I64, Shape: []int64{int64(len(values))}}
	return checkpoints.Tensor{Info: info, Data: data}
}
