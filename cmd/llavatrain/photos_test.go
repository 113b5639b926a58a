package main

import (
	"fmt"
	"path/filepath"
	"testing"
)

// Both stages train on real photos with the real Llama vocabulary and a small random model: the loss falls, text-only
// rows train, nothing is skipped.
func TestRealPhotos(t *testing.T) {
	dir := t.TempDir()
	photos, tokenizer := shared(t, "coco-mini"), shared(t, "llama-tokenizer")
	write(t, filepath.Join(dir, "tower.json"), `{"model_type": "clip_vision_model", "hidden_size": 64,
		"num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 128, "image_size": 112,
		"patch_size": 14}`)
	write(t, filepath.Join(dir, "language.json"), `{"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2,
		"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 176, "vocab_size": 32000,
		"max_position_embeddings": 2048, "initializer_range": 0.1}`)
	recipe := filepath.Join(dir, "photos.yaml")
	write(t, recipe, fmt.Sprintf(`
model:
  vision: {config: tower.json}
  language: {config: language.json, tokenizer: {path: %[1]s}}
pretrain:
  data: [{path: %[2]s/pretrain.json, images: %[2]s/images}]
  template: plain
  train: {projector: {lr: 1e-2}}
  batch: {global: 7}
  epochs: 6
finetune:
  data: [{path: %[2]s/instruct.json, images: %[2]s/images}]
  template: vicuna_v1
  image: pad
  order: grouped
  train: {projector: {lr: 1e-3}, language: {lr: 3e-3}}
  batch: {global: 7}
  epochs: 3
`, tokenizer, photos))
	for _, stage := range []string{"pretrain", "finetune"} {
		command(t, 0, stage, recipe)
		metrics := readMetrics(t, filepath.Join(dir, "runs", "photos", stage))
		first, last := float64(metrics[0].Loss), float64(metrics[len(metrics)-1].Loss)
		if t.Logf("%s: the loss goes from %.3f to %.3f", stage, first, last); last > 0.97*first {
			t.Errorf("%s: the loss does not fall: %.3f to %.3f", stage, first, last)
		}
		skipped, texts := 0, 0
		for _, m := range metrics {
			skipped += m.Skipped
			if _, ok := m.LossBy["text"]; ok {
				texts++
			}
		}
		if skipped > 0 || stage == "finetune" && texts == 0 {
			t.Errorf("%s: %d samples skipped, %d steps with text-only rows", stage, skipped, texts)
		}
	}
}

// Training in bf16 with exact fp32 masters resumes as exactly as in fp32, with numbers close to those of fp32.
func TestBF16ResumesExactly(t *testing.T) {
	dir := world(t)
	recipe := filepath.Join(dir, "world.yaml")
	command(t, 0, "pretrain", recipe)
	runDir := filepath.Join(dir, "runs", "world", "pretrain")
	fp32 := readMetrics(t, runDir)
	command(t, 0, "pretrain", recipe, "--overwrite", set("dtype", "bf16"))
	want, bf16 := outcomeOf(t, runDir), readMetrics(t, runDir)
	command(t, 0, "pretrain", recipe, "--overwrite", set("dtype", "bf16"), "--stop-at=7")
	command(t, 0, "pretrain", recipe, "--resume", set("dtype", "bf16"))
	requireSame(t, "bf16", want, outcomeOf(t, runDir))
	for i := range fp32 {
		if difference := relative(float64(bf16[i].Loss), float64(fp32[i].Loss)); difference > 0.02 {
			t.Errorf("step %d: the loss in bf16 is %v, in fp32 %v", i+1, bf16[i].Loss, fp32[i].Loss)
		}
	}
}
