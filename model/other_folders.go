package model

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/llavatrain/llavatrain/checkpoints"
)

// otherFolders are folders that people name in place of a model's, by a file or folder in them, and what to do. Names
// of run folders and checkpoints are those of the packages runs and checkpoints.
var otherFolders = []struct{ mark, what string }{
	{checkpoints.StateFile, "is a checkpoint of a run: write its model with " +
		"llavatrain export THIS --format llava --out FOLDER, and name FOLDER"},
	{"recipe.yaml", "is a run folder: name the folder export in it, or write its model with " +
		"llavatrain export THIS --format llava --out FOLDER"},
	{"pretrain/recipe.yaml", stagesFolder},
	{"finetune/recipe.yaml", stagesFolder},
	{"zero_to_fp32.py", "is a checkpoint of DeepSpeed: run its zero_to_fp32.py first, and put what it writes beside " +
		"config.json"},
	{"trainer_state.json", "is a checkpoint of transformers' Trainer without config.json: " +
		"copy the model's config.json here"},
	{"adapter_model.bin", adaptersAlone},
	{"adapter_model.safetensors", adaptersAlone},
}

const (
	stagesFolder  = "is the folder of a run's stages: name the folder export in one of them (pretrain, finetune)"
	adaptersAlone = "holds adapters without adapter_config.json, which says what they belong to: copy it here"
)

// RefuseOther names what a folder is that lacks config.json, or a folder in place of a file of weights.
func RefuseOther(dir string) error {
	for _, name := range []string{"pytorch_model.bin", "model.safetensors"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err == nil && info.IsDir() {
			return fmt.Errorf("%s in %q is a folder, not a file (zero_to_fp32.py of DeepSpeed writes such a folder): "+
				"move the files in it to %[2]q", name, dir)
		}
	}
	if checkpoints.Exists(filepath.Join(dir, "config.json")) {
		return nil
	}
	if checkpoints.Exists(filepath.Join(dir, AdapterConfig)) {
		return fmt.Errorf("%q holds adapters (LoRA), which go on top of a language model: name it as "+
			"model.language.weights, and here the folder of the part itself", dir)
	}
	if named := adaptersBelow(dir); len(named) > 0 {
		return fmt.Errorf("%q holds adapters in a folder of their own, where PEFT saves those that have a name: "+
			"name %s", dir, strings.Join(named, " or "))
	}
	for _, other := range otherFolders {
		if checkpoints.Exists(filepath.Join(dir, filepath.FromSlash(other.mark))) {
			return fmt.Errorf("%q %s", dir, strings.ReplaceAll(other.what, "THIS", strconv.Quote(dir)))
		}
	}
	return nil
}

// adaptersBelow are the folders in dir that hold adapters.
func adaptersBelow(dir string) (named []string) {
	entries, _ := os.ReadDir(dir) // a folder that cannot be read is reported elsewhere
	for _, e := range entries {
		if below := filepath.Join(dir, e.Name()); checkpoints.Exists(filepath.Join(below, AdapterConfig)) {
			named = append(named, strconv.Quote(below))
		}
	}
	return named
}
