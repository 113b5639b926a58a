package main

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTokenizerJSON runs both stages, the export and an answer with a vocabulary of Qwen's kind
// (data/tokenizer/testdata/tokenizer_make.py).
func TestTokenizerJSON(t *testing.T) {
	dir := world(t)
	base := filepath.Join(dir, "base")
	if err := os.Remove(filepath.Join(base, "tokenizer.model")); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(base, "tokenizer.json"), gunzip(t, "../../data/tokenizer/testdata/tokenizer_qwen2.json.gz"))
	write(t, filepath.Join(base, "tokenizer_config.json"),
		`{"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_end|>", "bos_token": null}`)
	var config map[string]any
	if err := json.Unmarshal(read(t, filepath.Join(base, "language.json")), &config); err != nil {
		t.Fatal(err)
	}
	config["vocab_size"] = 810
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(base, "language.json"), string(text))
	recipe := filepath.Join(dir, "qwen.yaml")
	write(t, recipe, strings.ReplaceAll(strings.ReplaceAll(worldRecipe, "vicuna_v1", "qwen_2"), "steps: 20",
		"steps: 2"))
	runs := filepath.Join(dir, "runs")
	command(t, 0, "pretrain", recipe, "--runs", runs)
	command(t, 0, "finetune", recipe, "--runs", runs)
	export := filepath.Join(runs, "world", "finetune", "export")
	written, given := read(t, filepath.Join(export, "tokenizer.json")), read(t, filepath.Join(base, "tokenizer.json"))
	if string(written) != string(given) {
		t.Error("export has a different tokenizer.json")
	}
	command(t, 0, "generate", export, "--image", filepath.Join(dir, "data", "images", "new-00000.png"),
		"--prompt", "What is this?", "--max-tokens", "4")
}

func gunzip(t *testing.T, path string) string {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	reader, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(reader)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
