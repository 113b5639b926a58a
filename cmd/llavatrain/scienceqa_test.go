package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// The shipped recipe trains a tiny model on ScienceQA's problems, whose recorded ones are taken as the split for
// training; they come without images, so that every image is one of the world's.
func TestScienceQATrains(t *testing.T) {
	problems := shared(t, "parity-bench", "scienceqa", "problems.json")
	dir := world(t)
	var splits map[string][]string
	if err := json.Unmarshal(read(t, shared(t, "parity-bench", "scienceqa", "pid_splits.json")), &splits); err != nil {
		t.Fatal(err)
	}
	all := map[string][]string{}
	for _, ids := range splits {
		all["train"] = append(all["train"], ids...)
	}
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	split := filepath.Join(dir, "pid_splits.json")
	write(t, split, string(text))
	rowsFile := filepath.Join(dir, "scienceqa_train.json")
	command(t, 0, "synth", "convert", "scienceqa", problems, split, "--out", rowsFile)
	var rows []struct{ Image string }
	if err := json.Unmarshal(read(t, rowsFile), &rows); err != nil {
		t.Fatal(err)
	}
	pictures, err := filepath.Glob(filepath.Join(dir, "data", "images", "*.png"))
	if err != nil || len(pictures) == 0 || len(rows) != len(all["train"]) {
		t.Fatalf("%d pictures, %d rows of %d problems, %v", len(pictures), len(rows), len(all["train"]), err)
	}
	shown := 0
	for i, row := range rows {
		if row.Image == "" {
			continue
		}
		shown++
		to := filepath.Join(dir, "images", row.Image)
		if err := os.MkdirAll(filepath.Dir(to), 0o777); err != nil {
			t.Fatal(err)
		}
		write(t, to, string(read(t, pictures[i%len(pictures)])))
	}
	if shown == 0 || shown == len(rows) {
		t.Errorf("%d of %d problems have an image", shown, len(rows))
	}
	t.Chdir(dir)
	command(t, 0, "init", "llava-v1-scienceqa")
	sets := []string{
		"model.vision={config: base/tower.json, select_layer: -1, select_feature: patch}",
		"model.language={config: base/language.json, tokenizer: {path: base}, max_length: 512}",
		"pretrain.data=[{path: data/pretrain.json, images: data/images}]", "pretrain.batch.global=30",
		"finetune.data=[{path: scienceqa_train.json, images: images}]", "finetune.batch.global=64",
	}
	var with []string
	for _, set := range sets {
		with = append(with, "--set", set)
	}
	for _, stage := range []string{"pretrain", "finetune"} {
		command(t, 0, append([]string{stage, "llava-v1-scienceqa.yaml"}, with...)...)
	}
	const epochs = 12 // the script's
	lines := readMetrics(t, filepath.Join(dir, "runs", "llava-v1-scienceqa", "finetune"))
	if want := epochs * ((len(rows) + 63) / 64); len(lines) > want || len(lines) < want-epochs {
		t.Fatalf("%d steps of %d rows", len(lines), len(rows))
	}
	if first, last := lines[0].Loss, lines[len(lines)-1].Loss; last >= first {
		t.Errorf("loss %v at first, %v at last", first, last)
	}
}
