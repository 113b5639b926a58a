package model

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// A folder of adapters (LoRA) beside a language model's own folder is read as the model that both make: every weight W
// becomes W + alpha/r B A when it is loaded. Such folders are those of PEFT, of the original (scripts/v1_5/
// finetune_lora.sh), which adds what else it trained in non_lora_trainables.bin, and our own exports.

// HoldsAdapters says whether a folder, or the cached repository of an id, holds adapters of PEFT.
func HoldsAdapters(weights string) bool {
	dir, err := Resolve(weights)
	return err == nil && checkpoints.Exists(filepath.Join(dir, AdapterConfig))
}

// LanguageFolder is the folder that has the language model's own files; adapters is the folder of adapters on top of
// it, "" if there is none.
func LanguageFolder(l recipes.Language) (dir, adapters string, err error) {
	defer failure.MarkInput(&err)
	if dir, err = Resolve(l.Weights); err != nil || !HoldsAdapters(dir) {
		return dir, "", err
	}
	config, err := readAdapterConfig(dir)
	if err != nil {
		return "", "", err
	}
	base := cmp.Or(l.Base, config.Base)
	beside := filepath.Join(dir, base)
	if info, err := os.Stat(beside); l.Base == "" && base != "" && !filepath.IsAbs(base) && err == nil && info.IsDir() {
		base = beside
	}
	folder, err := Resolve(base)
	if err != nil {
		return "", "", fmt.Errorf("%q holds adapters for the language model %q: %w; name its folder with --base "+
			"(in a recipe: model.language.base)", dir, base, err)
	}
	if HoldsAdapters(folder) {
		return "", "", fmt.Errorf("%q, the base of the adapters in %q, holds adapters itself: merge them first "+
			"(llavatrain merge, or PEFT's merge_and_unload) and name the folder of the result", folder, dir)
	}
	return folder, dir, nil
}
