package train

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/train/export"
)

func (t *trainer) exportDir() string { return filepath.Join(t.run.Dir, runs.ExportDir) }

// trainsPart says whether a part trains.
func (t *trainer) trainsPart(part string) bool {
	_, named := t.plan.stage.Train[part]
	return named
}

// projector is the export of the projector: in fp32, without adapters.
func (t *trainer) projector() export.Output {
	weights := export.Select(t.model.Params.All(), func(p *nn.Param) bool {
		return p.Part == recipes.PartProjector && !p.Adapter
	})
	return export.Output{Base: "mm_projector", Params: weights, Dtype: checkpoints.F32, Name: export.AsNamed}
}

// outputs are what a finished run writes in addition to the projector. A stage with adapters writes those, in fp32, and
// whatever else it trained. Any other stage that trains more than the projector writes the whole model.
func (t *trainer) outputs() (list []export.Output) {
	all := t.model.Params.All()
	switch {
	case len(t.plan.lora) > 0:
		list = append(list, export.Output{
			Base: stem(model.AdapterFile), Dtype: checkpoints.F32, Name: model.AdapterName,
			Params: export.Select(all, func(p *nn.Param) bool { return p.Adapter }),
		})
		others := export.Select(all, func(p *nn.Param) bool {
			return p.Trainable && !p.Adapter && p.Part != recipes.PartProjector
		})
		if len(others) > 0 {
			list = append(list, export.Output{
				Base: stem(model.OthersFile), Params: others, Dtype: checkpoints.F32, Name: export.AsNamed,
			})
		}
	case t.trainsPart(recipes.PartLanguage) || t.trainsPart(recipes.PartVision):
		list = append(list, export.Output{
			Base: "model", Params: all, Dtype: export.StoredDtype(t.plan.dtype), Name: export.AsNamed,
		})
	}
	return list
}

// rehearseExport checks before the first step that the export at the end can succeed: the configuration can be made,
// and the disk has space for the export and for one checkpoint more than are kept.
func (t *trainer) rehearseExport() (done, error) {
	if _, err := t.config(); err != nil {
		return done{}, fmt.Errorf("export: %w", err)
	}
	need := t.exportBytes()
	for _, p := range t.model.Trainable() {
		need += checkpointBytes(p.Elements(), t.plan.stage.Save.Keep)
	}
	if err := checkpoints.NeedSpace(t.run.Dir, need); err != nil {
		return done{}, fmt.Errorf("checkpoints and export of this run: %w (the recipe's key runs)", err)
	}
	return done{}, nil
}

// exportBytes is the size of all weights that a finished run writes.
func (t *trainer) exportBytes() int64 {
	bytes := export.Size(t.projector().Infos())
	for _, o := range t.outputs() {
		bytes += export.Size(o.Infos())
	}
	return bytes
}

// notes are what the model's configuration records about the stage.
func (t *trainer) notes() model.ExportNotes {
	s := t.plan.stage
	return model.ExportNotes{Aspect: s.Image, Template: s.Template, Turn: s.Turn, MaxPixels: s.MaxPixels}
}

func (t *trainer) config() ([]byte, error) {
	return t.model.Config(t.recipe.Model, t.notes(), export.StoredDtype(t.plan.dtype))
}

// export writes the finished model.
func (t *trainer) export() (done, error) {
	finished, err := t.readMasters()
	if err != nil {
		return done{}, fmt.Errorf("export: %w", err)
	}
	defer finished()
	err = checkpoints.Publish(t.exportDir(), func(dir string) error {
		if err := t.writeProjector(dir); err != nil {
			return err
		}
		for _, o := range t.outputs() {
			if err := t.writeBeside(dir, o.Base); err != nil {
				return err
			}
			if err := o.Write(dir, t.report); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return done{}, fmt.Errorf("export: %w", err)
	}
	if exportsModel := len(t.outputs()) > 0; exportsModel && t.notes().Turns() {
		t.report.Say(export.TurnedText)
	}
	t.report.Say("finished: " + t.exportDir())
	return done{}, nil
}

// writeProjector writes the projector with the identities of the unchanged parts that it was trained with.
func (t *trainer) writeProjector(dir string) error {
	var tensors []checkpoints.Tensor
	projector := t.projector()
	err := torch.Do(func(s *torch.Scope) {
		for i, info := range projector.Infos() {
			values := torch.To(s, projector.Params[i].Value(s), torch.Float32)
			tensors = append(tensors, checkpoints.Tensor{Info: info, Data: values.Bytes()})
		}
	})
	if err != nil {
		return err
	}
	changed := slices.Collect(maps.Keys(t.plan.stage.Train))
	return checkpoints.WriteSafetensors(model.ProjectorFile(dir), t.model.Belongs(changed...), tensors)
}

// writeBeside writes the files that accompany a set of weights: those of a model's folder, or an adapter's
// configuration.
func (t *trainer) writeBeside(dir, base string) error {
	switch base {
	case "model":
		config, err := t.config()
		if err != nil {
			return err
		}
		return export.WriteFolder(t.data.Preprocessor, dir, config)
	case stem(model.AdapterFile):
		config, err := t.model.DescribeAdapters(t.recipe.Model.Language.Weights)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, model.AdapterConfig), config, 0o666); err != nil {
			return err
		}
		// the template, the images and the tower's layer, for when the folder is copied
		recipe, err := os.ReadFile(filepath.Join(t.run.Dir, runs.RecipeFile))
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, runs.RecipeFile), recipe, 0o666)
	}
	return nil
}
