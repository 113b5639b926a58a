package answer

import (
	"cmp"
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
	Step    int               // of the checkpoint; 0: it is none
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

	Template string // in place of the one that the model was trained with; "" for that
	Dtype    string // of the weights: auto, fp32 or bf16; "" for auto
}

// Locate finds the model that a path stands for: a run folder (its export, or else its newest checkpoint), a
// checkpoint, a LLaVA folder, a folder of adapters, or the Hugging Face id of one.
func (n Named) Locate() (l located, err error) {
	defer failure.MarkInput(&err)
	l, err = n.locate(n.Path)
	l.Notes.Template = cmp.Or(n.Template, l.Notes.Template)
	if err != nil {
		return l, err
	}
	if err := l.rebase(n); err != nil {
		return l, err
	}
	tower := &l.Model.Vision
	switch {
	case n.Vision == "" && l.folder && tower.Weights == "":
		return l, fmt.Errorf("%s has no config.json that names its vision tower: name its folder with --vision", n.Path)
	case n.Vision == "":
	case tower.Second != nil:
		return l, fmt.Errorf("%s has two towers, and --vision names one folder: name the folders in %s", n.Path,
			l.towersNamed())
	case l.folder && tower.Weights != "":
		tower.Tower = n.Vision
	default:
		tower.Weights, tower.Config = n.Vision, ""
	}
	return l, l.moved(n.Path)
}

// towersNamed says where the folders of two towers are named.
func (l *located) towersNamed() string {
	if l.folder {
		return "mm_vision_tower of its config.json"
	}
	return "model.vision of the run's " + runs.RecipeFile
}

// rebase puts --base in place of the language model that adapters belong to. In a folder that has been done as it was
// read.
func (l *located) rebase(n Named) error {
	language := &l.Model.Language
	before := language.Weights
	switch inFolder := model.HoldsAdapters(before); {
	case n.Base == "" || l.folder && inFolder:
	case inFolder:
		language.Base = n.Base
	case len(l.lora) == 0:
		return fmt.Errorf("%s has no adapters (LoRA): --base names the language model that adapters belong to", n.Path)
	default:
		language.Weights, language.Config = n.Base, ""
		if language.Tokenizer.Path == before {
			language.Tokenizer.Path = ""
		}
	}
	return nil
}

// moved says how to name the folders of a run's recipe that are no longer there.
func (l *located) moved(path string) error {
	if l.folder {
		return nil
	}
	missing := func(what, weights, remedy string) error {
		if weights == "" {
			return nil
		}
		if _, err := model.Resolve(weights); err != nil {
			return fmt.Errorf("%s of %s: %w; %s", what, path, err, remedy)
		}
		return nil
	}
	base := "name its folder with --base"
	if len(l.lora) == 0 {
		base = "change model.language.weights in the run's " + runs.RecipeFile
	}
	tower := "name its folder with --vision"
	if l.Model.Vision.Second != nil {
		tower = "name its folder in " + l.towersNamed()
	}
	var problems []error
	for _, v := range l.Model.Vision.Towers() {
		problems = append(problems, missing("vision tower", v.Weights, tower))
	}
	return failure.Join(append(problems, missing("language model", l.Model.Language.Weights, base))...)
}

func (n Named) locate(path string) (_ located, err error) {
	has := func(name string) bool { return checkpoints.Exists(filepath.Join(path, name)) }
	switch {
	case has("config.json"):
		return n.locateFolder(path)
	case has(model.AdapterConfig) && has(runs.RecipeFile): // the export of a run with adapters, wherever it is
		return locateAdapters(path)
	case checkpoints.Exists(model.ProjectorFile(path)):
		if run := filepath.Dir(path); checkpoints.Exists(filepath.Join(run, runs.RecipeFile)) {
			return locateInRun(run, exported(path)...)
		}
		return n.locateFolder(path)
	case has(checkpoints.StateFile):
		l, err := locateInRun(filepath.Dir(filepath.Dir(path)), checkpoints.Saved(path, runs.WeightsFile))
		fmt.Sscanf(filepath.Base(filepath.Clean(path)), "step-%d", &l.Step) // a folder with another name has no step
		return l, err
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

// exported are the files of weights that a stage's export holds unless it is a whole model.
func exported(dir string) (files []string) {
	for _, file := range []string{model.ProjectorFile(""), model.AdapterFile, model.OthersFile} {
		if path := filepath.Join(dir, file); checkpoints.Exists(path) {
			files = append(files, path)
		}
	}
	return files
}

// locateInRun is the model of a run folder's recipe, with the given weights in place of the recipe's.
func locateInRun(runDir string, weights ...string) (located, error) {
	r, err := recipes.Load(filepath.Join(runDir, runs.RecipeFile), nil)
	if err != nil {
		return located{}, err
	}
	return locateStage(r, filepath.Base(runDir), weights...)
}

// locateAdapters is the model of an export that brings its recipe, which has the one stage that trained it.
func locateAdapters(dir string) (located, error) {
	r, err := recipes.Load(filepath.Join(dir, runs.RecipeFile), nil)
	if err != nil {
		return located{}, err
	}
	for _, name := range recipes.StageNames {
		if stage, err := r.Stage(name); err == nil && len(stage.Adapters()) > 0 {
			return locateStage(r, name, exported(dir)...)
		}
	}
	return located{}, fmt.Errorf("%s has adapters, but no stage of its %s trains any (lora)", dir, runs.RecipeFile)
}

func locateStage(r *recipes.Recipe, name string, weights ...string) (located, error) {
	stage, err := r.Stage(name)
	if err != nil {
		return located{}, err
	}
	return located{
		Model: r.Model, overlay: weights, lora: stage.Adapters(), seed: r.Seed, Dtype: r.Dtype,
		Notes: notesOf(stage),
	}, nil
}

// notesOf says how a stage trains a model, and so how it is asked.
func notesOf(stage *recipes.Stage) model.ExportNotes {
	return model.ExportNotes{Template: stage.Template, Aspect: stage.Image, Turn: stage.Turn,
		MaxPixels: stage.MaxPixels}
}

// locateFolder reads the configuration of a complete model's folder, in any layout: llavatrain's, the original's or
// transformers'.
func (n Named) locateFolder(dir string) (located, error) {
	m, notes, err := model.ReadLLaVA(dir, n.Base)
	return located{Model: m, folder: true, Dtype: "auto", Notes: notes}, err
}
