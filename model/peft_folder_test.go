package model

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/recipes"
)

// wave is a tensor of small values that all differ.
func wave(shape ...int64) checkpoints.Tensor {
	t := zeros("", shape...)
	for i := range len(t.Data) / 4 {
		binary.LittleEndian.PutUint32(t.Data[4*i:], math.Float32bits(float32(math.Sin(float64(3*i+1)))/4))
	}
	return t
}

// integers is a tensor that cannot be a weight.
func integers(shape ...int64) checkpoints.Tensor {
	t := zeros("", shape...)
	t.Dtype = "I32"
	return t
}

// floats are the values of a tensor.
func floats(t *testing.T, tensor checkpoints.Tensor) []float32 {
	t.Helper()
	values, err := tensor.Float32s()
	if err != nil {
		t.Fatal(err)
	}
	return values
}

// writeAdapters makes a folder of adapters beside the language model in base.
func writeAdapters(t *testing.T, config object, files map[string]map[string]checkpoints.Tensor) (dir string) {
	t.Helper()
	dir = t.TempDir()
	text, err := json.Marshal(config)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, AdapterConfig), text, 0o666)
	}
	for name, tensors := range files {
		from := filepath.Join(writeFolder(t, nil, tensors), "model.safetensors")
		if err == nil {
			err = os.Rename(from, filepath.Join(dir, name))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

const adaptedModule = "model.layers.1.self_attn.v_proj"

// A folder of adapters is the model that its base and the adapters make: W + alpha/r B A, and what else was trained as
// it is.
func TestAFolderOfAdaptersIsRead(t *testing.T) {
	source := openModel(t, tinyRecipe(t, tinyLanguage, tinyVision), OpenOptions{Seed: 1})
	r := tinyFolders(t, source)
	base, weight := r.Language.Weights, tensors(t, source, recipes.PartLanguage)[adaptedModule+".weight"]
	out, in := weight.Shape[0], weight.Shape[1]
	const rank = 3
	a, b := wave(rank, in), wave(out, rank)
	norm := wave(tensors(t, source, recipes.PartLanguage)["model.norm.weight"].Shape...)
	for name, c := range map[string]struct {
		config object
		scale  float64
	}{
		"alpha over rank": {object{"lora_alpha": 6}, 2},
		"a pattern":       {object{"lora_alpha": 6, "alpha_pattern": object{"self_attn.v_proj": 9}}, 3},
		"rank stabilised": {object{"lora_alpha": 6, "use_rslora": true}, 6 / math.Sqrt(rank)},
	} {
		c.config["peft_type"], c.config["base_model_name_or_path"], c.config["bias"] = "LORA", base, "none"
		r.Language.Weights = writeAdapters(t, c.config, map[string]map[string]checkpoints.Tensor{
			AdapterFile: {
				peftPrefix + adaptedModule + ".lora_A.weight": a, peftPrefix + adaptedModule + ".lora_B.weight": b,
			},
			OthersFile: {peftPrefix + "model.norm.weight": norm},
		})
		m := openModel(t, r, OpenOptions{})
		want, got := values(t, source), values(t, m)
		want["model.norm.weight"] = floats(t, norm)
		addProduct(t, want[adaptedModule+".weight"], c.scale, b, a)
		for parameter := range want {
			for i, x := range want[parameter] {
				if math.Abs(float64(x-got[parameter][i])) > 1e-6 {
					t.Fatalf("%s: %s[%d] is %v, want %v", name, parameter, i, got[parameter][i], x)
				}
			}
		}
		contents, err := Inspect(r, OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		e, err := contents.Export(ExportOptions{Format: "llava", Dtype: checkpoints.F32})
		if err != nil {
			t.Fatal(err)
		}
		for i, info := range e.Tensors {
			if info.Name != adaptedModule+".weight" {
				continue
			}
			data, err := e.Read(i)
			if err != nil {
				t.Fatal(err)
			}
			for k, x := range floats(t, checkpoints.Tensor{Info: info, Data: data}) {
				if x != got[info.Name][k] {
					t.Fatalf("%s: exported %s[%d] is %v, opened %v", name, info.Name, k, x, got[info.Name][k])
				}
			}
		}
		contents.Close()
	}
}

// What the sum cannot be made from is refused by name.
func TestAdaptersThatAreRefused(t *testing.T) {
	source := openModel(t, tinyRecipe(t, tinyLanguage, tinyVision), OpenOptions{Seed: 1})
	r := tinyFolders(t, source)
	base := r.Language.Weights
	shape := tensors(t, source, recipes.PartLanguage)[adaptedModule+".weight"].Shape
	good := map[string]checkpoints.Tensor{
		peftPrefix + adaptedModule + ".lora_A.weight": wave(2, shape[1]),
		peftPrefix + adaptedModule + ".lora_B.weight": wave(shape[0], 2),
	}
	for name, c := range map[string]struct {
		config object
		file   map[string]checkpoints.Tensor
		want   string
	}{
		"another kind": {object{"peft_type": "IA3"}, good, `peft_type "IA3"; only LORA is supported`},
		"DoRA":         {object{"use_dora": true}, good, "use_dora true is not supported: merge"},
		"biases":       {object{"bias": "all"}, good, `bias "all" is not supported`},
		"another base": {object{"base_model_name_or_path": "/none"}, good, "name its folder with --base"},
		"no file":      {object{}, nil, "but none of adapter_model.safetensors, adapter_model.bin"},
		"another width": {object{}, map[string]checkpoints.Tensor{
			peftPrefix + adaptedModule + ".lora_A.weight": wave(2, shape[1]+1),
			peftPrefix + adaptedModule + ".lora_B.weight": wave(shape[0], 2)}, "shape: adapter of " + adaptedModule},
		"half an adapter": {object{}, map[string]checkpoints.Tensor{
			peftPrefix + adaptedModule + ".lora_B.weight": wave(shape[0], 2)}, "shape: adapter of " + adaptedModule},
		"whole numbers": {object{}, map[string]checkpoints.Tensor{
			peftPrefix + adaptedModule + ".lora_A.weight": integers(2, shape[1]),
			peftPrefix + adaptedModule + ".lora_B.weight": wave(shape[0], 2)}, "is I32; weights are F32, F16"},
		"of another model": {object{}, map[string]checkpoints.Tensor{
			peftPrefix + "model.layers.9.self_attn.v_proj.lora_A.weight": wave(2, 8)},
			"model.layers.9.self_attn.v_proj.lora_A.weight, for which the model has no weight"},
	} {
		config := object{"peft_type": "LORA", "base_model_name_or_path": base, "lora_alpha": 4}
		files := map[string]map[string]checkpoints.Tensor{}
		if c.file != nil {
			files[AdapterFile] = c.file
		}
		r.Language.Weights = writeAdapters(t, config.with(c.config), files)
		if message := openFails(t, r, OpenOptions{}); !strings.Contains(message, c.want) {
			t.Errorf("%s: %s, want %q", name, message, c.want)
		}
	}
	r.Language.Weights, r.Language.Base = writeAdapters(
		t,
		object{"peft_type": "LORA", "base_model_name_or_path": "/none",
			"lora_alpha": 4},
		map[string]map[string]checkpoints.Tensor{AdapterFile: good},
	), base
	openModel(t, r, OpenOptions{})
}

// What stands before a projector's or a language model's names does not matter; a file of something else is described.
func TestPrefixesInFiles(t *testing.T) {
	source := openModel(t, tinyRecipe(t, tinyLanguage, tinyVision), OpenOptions{Seed: 1})
	r := tinyFolders(t, source)
	own := r
	renamed := func(part string, rename func(string) string) map[string]checkpoints.Tensor {
		files := map[string]checkpoints.Tensor{}
		for name, tensor := range tensors(t, source, part) {
			files[rename(name)] = tensor
		}
		return files
	}
	for _, prefix := range []string{
		"mm_projector.", "module.model.mm_projector.", "base_model.model.model.mm_projector.", "",
	} {
		r.Projector.Weights = writeFolder(t, nil, renamed(recipes.PartProjector, func(name string) string {
			return prefix + strings.TrimPrefix(name, projectorPrefix)
		}))
		m := openModel(t, r, OpenOptions{Seed: 2})
		if got := values(t, m)[projectorPrefix+"0.weight"]; got[0] != values(t, source)[projectorPrefix+"0.weight"][0] {
			t.Errorf("projector with prefix %q is not read", prefix)
		}
	}
	r = own
	for _, prefix := range []string{"module.", "_orig_mod.", "base_model.model."} {
		r.Language.Weights = writeFolder(t, tinyLanguage, renamed(recipes.PartLanguage, func(name string) string {
			return prefix + name
		}))
		m := openModel(t, r, OpenOptions{Seed: 2})
		if got := values(t, m)["model.norm.weight"]; got[0] != values(t, source)["model.norm.weight"][0] {
			t.Errorf("language model with prefix %q is not read", prefix)
		}
	}
	r = own
	for want, files := range map[string]map[string]checkpoints.Tensor{
		"holds mm_projector.weight [8 6]: set model.projector.type: linear": {"mm_projector.weight": zeros("", 8, 6)},
		"holds a.weight [8 6], b.weight [8 6]": {
			"a.weight": zeros("", 8, 6), "b.weight": zeros("", 8, 6)},
	} {
		r.Projector.Weights = writeFolder(t, nil, files)
		if message := openFails(t, r, OpenOptions{}); !strings.Contains(message, want) {
			t.Errorf("%s, want %q", message, want)
		}
	}
}

// A folder that is no model's is named, with what to do.
func TestOtherFoldersAreNamed(t *testing.T) {
	for mark, want := range map[string]string{
		checkpoints.StateFile: "is a checkpoint of a run", "recipe.yaml": "is a run folder",
		"finetune/recipe.yaml": "is the folder of a run's stages", "zero_to_fp32.py": "is a checkpoint of DeepSpeed",
		"trainer_state.json":    "is a checkpoint of transformers' Trainer",
		"adapter_model.bin":     "holds adapters without adapter_config.json",
		"pytorch_model.bin/x":   "is a folder, not a file",
		"model.safetensors/any": "is a folder, not a file",
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, filepath.FromSlash(mark))
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o666); err != nil {
			t.Fatal(err)
		}
		r := recipes.Model{Vision: recipes.Vision{Weights: dir}, Language: recipes.Language{Weights: dir}}
		if message := openFails(t, r, OpenOptions{}); strings.Count(message, want) != 2 {
			t.Errorf("%s: %s, want %q of both parts", mark, message, want)
		}
	}
}
