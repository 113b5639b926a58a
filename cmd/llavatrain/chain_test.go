package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
)

// A stage 2 after a stage 1 that trained more than the projector starts from all of it, not from the recipe's weights:
// its first update has rate 0, so after one step every weight is still what stage 1 exported.
func TestFinetuneStartsFromAllThatPretrainTrained(t *testing.T) {
	dir := world(t)
	recipe := filepath.Join(dir, "world.yaml")
	command(t, 0, "pretrain", recipe, set("pretrain.steps", 3), set("pretrain.train.language.lr", 1e-2),
		set("pretrain.train.vision.lr", 1e-2))
	command(t, 0, "finetune", recipe, set("finetune.steps", 1), set("finetune.schedule.warmup", 1))
	exports := func(stage string) string { return filepath.Join(dir, "runs", "world", stage, "export") }
	before, after := openWeights(t, exports("pretrain")), openWeights(t, exports("finetune"))
	compared := 0
	for _, name := range before.Names() {
		want, err := before.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := after.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		if compared++; !bytes.Equal(want.Data, got.Data) {
			t.Errorf("%s is not what pretrain exported", name)
		}
	}
	if compared < 50 {
		t.Errorf("only %d tensors were compared", compared)
	}
	resolved := string(read(t, filepath.Join(dir, "runs", "world", "finetune", "recipe.yaml")))
	if strings.Contains(resolved, "tower.json") || !strings.Contains(resolved, exports("pretrain")) {
		t.Errorf("the run's recipe does not say where its weights came from:\n%s", resolved)
	}
}

// Adapters of stage 1 are not dropped silently.
func TestFinetuneBehindAdaptersSaysToMerge(t *testing.T) {
	dir := world(t)
	recipe := filepath.Join(dir, "world.yaml")
	command(t, 0, "pretrain", recipe, set("pretrain.steps", 1), set("pretrain.train.language.lr", 1e-2),
		set("pretrain.train.language.lora.r", 2),
		set("pretrain.train.language.lora.alpha", 4))
	advice := "llavatrain merge " + filepath.Join(dir, "runs", "world", "pretrain")
	if text := command(t, 2, "finetune", recipe); !strings.Contains(text, advice) {
		t.Errorf("finetune says %q", text)
	}
}
