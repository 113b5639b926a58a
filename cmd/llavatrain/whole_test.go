package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// linked returns a folder with links to all files of the parity set's folder, and to the tokenizer that the set lacks.
func linked(t *testing.T, folder string) string {
	t.Helper()
	dir := t.TempDir()
	files := []string{shared(t, "llama-tokenizer", "tokenizer.model"),
		shared(t, "parity", "llm", "tokenizer_config.json")}
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if entry.Name() != "tokenizer_config.json" {
			files = append(files, filepath.Join(folder, entry.Name()))
		}
	}
	for _, file := range files {
		if err := os.Symlink(file, filepath.Join(dir, filepath.Base(file))); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// edit changes keys of a JSON file, which may be a link.
func edit(t *testing.T, path string, changes map[string]any) {
	t.Helper()
	var content map[string]any
	if err := json.Unmarshal(read(t, path), &content); err != nil {
		t.Fatal(err)
	}
	for key, value := range changes {
		content[key] = value
	}
	text, err := json.Marshal(content)
	if err == nil {
		err = os.Remove(path)
	}
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, string(text))
}

// recordedAnswer is a prompt of the parity set with the greedy answer of its model.
type recordedAnswer struct {
	Prompt, Image, Text string
	NewIDs              []int32 `json:"new_ids"`
}

// recordedAnswers are the prompts of the parity set's model, with the answers that the original gave.
func recordedAnswers(t *testing.T) []recordedAnswer {
	t.Helper()
	var recorded struct{ Prompts []recordedAnswer }
	if err := json.Unmarshal(read(t, shared(t, "parity", "llava-hf.json")), &recorded); err != nil {
		t.Fatal(err)
	}
	return recorded.Prompts
}

// answersAsRecorded asks a model all recorded questions.
func answersAsRecorded(t *testing.T, model string) {
	t.Helper()
	for _, p := range recordedAnswers(t) {
		_, question, _ := strings.Cut(p.Prompt, "<image>\n")
		question, _, _ = strings.Cut(question, " ASSISTANT:")
		got := command(t, 0, "generate", model, "--image", shared(t, "coco-mini", "images", p.Image),
			"--prompt", question,
			"--max-tokens", strconv.Itoa(len(p.NewIDs)))
		if want := p.Text + "\n"; got != want {
			t.Errorf("%s: answer %q, want %q", p.Image, got, want)
		}
	}
}

// generate reads folders that the original and transformers wrote.
func TestGenerateAnswersAsTheOriginal(t *testing.T) {
	t.Run("original", func(t *testing.T) {
		dir := linked(t, shared(t, "parity", "llava-original"))
		edit(t, filepath.Join(dir, "config.json"), map[string]any{"mm_vision_tower": shared(t, "parity", "clip")})
		answersAsRecorded(t, dir)
	})
	t.Run("transformers", func(t *testing.T) {
		dir := linked(t, shared(t, "parity", "llava-hf"))
		// the recorder padded for it
		edit(t, filepath.Join(dir, "config.json"), map[string]any{"image_aspect_ratio": "pad"})
		answersAsRecorded(t, dir)
	})
}

// Both stages run on transformers' folder, whose embedding has more rows than the tokenizer has pieces.
func TestStagesFromTransformersFolder(t *testing.T) {
	dir := linked(t, shared(t, "parity", "llava-hf"))
	recipe := filepath.Join(t.TempDir(), "hf.yaml")
	photos := shared(t, "coco-mini")
	write(t, recipe, strings.NewReplacer("FOLDER", dir, "PHOTOS", photos).Replace(`
name: hf
threads: 1
model: {vision: {weights: FOLDER}, language: {weights: FOLDER}}
pretrain:
  data: [{path: PHOTOS/pretrain.json, images: PHOTOS/images}]
  template: plain
  train: {projector: {lr: 1e-3}}
  batch: {global: 2}
  steps: 1
finetune:
  data: [{path: PHOTOS/instruct.json, images: PHOTOS/images}]
  template: vicuna_v1
  train: {projector: {lr: 1e-3}, language: {lr: 1e-3}}
  batch: {global: 2}
  steps: 1
`))
	command(t, 0, "pretrain", recipe)
	command(t, 0, "finetune", recipe)
	export := filepath.Join(filepath.Dir(recipe), "runs", "hf", "finetune", "export")
	command(t, 0, "generate", export, "--prompt", "Why?", "--max-tokens", "2")

	// The projector of stage 1 records the language model that it was trained with.
	complain(t, 2,
		[]string{"pretrain/export/mm_projector.safetensors was trained with a different language model than"},
		"finetune", recipe, "--overwrite",
		set("model.language.weights", shared(t, "parity", "llm")), set("model.language.tokenizer.path", dir))

	pieces := filepath.Join(dir, "added_tokens.json")
	info, _ := openWeights(t, dir).Info("language_model.lm_head.weight")
	rows := info.Shape[0]
	write(t, pieces, fmt.Sprintf(`{"<far>": %d}`, rows))
	complain(t, 2, []string{fmt.Sprintf("the tokenizer has %d pieces, but the language model's embedding only %d rows",
		rows+1,
		rows)},
		"generate", dir, "--prompt", "Why?")
}
