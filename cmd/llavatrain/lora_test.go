package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/cmd/llavatrain/program"
	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/train/answer"
)

// loraRecipe is worldRecipe with a stage 2 that trains the projector and, with dropout, adapters of the tower and the
// language model.
var loraRecipe = strings.Replace(worldRecipe, "language: {lr: 1e-3}}",
	`language: {lr: 1e-3, lora: {r: 4, alpha: 8, dropout: 0.2}}, `+
		`vision: {lr: 1e-3, lora: {r: 2, alpha: 2, dropout: 0.1, targets: '[qv]_proj'}}}`, 1)

// loraWorld is a world of loraRecipe after stage 1.
func loraWorld(t *testing.T) (recipe, runDir string) {
	t.Helper()
	dir := world(t)
	recipe = filepath.Join(dir, "lora.yaml")
	write(t, recipe, loraRecipe)
	command(t, 0, "pretrain", recipe)
	return recipe, filepath.Join(dir, "runs", "world", "finetune")
}

func TestLoRACheckpointsHoldAdapters(t *testing.T) {
	recipe, runDir := loraWorld(t)
	command(t, 0, "finetune", recipe)
	for name := range loadAll(t, filepath.Join(runDir, "checkpoints", "step-000020", "model.safetensors")) {
		if !strings.Contains(name, ".lora_") && !strings.HasPrefix(name, "model.mm_projector.") {
			t.Errorf("a checkpoint holds the frozen %s", name)
		}
	}
}

// Masks are a function of the position, so layers that are recomputed in backward drop the same values.
func TestLoRARecomputes(t *testing.T) {
	recipe, runDir := loraWorld(t)
	command(t, 0, "finetune", recipe)
	want := outcomeOf(t, runDir)
	command(t, 0, "finetune", recipe, "--overwrite", set("finetune.recompute", "layers"))
	recomputed := outcomeOf(t, runDir)
	for i := range recomputed.metrics {
		if recomputed.metrics[i] != want.metrics[i] {
			t.Fatalf("with recomputation: step %d is\n%s, was\n%s", i+1, recomputed.metrics[i], want.metrics[i])
		}
	}
}

func loadAll(t *testing.T, path string) map[string][]byte {
	t.Helper()
	w, all := openWeights(t, path), map[string][]byte{}
	for _, name := range w.Names() {
		tensor, err := w.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = bytes.Clone(tensor.Data)
	}
	return all
}

// An adapter with NaN gives logits with NaN: nothing is written.
func TestMergeWritesNoOtherModel(t *testing.T) {
	recipe, runDir := loraWorld(t)
	command(t, 0, "finetune", recipe, set("finetune.steps", 1))
	file := filepath.Join(runDir, "export", "adapter_model.safetensors")
	text := read(t, file)
	copy(text[len(text)-4:], []byte{0, 0, 0xc0, 0x7f}) // NaN
	write(t, file, string(text))
	out := filepath.Join(t.TempDir(), "merged")
	message := command(t, 2, "merge", filepath.Join(runDir, "export"), "--out", out)
	if !strings.Contains(message, "the merged model differs") {
		t.Error(message)
	}
	requireNoRun(t, out)
}

// A tower that trains in full with adapters of the language model is saved with them.
func TestLoRAKeepsWhatElseTrained(t *testing.T) {
	recipe, runDir := loraWorld(t)
	command(t, 0, "finetune", recipe, set("finetune.steps", 2), set("finetune.train.vision", "{lr: 1e-3}"))
	export := filepath.Join(runDir, "export")
	for name := range loadAll(t, filepath.Join(export, "non_lora_trainables.safetensors")) {
		if !strings.HasPrefix(name, "model.vision_tower.") {
			t.Errorf("%s was written with the adapters", name)
		}
	}
	ask := func(model string) string {
		return command(t, 0, "generate", model, "--prompt=What is this?", "--max-tokens=4", "--image="+newScene(recipe))
	}
	if a, b := ask(export), ask(filepath.Join(runDir, "checkpoints", "step-000002")); a != b {
		t.Errorf("the export answers %q, the checkpoint %q", a, b)
	}
	out := filepath.Join(t.TempDir(), "merged")
	command(t, 0, "merge", export, "--out", out)
	if a, b := ask(out), ask(export); a != b {
		t.Errorf("the merged model answers %q, the run %q", a, b)
	}
}

// TestAdapterIsReadByPEFT trains adapters of a recorded language model and loads them with PEFT. It needs
// REFERENCE_PYTHON, as TestExportIsReadByTransformers does.
func TestAdapterIsReadByPEFT(t *testing.T) {
	python := os.Getenv("REFERENCE_PYTHON")
	if python == "" {
		t.Skip("REFERENCE_PYTHON is not set: see scripts/reference/adapter.py")
	}
	dir, base := world(t), shared(t, "parity", "llm")
	recipe := filepath.Join(dir, "peft.yaml")
	text := strings.Replace(worldRecipe, "{config: base/language.json, tokenizer: {path: base}, max_length: 256}",
		fmt.Sprintf("{weights: %s, tokenizer: {path: %s}, max_length: 256}", base, shared(t, "llama-tokenizer")), 1)
	write(t, recipe, strings.Replace(text, "language: {lr: 1e-3}}",
		"language: {lr: 1e-2, lora: {r: 4, alpha: 8, targets: 'q_proj|v_proj|mlp'}}}", 1))
	command(t, 0, "pretrain", recipe, set("name", "peft"))
	command(t, 0, "finetune", recipe, set("name", "peft"))
	adapter := filepath.Join(t.TempDir(), "adapter")
	command(t, 0, "export", filepath.Join(dir, "runs", "peft"), "--format", "adapter", "--out", adapter)
	record := filepath.Join(t.TempDir(), "record.safetensors")
	recordLogits(t, answer.Named{Path: filepath.Join(dir, "runs", "peft")}, record)
	out, err := exec.Command(python, filepath.Join("..", "..", "scripts", "reference", "adapter.py"), base, adapter,
		record).CombinedOutput()
	if t.Logf("%s", out); err != nil {
		t.Error(err)
	}
}

// TestTheOriginalsLoRAIsReadByPEFT reads a folder as the original's LoRA script leaves it, as it is and merged,
// and compares the logits with PEFT's.
func TestTheOriginalsLoRAIsReadByPEFT(t *testing.T) {
	python := os.Getenv("REFERENCE_PYTHON")
	if python == "" {
		t.Skip("REFERENCE_PYTHON is not set: see scripts/reference/original_lora.py")
	}
	dir := t.TempDir()
	folder, merged, base := filepath.Join(dir, "lora"), filepath.Join(dir, "merged"), shared(t, "parity", "llm")
	script := func(args ...string) {
		t.Helper()
		args = append([]string{filepath.Join("..", "..", "scripts", "reference", "original_lora.py")}, args...)
		out, err := exec.Command(python, args...).CombinedOutput()
		if t.Logf("%s", out); err != nil {
			t.Fatal(err)
		}
	}
	script("make", folder, base, shared(t, "parity", "stage1", "mm_projector.bin"),
		shared(t, "parity", "llava-original", "config.json"))
	edit(t, filepath.Join(folder, "config.json"), map[string]any{"mm_vision_tower": "/home/someone/clip"})
	edit(t, filepath.Join(folder, "adapter_config.json"),
		map[string]any{"base_model_name_or_path": "/home/someone/llm"})
	write(t, filepath.Join(folder, "tokenizer.model"), string(read(t, shared(t, "llama-tokenizer", "tokenizer.model"))))
	named := answer.Named{Path: folder, Base: base, Vision: shared(t, "parity", "clip")}
	command(t, 0, "merge", folder, "--base", base, "--vision", named.Vision, "--out", merged)
	asItIs, afterwards := filepath.Join(dir, "as-it-is.safetensors"), filepath.Join(dir, "merged.safetensors")
	recordLogits(t, named, asItIs)
	recordLogits(t, answer.Named{Path: merged}, afterwards)
	script("compare", folder, base, asItIs, afterwards)
}

// recordLogits writes the logits that adapter.py compares with, of text only, because PEFT gets no image.
func recordLogits(t *testing.T, named answer.Named, path string) {
	t.Helper()
	a, err := answer.OpenAnswerer(named, program.NewTerminal(os.Stderr))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	in, logits := model.Input{Starts: []int64{0, 40}}, []float32(nil)
	for i := range int64(40) {
		in.IDs, in.Positions = append(in.IDs, 1+i*97%30000), append(in.Positions, i)
	}
	if err := torch.Do(func(s *torch.Scope) {
		logits = torch.Read[float32](a.LLaVA.Logits(s, a.LLaVA.Forward(s, in).Hidden))
	}); err != nil {
		t.Fatal(err)
	}
	matrix := checkpoints.Float32Tensor("logits", logits)
	matrix.Shape = []int64{40, int64(len(logits) / 40)}
	if err := checkpoints.WriteSafetensors(path, nil, []checkpoints.Tensor{integers("ids", in.IDs),
		matrix}); err != nil {
		t.Fatal(err)
	}
}

func newScene(recipe string) string {
	return filepath.Join(filepath.Dir(recipe), "data", "images", "new-00000.png")
}

// A folder that has lost its projector is not answered with a random one.
func TestALLaVAWithoutItsProjectorIsRefused(t *testing.T) {
	dir := world(t)
	recipe, base := filepath.Join(dir, "world.yaml"), filepath.Join(dir, "whole")
	command(t, 0, "pretrain", recipe, set("pretrain.steps", 1))
	command(t, 0, "export", filepath.Join(dir, "runs", "world"), "--format", "llava", "--out", base)
	file := filepath.Join(base, "model.safetensors")
	w, rest := openWeights(t, file), []checkpoints.Tensor(nil)
	for _, name := range w.Names() {
		tensor, err := w.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		if tensor.Data = bytes.Clone(tensor.Data); !strings.Contains(name, "mm_projector") {
			rest = append(rest, tensor)
		}
	}
	if err := checkpoints.WriteSafetensors(file, nil, rest); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"generate", base, "--prompt", "x"}, {"score", base, filepath.Join(dir, "data", "finetune.json")},
		{"export", base, "--format", "hf", "--out", filepath.Join(dir, "lost")},
	} {
		if message := command(t, 2, args...); !strings.Contains(message, "no projector in") {
			t.Error(message)
		}
	}
}
