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
)

const (
	partLanguage  = "language"
	partProjector = "projector"
	shardBytes    = 5 << 30 // the size that published models are cut to
)

func (t *trainer) exportDir() string { return filepath.Join(t.run.Dir, "export") }

// trainsPart says whether any weight of a part trains.
func (t *trainer) trainsPart(part string) bool {
	_, named := t.plan.stage.Train[part]
	return named
}

// exported lists what a finished run writes: always the projector in fp32; where anything but the projector trains, the whole model.
func (t *trainer) exported() (projector, all []checkpoints.Info) {
	for _, p := range t.model.Params.All() {
		if p.Part == partProjector {
			projector = append(projector, checkpoints.Info{Name: p.Name, Dtype: checkpoints.F32, Shape: p.Shape})
		}
		all = append(all, checkpoints.Info{Name: p.Name, Dtype: storedDtype(t.plan.dtype), Shape: p.Shape})
	}
	if !t.trainsPart(partLanguage) && !t.trainsPart("vision") {
		all = nil
	}
	return projector, all
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
	projector, all := t.exported()
	need := size(projector) + size(all)
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

func (t *trainer) config() ([]byte, error) {
	return t.model.Config(t.recipe.Model, model.ExportNotes{Aspect: t.plan.stage.Image, Template: t.plan.stage.Template})
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
		projector, all := t.exported()
		if err := t.writeProjector(dir, projector); err != nil || all == nil {
			return err
		}
		config, err := t.config()
		if err == nil {
			err = t.data.writeFolder(dir, config)
		}
		if err != nil {
			return err
		}
		return t.writeParams(dir, "model", all)
	})
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	t.report.Say("finished: " + t.exportDir())
	return nil
}

// writeProjector writes the projector with the identities of the parts that it was trained with and that have not changed.
func (t *trainer) writeProjector(dir string, infos []checkpoints.Info) error {
	var tensors []checkpoints.Tensor
	err := torch.Do(func(s *torch.Scope) {
		for _, info := range infos {
			p, _ := t.model.Params.Get(info.Name)
			tensors = append(tensors, checkpoints.Tensor{Info: info, Data: torch.To(s, p.Value(s), torch.Float32).Bytes()})
		}
	})
	if err != nil {
		return err
	}
	changed := slices.Collect(maps.Keys(t.plan.stage.Train))
	return checkpoints.WriteSafetensors(model.ProjectorFile(dir), t.model.Belongs(changed...), tensors)
}

// writeFolder writes what stands beside the weights of a model: configuration, image constants, tokenizer.
func (r *Reading) writeFolder(dir string, config []byte) error {
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

// writeParams writes parameters by name, one at a time.
func (t *trainer) writeParams(dir, base string, infos []checkpoints.Info) error {
	w, err := checkpoints.NewWriter(dir, base, shardBytes, infos)
	if err != nil {
		return err
	}
	for i, info := range infos {
		p, _ := t.model.Params.Get(info.Name)
		if err = writeParam(w, p, info.Dtype); err != nil {
			break
		}
		t.report.Progress("writing "+base, int64(i+1), int64(len(infos)))
	}
	return firstError(err, w.Close())
}

func writeParam(w *checkpoints.Writer, p *nn.Param, dtype checkpoints.Dtype) error {
	as := map[checkpoints.Dtype]torch.Dtype{checkpoints.F32: torch.Float32, checkpoints.BF16: torch.BFloat16}[dtype]
	var values []byte
	if err := torch.Do(func(s *torch.Scope) { values = torch.To(s, p.Value(s), as).Bytes() }); err != nil {
		return err
	}
	return w.Write(p.Name, values)
}
