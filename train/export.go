package train

import (
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
)

const shardBytes = 5 << 30 // the size that published models are cut to

func (t *trainer) exportDir() string { return filepath.Join(t.run.Dir, "export") }

// trainsPart says whether any weight of a part trains.
func (t *trainer) trainsPart(part string) bool {
	_, named := t.plan.stage.Train[part]
	return named
}

// output is a set of weights that a finished run writes.
type output struct {
	base   string // file name, without its ending
	params []*nn.Param
	dtype  checkpoints.Dtype
	name   func(string) string // how the file spells a parameter
}

func asNamed(name string) string { return name }

// projector is in fp32, without adapters.
func (t *trainer) projector() output {
	weights := choose(t.model.Params.All(), func(p *nn.Param) bool { return p.Part == recipes.PartProjector && !p.Adapter })
	return output{"mm_projector", weights, checkpoints.F32, asNamed}
}

// outputs are what a finished run writes beside the projector. A stage with adapters leaves those, in fp32, and whatever else it
// trained; another stage in which anything but the projector trains the whole model.
func (t *trainer) outputs() (list []output) {
	all := t.model.Params.All()
	switch {
	case len(t.plan.lora) > 0:
		list = append(list, output{stem(model.AdapterFile), choose(all, func(p *nn.Param) bool { return p.Adapter }), checkpoints.F32, model.AdapterName})
		others := choose(all, func(p *nn.Param) bool { return p.Trainable && !p.Adapter && p.Part != recipes.PartProjector })
		if len(others) > 0 {
			list = append(list, output{stem(model.OthersFile), others, checkpoints.F32, asNamed})
		}
	case t.trainsPart(recipes.PartLanguage) || t.trainsPart(recipes.PartVision):
		list = append(list, output{"model", all, storedDtype(t.plan.dtype), asNamed})
	}
	return list
}

func choose(all []*nn.Param, wanted func(*nn.Param) bool) (chosen []*nn.Param) {
	for _, p := range all {
		if wanted(p) {
			chosen = append(chosen, p)
		}
	}
	return chosen
}

func (o output) infos() (infos []checkpoints.Info) {
	for _, p := range o.params {
		infos = append(infos, checkpoints.Info{Name: o.name(p.Name), Dtype: o.dtype, Shape: p.Shape})
	}
	return infos
}

func storedDtype(d torch.Dtype) checkpoints.Dtype {
	if d == torch.BFloat16 {
		return checkpoints.BF16
	}
	return checkpoints.F32
}

// rehearseExport makes sure before the first step that the last thing the run does can succeed: the configuration can be written, and
// the disk has room for the export and for one checkpoint more than are kept.
func (t *trainer) rehearseExport() error {
	if _, err := t.config(); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	need := t.exportBytes()
	for _, p := range t.model.Trainable() {
		need += checkpointBytes(p.Elements(), t.plan.stage.Save.Keep)
	}
	free, err := checkpoints.FreeSpace(t.run.Dir)
	if err != nil {
		return fmt.Errorf("%w: %w", checkpoints.ErrStorage, err)
	}
	if free < need {
		return fmt.Errorf("%w: %s has %d MB free; the checkpoints and the export of this run need %d MB. Free some, or set runs to another disk",
			checkpoints.ErrStorage, t.run.Dir, free>>20, need>>20)
	}
	return nil
}

// exportBytes is the size of all weights that a finished run writes.
func (t *trainer) exportBytes() int64 {
	bytes := size(t.projector().infos())
	for _, o := range t.outputs() {
		bytes += size(o.infos())
	}
	return bytes
}

func (t *trainer) config() ([]byte, error) {
	return t.model.Config(t.recipe.Model, model.ExportNotes{Aspect: t.plan.stage.Image, Template: t.plan.stage.Template}, storedDtype(t.plan.dtype))
}

func size(infos []checkpoints.Info) (bytes int64) {
	for _, info := range infos {
		bytes += info.Bytes()
	}
	return bytes
}

// export writes the finished model.
func (t *trainer) export() error {
	err := checkpoints.Publish(t.exportDir(), func(dir string) error {
		if err := t.writeProjector(dir); err != nil {
			return err
		}
		for _, o := range t.outputs() {
			if err := t.writeBeside(dir, o.base); err != nil {
				return err
			}
			if err := o.write(dir, t.report); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	t.report.Say("finished: " + t.exportDir())
	return nil
}

// writeProjector writes the projector with the identities of the parts that it was trained with and that have not changed.
func (t *trainer) writeProjector(dir string) error {
	var tensors []checkpoints.Tensor
	projector := t.projector()
	err := torch.Do(func(s *torch.Scope) {
		for i, info := range projector.infos() {
			tensors = append(tensors, checkpoints.Tensor{Info: info, Data: torch.To(s, projector.params[i].Value(s), torch.Float32).Bytes()})
		}
	})
	if err != nil {
		return err
	}
	changed := slices.Collect(maps.Keys(t.plan.stage.Train))
	return checkpoints.WriteSafetensors(model.ProjectorFile(dir), t.model.Belongs(changed...), tensors)
}

// writeBeside writes what describes a set of weights: a model's folder, or an adapter's configuration.
func (t *trainer) writeBeside(dir, base string) error {
	switch base {
	case "model":
		config, err := t.config()
		if err != nil {
			return err
		}
		return writeFolder(t.data.Reading, dir, config)
	case stem(model.AdapterFile):
		config, err := t.model.DescribeAdapters(t.recipe.Model.Language.Weights)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, model.AdapterConfig), config, 0o666)
	}
	return nil
}

// writeFolder writes what stands beside the weights of a model: configuration, image constants, tokenizer.
func writeFolder(r *Reading, dir string, config []byte) error {
	if err := os.WriteFile(filepath.Join(dir, "config.json"), config, 0o666); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "preprocessor_config.json"), r.Processor.JSON(), 0o666); err != nil {
		return err
	}
	tokenizer, tokenizerName := r.Tokenizer.File()
	from := filepath.Dir(tokenizer)
	for _, name := range []string{"tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "generation_config.json", "tokenizer.json"} {
		if err := copyFile(filepath.Join(from, name), filepath.Join(dir, name)); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return copyFile(tokenizer, filepath.Join(dir, tokenizerName))
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return firstError(err, out.Close())
}

// write writes the parameters, one at a time.
func (o output) write(dir string, report Report) error {
	infos := o.infos()
	w, err := checkpoints.NewWriter(dir, o.base, shardBytes, infos)
	if err != nil {
		return err
	}
	for i, p := range o.params {
		if err = writeParam(w, infos[i], p); err != nil {
			break
		}
		report.Progress("writing "+o.base, int64(i+1), int64(len(infos)))
	}
	return firstError(err, w.Close())
}

func writeParam(w *checkpoints.Writer, info checkpoints.Info, p *nn.Param) error {
	as := map[checkpoints.Dtype]torch.Dtype{checkpoints.F32: torch.Float32, checkpoints.BF16: torch.BFloat16}[info.Dtype]
	var values []byte
	if err := torch.Do(func(s *torch.Scope) { values = torch.To(s, p.Value(s), as).Bytes() }); err != nil {
		return err
	}
	return w.Write(info.Name, values)
}
