package export

import (
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/data/tokenizer"
	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/train/input"
)

const shardBytes = 5 << 30 // the usual size of published models' files

// Output is a set of weights that a finished run writes.
type Output struct {
	Base   string // file name without extension
	Params []*nn.Param
	Dtype  checkpoints.Dtype
	Name   func(string) string // how the file spells a parameter
}

// AsNamed is the Name of an output whose file uses the parameters' own names.
func AsNamed(name string) string { return name }

// Select returns the parameters that keep holds for, in their order.
func Select(all []*nn.Param, keep func(*nn.Param) bool) (selected []*nn.Param) {
	for _, p := range all {
		if keep(p) {
			selected = append(selected, p)
		}
	}
	return selected
}

// Infos describes the tensors of the file.
func (o Output) Infos() (infos []checkpoints.Info) {
	for _, p := range o.Params {
		infos = append(infos, checkpoints.Info{Name: o.Name(p.Name), Dtype: o.Dtype, Shape: p.Shape})
	}
	return infos
}

// StoredDtype is the dtype that a model computed in d is written in: bf16 stays bf16, everything else is fp32.
func StoredDtype(d torch.Dtype) checkpoints.Dtype {
	if d == torch.BFloat16 {
		return checkpoints.BF16
	}
	return checkpoints.F32
}

// Size is the size of tensors in bytes.
func Size(infos []checkpoints.Info) (bytes int64) {
	for _, info := range infos {
		bytes += info.Bytes()
	}
	return bytes
}

// WriteFolder writes the files that accompany a model's weights: configuration, image processor, tokenizer.
func WriteFolder(p *input.Preprocessor, dir string, config []byte) error {
	if err := os.WriteFile(filepath.Join(dir, "config.json"), config, 0o666); err != nil {
		return err
	}
	for place, processor := range p.Processors {
		if err := os.WriteFile(filepath.Join(dir, picture.ProcessorFile(place)), processor.JSON(), 0o666); err != nil {
			return err
		}
	}
	file, fileName := p.Tokenizer.File()
	from := filepath.Dir(file)
	if err := copyGeneration(from, dir); err != nil {
		return err
	}
	for _, name := range []string{
		"tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "tokenizer.json",
	} {
		err := copyFile(filepath.Join(from, name), filepath.Join(dir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := copyFile(file, filepath.Join(dir, fileName)); err != nil {
		return err
	}
	if err := copyPieces(from, dir, fileName); err != nil {
		return err
	}
	return writeNewTokens(p, dir)
}

// copyPieces adds the tokenizer.model that stands beside the tokenizer.json in use, as in Phi-3's folders: llama.cpp's
// converter reads nothing else for some families. It is left out where it would be read in place of the tokenizer.json.
func copyPieces(from, to, used string) error {
	const pieces = "tokenizer.model"
	if used == pieces || !checkpoints.Exists(filepath.Join(from, pieces)) {
		return nil
	}
	added := filepath.Join(to, pieces)
	if err := copyFile(filepath.Join(from, pieces), added); err != nil {
		return err
	}
	if again, err := tokenizer.OpenTokenizer(to, "auto"); err == nil {
		if _, read := again.File(); read == used {
			return nil
		}
	}
	return os.Remove(added)
}

// unused are the keys of generation_config.json that do nothing without another key's value. Vicuna's has such keys,
// and transformers reads them but refuses to save them again, which ends a later training at its last step
// (GenerationConfig.validate in generation/configuration_utils.py).
var unused = []struct {
	keys []string
	when func(config object) bool
}{
	{[]string{"temperature", "top_p", "top_k", "min_p", "typical_p", "top_h", "epsilon_cutoff", "eta_cutoff"},
		func(config object) bool { return config["do_sample"] != true }},
	{[]string{"early_stopping", "length_penalty", "num_beam_groups", "diversity_penalty"},
		func(config object) bool {
			beams, given := config["num_beams"].(json.Number)
			return !given || beams == "1"
		}},
}

// copyGeneration copies generation_config.json, where there is one, without the keys that do nothing.
func copyGeneration(from, to string) error {
	const name = "generation_config.json"
	config, err := readObject(filepath.Join(from, name))
	if err != nil || len(config) == 0 {
		return err
	}
	found := false
	for _, u := range unused {
		for _, key := range u.keys {
			if _, given := config[key]; given && u.when(config) {
				delete(config, key)
				found = true
			}
		}
	}
	if !found {
		return copyFile(filepath.Join(from, name), filepath.Join(to, name))
	}
	text, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(to, name), text, 0o666)
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return failure.Input(err)
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return cmp.Or(err, out.Close())
}

// Write writes the parameters into files in dir, one at a time.
func (o Output) Write(dir string, report runs.Observer) error {
	infos := o.Infos()
	w, err := checkpoints.NewWriter(dir, o.Base, shardBytes, infos)
	if err != nil {
		return err
	}
	for i, p := range o.Params {
		if err = writeParam(w, infos[i], p); err != nil {
			break
		}
		report.Progress("writing "+o.Base, int64(i+1), int64(len(infos)))
	}
	return cmp.Or(err, w.Close())
}

func writeParam(w *checkpoints.Writer, info checkpoints.Info, p *nn.Param) error {
	dtypes := map[checkpoints.Dtype]torch.Dtype{checkpoints.F32: torch.Float32, checkpoints.BF16: torch.BFloat16}
	var values []byte
	err := torch.Do(func(s *torch.Scope) { values = torch.To(s, p.Value(s), dtypes[info.Dtype]).Bytes() })
	if err != nil {
		return err
	}
	return w.Write(info.Name, values)
}
