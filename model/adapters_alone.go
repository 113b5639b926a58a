package model

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/recipes"
)

// adaptersAndProjector is the model of a folder with adapters of a language model alone (in from) and with the
// projector that was trained with them. It has the original's defaults, and no tower.
func adaptersAndProjector(dir, from, base string, c wholeConfig) (m recipes.Model, notes ExportNotes, err error) {
	kind, err := projectorBeside(dir)
	if err != nil {
		return m, notes, err
	}
	if kind == "" {
		return m, notes, fmt.Errorf("%q holds adapters (LoRA) for %q, which is a language model (model_type %q) and "+
			"not a LLaVA, and beside them there is no projector (%s) and no config.json of a LLaVA (mm_vision_tower, "+
			"mm_projector_type): copy both from the run that trained them, or name the folder as "+
			"model.language.weights in a recipe", dir, from, c.ModelType, strings.Join(otherFiles[1:], ", "))
	}
	m = recipes.Model{
		Vision:    recipes.Vision{SelectLayer: -2, SelectFeature: "patch"},
		Projector: recipes.Projector{Type: kind},
		Language: recipes.Language{Weights: dir, Base: base, Tokenizer: recipes.Tokenizer{Legacy: "auto"},
			MaxLength: defaultLength},
	}
	return m, ExportNotes{Aspect: aspectOf(dir), Template: defaultTemplate}, nil
}

// projectorBeside is the type of the projector that was trained with the adapters in a folder; "" if there is none.
func projectorBeside(dir string) (string, error) {
	var names []string
	for _, file := range otherFiles {
		path := filepath.Join(dir, file)
		if !checkpoints.Exists(path) {
			continue
		}
		w, err := checkpoints.Open(path)
		if err != nil {
			return "", err
		}
		for _, name := range w.Names() {
			names = append(names, peftName(name))
		}
		w.Close()
	}
	return projectorType(names), nil
}
