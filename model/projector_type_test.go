package model

import (
	"fmt"
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/recipes"
)

// The file of another type of projector is named by its type, under every spelling and beside adapters.
func TestProjectorsOfAnotherTypeAreNamed(t *testing.T) {
	source := openModel(t, tinyRecipe(t, tinyLanguage, tinyVision), OpenOptions{Seed: 1})
	r := tinyFolders(t, source)
	language := r.Language.Weights
	for _, prefix := range []string{"model.mm_projector.", "mm_projector.", "module.model.mm_projector.", ""} {
		for depth := 1; depth <= 3; depth++ {
			file := map[string]checkpoints.Tensor{}
			for i := range depth {
				in := int64(8)
				if i == 0 {
					in = 6
				}
				file[fmt.Sprint(prefix, 2*i, ".weight")] = zeros("", 8, in)
				file[fmt.Sprint(prefix, 2*i, ".bias")] = zeros("", 8)
			}
			for asked := 1; asked <= 3; asked++ {
				r.Projector.Type = fmt.Sprintf("mlp%dx_gelu", asked)
				r.Projector.Weights, r.Language.Weights = writeFolder(t, nil, file), language
				want := fmt.Sprintf("set model.projector.type: mlp%dx_gelu", depth)
				if asked == depth {
					openModel(t, r, OpenOptions{})
				} else if message := openFails(t, r, OpenOptions{}); !strings.Contains(message, want) {
					t.Errorf("%s%d for %d: %s", prefix, depth, asked, message)
				}
				if prefix == "" {
					continue
				}
				files := oneAdapter(8, 4)
				files["mm_projector.safetensors"], r.Projector.Weights = file, ""
				config := object{"peft_type": "LORA", "base_model_name_or_path": language}
				r.Language.Weights = writeAdapters(t, config, files)
				if asked == depth {
					openModel(t, r, OpenOptions{})
				} else if message := openFails(t, r, OpenOptions{}); !strings.Contains(message, want) {
					t.Errorf("adapters, %s%d for %d: %s", prefix, depth, asked, message)
				}
			}
		}
	}
}

// What the first LLaVAs saved beside their projector is named; a whole model may be named for its projector.
func TestWhatStandsBesideAProjector(t *testing.T) {
	source := openModel(t, tinyRecipe(t, tinyLanguage, tinyVision), OpenOptions{Seed: 1})
	r := tinyFolders(t, source)
	file := tensors(t, source, recipes.PartProjector)
	file["model.embed_tokens.weight"] = zeros("", 11, 8)
	r.Projector.Weights = writeFolder(t, nil, file)
	const want = "extra: model.embed_tokens.weight, beside the projector, of a model with <im_start>"
	if message := openFails(t, r, OpenOptions{}); !strings.Contains(message, want) {
		t.Error(message)
	}
	r.Projector.Weights = writeFolder(t, nil, tensors(t, source, ""))
	openModel(t, r, OpenOptions{})
}
