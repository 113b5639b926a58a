package answer

import (
	"fmt"
	"path/filepath"
	"slices"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// located is what a MODEL argument stands for.
type located struct {
	Model    recipes.Model
	overlay  []string // weight files that replace the recipe's
	lora     map[string]recipes.LoRA
	seed     uint64 // of parts that the recipe makes from a configuration
	Dtype    string // as in a recipe
	Template string
	Aspect   string
}

// Open says where the model's weights come from.
func (l located) Open() model.OpenOptions {
	return model.OpenOptions{Seed: l.seed, Overlay: l.overlay, LoRA: l.lora}
}

// Locate finds the model that a path stands for: a run folder (its export, or else its newest checkpoint), a
// checkpoint, a LLaVA folder, or the Hugging Face id of one.
func Locate(path string) (_ located, err error) {
	defer failure.MarkInput(&err)
	has := func(name string) bool { return checkpoints.Exists(filepath.Join(path, name)) }
	switch {
	case has("config.json"):
		return locateFolder(path)
	case checkpoints.Exists(model.ProjectorFile(path)):
		overlay := []string{model.ProjectorFile(path)}
		for _, file := range []string{model.AdapterFile, model.OthersFile} {
			if has(file) {
				overlay = append(overlay, filepath.Join(path, file))
			}
		}
		return locateInRun(filepath.Dir(path), overlay...)
	case has(checkpoints.StateFile):
		return locateInRun(filepath.Dir(filepath.Dir(path)), filepath.Join(path, runs.WeightsFile))
	case has(runs.ExportDir):
		return Locate(filepath.Join(path, runs.ExportDir))
	case has(runs.RecipeFile):
		newest, _, ok, err := checkpoints.Run{Dir: path}.Newest()
		if err == nil && !ok {
			err = fmt.Errorf("%s has no finished export and no checkpoint yet", path)
		}
		if err != nil {
			return located{}, err
		}
		return Locate(newest.Dir)
	}
	for _, stage := range slices.Backward(recipes.StageNames) {
		if has(stage) {
			return Locate(filepath.Join(path, stage))
		}
	}
	if dir, err := model.Resolve(path); err == nil && dir != path { // a Hugging Face id
		return locateFolder(dir)
	}
	return located{}, fmt.Errorf("%s is not a model: give a run folder, a checkpoint, a LLaVA folder, "+
		"or the Hugging Face id of one in the local hub cache", path)
}

// locateInRun is the model of a run folder's recipe, with the given weights in place of the recipe's.
func locateInRun(runDir string, weights ...string) (located, error) {
	r, err := recipes.Load(filepath.Join(runDir, runs.RecipeFile), nil)
	if err != nil {
		return located{}, err
	}
	stage, err := r.Stage(filepath.Base(runDir))
	if err != nil {
		return located{}, err
	}
	return located{
		Model: r.Model, overlay: weights, lora: stage.Adapters(), seed: r.Seed, Dtype: r.Dtype,
		Template: stage.Template, Aspect: stage.Image,
	}, nil
}

// locateFolder reads the configuration of a complete model's folder, in any layout: llavatrain's, the original's or
// transformers'.
func locateFolder(dir string) (located, error) {
	m, notes, err := model.ReadLLaVA(dir)
	return located{Model: m, Dtype: "auto", Template: notes.Template, Aspect: notes.Aspect}, err
}
