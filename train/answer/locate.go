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
	Model   recipes.Model
	overlay []string // weight files that replace the recipe's
	lora    map[string]recipes.LoRA
	seed    uint64            // of parts that the recipe makes from a configuration
	folder  bool              // of a whole LLaVA, not a run's
	Dtype   string            // as in a recipe
	Notes   model.ExportNotes // how it was trained: template, image, orientation
}

// Open says where the model's weights come from.
func (l located) Open() model.OpenOptions {
	return model.OpenOptions{
		Seed: l.seed, Overlay: l.overlay, LoRA: l.lora, AnyProjector: !l.folder, NeedProjector: l.folder,
	}
}

// Named is a MODEL argument, with folders that replace those that the model names.
type Named struct {
	Path   string
	Vision string // vision tower, in place of mm_vision_tower or of a recipe's model.vision.weights; "" for none
	Base   string // language model that adapters belong to; "" for the one that they name
}

// Locate finds the model that a path stands for: a run folder (its export, or else its newest checkpoint), a
// checkpoint, a LLaVA folder, a folder of adapters, or the Hugging Face id of one.
func (n Named) Locate() (l located, err error) {
	defer failure.MarkInput(&err)
	if l, err = n.locate(n.Path); err != nil || n.Vision == "" {
		return l, err
	}
	if l.folder {
		l.Model.Vision.Tower = n.Vision
	} else {
		l.Model.Vision.Weights, l.Model.Vision.Config = n.Vision, ""
	}
	return l, nil
}

func (n Named) locate(path string) (_ located, err error) {
	has := func(name string) bool { return checkpoints.Exists(filepath.Join(path, name)) }
	switch {
	case has("config.json"):
		return n.locateFolder(path)
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
		return n.locate(filepath.Join(path, runs.ExportDir))
	case has(runs.RecipeFile):
		newest, _, ok, err := checkpoints.Run{Dir: path}.Newest()
		if err == nil && !ok {
			err = fmt.Errorf("%s has no finished export and no checkpoint yet", path)
		}
		if err != nil {
			return located{}, err
		}
		return n.locate(newest.Dir)
	}
	for _, stage := range slices.Backward(recipes.StageNames) {
		if has(stage) {
			return n.locate(filepath.Join(path, stage))
		}
	}
	if dir, err := model.Resolve(path); err == nil && (dir != path || has(model.AdapterConfig)) { // an id, or adapters
		return n.locateFolder(dir)
	}
	if err := model.RefuseOther(path); err != nil {
		return located{}, err
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
		Notes: model.ExportNotes{Template: stage.Template, Aspect: stage.Image, Turn: stage.Turn},
	}, nil
}

// locateFolder reads the configuration of a complete model's folder, in any layout: llavatrain's, the original's or
// transformers'.
func (n Named) locateFolder(dir string) (located, error) {
	m, notes, err := model.ReadLLaVA(dir, n.Base)
	return located{Model: m, folder: true, Dtype: "auto", Notes: notes}, err
}
