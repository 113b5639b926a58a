package main

import (
	"encoding/json"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/checkpoints"
)

// exported is the folder of a whole model after one step of both stages, and a recipe that starts from it.
func exported(t *testing.T) (folder, recipe string) {
	t.Helper()
	dir := world(t)
	rows := rowsWorld(t, dir, pictureRow("finetune-00000.png"))
	command(t, 0, "finetune", rows, set("finetune.steps", 1), set("finetune.train.language.lr", 1e-3),
		set("runs", "made"))
	folder = filepath.Join(dir, "made", "rows", "finetune", "export")
	recipe = filepath.Join(dir, "folder.yaml")
	text := strings.ReplaceAll(rowsRecipe, "vision: {config: base/tower.json", "vision: {weights: "+folder)
	text = strings.ReplaceAll(text, "language: {config: base/language.json, tokenizer: {path: base}",
		"language: {weights: "+folder)
	write(t, recipe, text)
	return folder, recipe
}

// copyFolder copies a model folder and returns its tensors by name.
func copyFolder(t *testing.T, from string) (to string, tensors map[string]checkpoints.Tensor) {
	t.Helper()
	to = t.TempDir()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	w := openWeights(t, filepath.Join(from, "model.safetensors"))
	tensors = map[string]checkpoints.Tensor{}
	for _, name := range w.Names() {
		tensor, err := w.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		tensors[name] = tensor
	}
	return to, tensors
}

func writeTensors(t *testing.T, path string, tensors map[string]checkpoints.Tensor) {
	t.Helper()
	if err := checkpoints.WriteSafetensors(path, nil, slices.Collect(maps.Values(tensors))); err != nil {
		t.Fatal(err)
	}
}

func zeros(name string, shape ...int64) checkpoints.Tensor {
	info := checkpoints.Info{Name: name, Dtype: checkpoints.F32, Shape: shape}
	return checkpoints.Tensor{Info: info, Data: make([]byte, info.Bytes())}
}

// Everything that is wrong with a folder's tensors is reported at once.
func TestWeightsThatDoNotFit(t *testing.T) {
	folder, recipe := exported(t)
	runs := t.TempDir()
	broken, tensors := copyFolder(t, folder)
	delete(tensors, "model.layers.1.mlp.up_proj.weight")
	delete(tensors, "model.norm.weight")
	tensors["lm_head.weight"] = zeros("lm_head.weight", 692, 64)
	tensors["model.layers.4.self_attn.q_proj.weight"] = zeros("model.layers.4.self_attn.q_proj.weight", 128, 128)
	writeTensors(t, filepath.Join(broken, "model.safetensors"), tensors)
	complain(t, 2, []string{
		"weights do not fit the model",
		"missing: model.layers.1.mlp.up_proj.weight [352 128] (in " + broken + ")",
		"missing: model.norm.weight [128]",
		"shape: lm_head.weight is [692 64], the model needs [692 128]",
		"extra: model.layers.4.self_attn.q_proj.weight",
	}, "finetune", recipe, set("model.language.weights", broken), "--runs", filepath.Join(runs, "runs"))
	requireNoRun(t, filepath.Join(runs, "runs"))
	// the corrected run needs no flag
	complain(t, 0, nil, "finetune", recipe, "--stop-at=1", "--runs", filepath.Join(runs, "runs"))
}

func TestBadFolders(t *testing.T) {
	folder, recipe := exported(t)
	without := func(names ...string) string {
		dir, _ := copyFolder(t, folder)
		for _, name := range names {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	noConfig, noTokenizer := without("config.json"), without("tokenizer.model")
	noWeights := without("model.safetensors", "mm_projector.safetensors")
	torn := without()
	write(t, filepath.Join(torn, "model.safetensors"), "{}")
	projector := filepath.Join(folder, "mm_projector.safetensors")
	for _, c := range []struct{ name, change, want string }{
		{"no folder", set("model.language.weights", "/nowhere/vicuna"),
			`model.language.weights: no folder "/nowhere/vicuna"`},
		{"a file", set("model.vision.weights", projector), "is a file; name the folder"},
		{"no tower folder", set("model.vision.weights", "/nowhere/clip"),
			`model.vision.weights: no folder "/nowhere/clip"`},
		{"no config.json", set("model.language.weights", noConfig), "model.language: open " +
			filepath.Join(noConfig, "config.json")},
		{"no tower config.json", set("model.vision.weights", noConfig), "model.vision: open " +
			filepath.Join(noConfig, "config.json")},
		{"no weights", set("model.language.weights", noWeights), "contains none of model.safetensors.index.json"},
		{"torn weights", set("model.language.weights", torn), filepath.Join(torn, "model.safetensors")},
		{"no tokenizer", set("model.language.weights", noTokenizer),
			"contains neither tokenizer.model (SentencePiece, as in Llama and Vicuna) nor tokenizer.json"},
		{"projector of another type", set("model.projector", "{type: linear, weights: "+projector+"}"),
			"missing: model.mm_projector.weight [128 128]"},
		{"deeper projector", set("model.projector", "{type: mlp3x_gelu, weights: "+projector+"}"),
			"missing: model.mm_projector.4.weight [128 128]"},
		{"no projector file", set("model.projector.weights", "/nowhere/p.safetensors"), "model.projector.weights: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			runs := filepath.Join(t.TempDir(), "runs")
			complain(t, 2, []string{c.want}, "finetune", recipe, c.change, "--runs", runs)
			requireNoRun(t, runs)
		})
	}
}

// Whatever is wrong with a model's files, every command that reads them reports the same, exits with 2 and leaves
// nothing behind.
func TestBadModelFiles(t *testing.T) {
	folder, recipe := exported(t)
	_, tensors := copyFolder(t, folder)
	const weights, index = "model.safetensors", "model.safetensors.index.json"
	file := func(name, text string) func(*testing.T, string) {
		return func(t *testing.T, dir string) { write(t, filepath.Join(dir, name), text) }
	}
	config := func(key string, value any) func(*testing.T, string) {
		return func(t *testing.T, dir string) { edit(t, filepath.Join(dir, "config.json"), map[string]any{key: value}) }
	}
	with := func(tensor checkpoints.Tensor) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			changed := maps.Clone(tensors)
			changed[tensor.Name] = tensor
			writeTensors(t, filepath.Join(dir, weights), changed)
		}
	}
	pickled := func(name string) func(*testing.T, string) {
		return func(t *testing.T, dir string) { // by content, whatever the name
			write(t, filepath.Join(dir, weights),
				string(read(t, filepath.Join("..", "..", "checkpoints", "testdata", name))))
		}
	}
	for name, c := range map[string]struct {
		spoil func(t *testing.T, dir string)
		want  []string
	}{
		"weights cut short": {func(t *testing.T, dir string) {
			if err := os.Truncate(filepath.Join(dir, weights), 100_000); err != nil {
				t.Fatal(err)
			}
		}, []string{weights, "truncated; download or copy it again"}},
		"header of more than 100 MB": {file(weights, "\x01\xe1\xf5\x05\x00\x00\x00\x00{"),
			[]string{weights, "header of 100000001 bytes, more than the limit of 100000000"}},
		"other class in a pickle": {pickled("torch_other_class.bin"),
			[]string{weights, `refused to run "Fraction" of "fractions"`}},
		"pickle before PyTorch 1.6": {pickled("torch_before_1_6.bin"),
			[]string{weights, "written by PyTorch before 1.6", "save it again"}},
		"index without its shard": {file(index, `{"weight_map":{"a":"gone.safetensors"}}`),
			[]string{index, "gone.safetensors: no such file", "download it again"}},
		"index that leads up": {file(index, `{"weight_map":{"a":"../s"}}`),
			[]string{index, `"../s" is not the plain name of a file in this folder`}},
		"index that leads away": {file(index, `{"weight_map":{"a":"/etc/passwd"}}`),
			[]string{index, `"/etc/passwd" is not the plain name`}},
		"index with a link away": {func(t *testing.T, dir string) {
			file(index, `{"weight_map":{"a":"s"}}`)(t, dir)
			if err := os.Symlink("/etc/passwd", filepath.Join(dir, "s")); err != nil {
				t.Fatal(err)
			}
		}, []string{index, `is a link out of the folder, to "/etc/passwd"`}},
		"a tensor of integers": {with(checkpoints.Tensor{Info: checkpoints.Info{Name: "model.norm.weight", Dtype: "I32",
			Shape: []int64{128}}, Data: make([]byte, 512)}),
			[]string{"dtype: model.norm.weight is I32; weights are F32, F16, BF16 or F64 (in "}},
		"projector of another model": {with(zeros("model.mm_projector.0.bias", 64)),
			[]string{"shape: model.mm_projector.0.bias is [64], the model needs [128] (in "}},
		"vocabulary of another model": {file("added_tokens.json", `{"<far>": 700}`),
			[]string{"the tokenizer has 701 pieces, but the language model's embedding only 692 rows",
				"model.language.tokenizer.path"}},
		"no tokenizer": {func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "tokenizer.model")); err != nil {
				t.Fatal(err)
			}
		}, []string{"contains neither tokenizer.model (SentencePiece, as in Llama and Vicuna) nor tokenizer.json"}},
		"model_type": {config("model_type", "llava_mpt"),
			[]string{`model_type must be one of llama, mistral, phi3, qwen2, qwen3, not "llava_mpt"`}},
		"rope_type": {config("rope_scaling", map[string]any{"type": "yarn", "factor": 2}),
			[]string{`rope_type must be one of default, linear, llama3, not "yarn"`}},
		"delta weights": {file("README.md", `This "delta model" cannot be used directly.`),
			[]string{"holds delta weights, according to its README.md", "use a release with merged weights"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir, _ := copyFolder(t, folder)
			c.spoil(t, dir)
			runs, out := filepath.Join(t.TempDir(), "runs"), filepath.Join(t.TempDir(), "out")
			complain(t, 2, c.want, "finetune", recipe, set("model.language.weights", dir), "--runs", runs)
			complain(t, 2, c.want, "check", recipe, set("model.language.weights", dir), set("runs", runs))
			complain(t, 2, c.want, "export", dir, "--format", "llava", "--out", out)
			complain(t, 2, c.want, "generate", dir, "--prompt", "x")
			requireNoRun(t, runs)
			requireNoRun(t, out)
		})
	}
}

// A projector made for another language model has different shapes.
func TestProjectorOfAnotherModel(t *testing.T) {
	dir := world(t)
	recipe := rowsWorld(t, dir, pictureRow("finetune-00000.png"))
	other := filepath.Join(dir, "other.safetensors")
	writeTensors(t, other, map[string]checkpoints.Tensor{
		"a": zeros("model.mm_projector.0.weight", 64, 128), "b": zeros("model.mm_projector.0.bias", 64),
		"c": zeros("model.mm_projector.2.weight", 64, 64), "d": zeros("model.mm_projector.2.bias", 64),
	})
	complain(t, 2, []string{"shape: model.mm_projector.0.weight is [64 128], the model needs [128 128]",
		"shape: model.mm_projector.2.bias is [64]"},
		"finetune", recipe, set("model.projector.weights", other))
	requireNoRun(t, filepath.Join(dir, "runs"))
}

func TestTokenizerBiggerThanEmbedding(t *testing.T) {
	dir := world(t)
	recipe := rowsWorld(t, dir, pictureRow("finetune-00000.png"))
	var config map[string]any
	if err := json.Unmarshal(read(t, filepath.Join(dir, "base", "language.json")), &config); err != nil {
		t.Fatal(err)
	}
	config["vocab_size"] = 600
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "base", "small.json"), string(text))
	complain(t, 2, []string{"the tokenizer has 692 pieces, but the language model's embedding only 600 rows"},
		"finetune", recipe, set("model.language.config", "base/small.json"))
	requireNoRun(t, filepath.Join(dir, "runs"))
}

// nanProjector is a projector file with one value that is not a number.
func nanProjector(t *testing.T, dir string) string {
	t.Helper()
	bias := zeros("model.mm_projector.2.bias", 128)
	copy(bias.Data, []byte{0, 0, 0xc0, 0x7f}) // a NaN, little endian
	if values, err := bias.Float32s(); err != nil || !math.IsNaN(float64(values[0])) {
		t.Fatal("not a NaN", err)
	}
	path := filepath.Join(dir, "nan.safetensors")
	writeTensors(t, path, map[string]checkpoints.Tensor{
		"a": zeros("model.mm_projector.0.weight", 128, 128), "b": zeros("model.mm_projector.0.bias", 128),
		"c": zeros("model.mm_projector.2.weight", 128, 128), "d": bias,
	})
	return path
}
