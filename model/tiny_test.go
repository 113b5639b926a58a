package model

import (
	"encoding/json"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/model/torch/torchtest"
	"github.com/llavatrain/llavatrain/recipes"
)

// object is a config.json.
type object map[string]any

// with is o with other values; nil takes a key away.
func (o object) with(changes object) object {
	out := maps.Clone(o)
	for key, value := range changes {
		if out[key] = value; value == nil {
			delete(out, key)
		}
	}
	return out
}

// A model of a thousand values: 2 layers with grouped queries, 11 words, 32 positions; a tower of 3 layers and 4
// patches.
var (
	tinyLanguage = object{"model_type": "llama", "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2,
		"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 11, "max_position_embeddings": 32,
		"initializer_range": 0.5}
	tinyVision = object{"model_type": "clip_vision_model", "hidden_size": 6, "intermediate_size": 10,
		"num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 4, "patch_size": 2}
)

const tinyPatches, tinyPixels = 4, 3 * 4 * 4

func writeConfig(t *testing.T, dir string, config object) (path string) {
	t.Helper()
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(dir, "config.json")
	if err := os.WriteFile(path, text, 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

// tinyRecipe is a model with random weights.
func tinyRecipe(t *testing.T, language, vision object) recipes.Model {
	t.Helper()
	return recipes.Model{
		Vision:    recipes.Vision{Config: writeConfig(t, t.TempDir(), vision), SelectLayer: -2, SelectFeature: "patch"},
		Projector: recipes.Projector{Type: "mlp2x_gelu"},
		Language:  recipes.Language{Config: writeConfig(t, t.TempDir(), language)},
	}
}

// openModel opens a model on the CPU, in fp32 unless the options say otherwise, and frees it at the test's end.
func openModel(t *testing.T, r recipes.Model, o OpenOptions) *LLaVA {
	t.Helper()
	torchtest.NoLeaks(t)
	o = onCPU(o)
	m, err := Open(r, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Free)
	return m
}

func onCPU(o OpenOptions) OpenOptions {
	o.Device, o.Dtype = torch.CPU, orDefault(o.Dtype, torch.Float32)
	if o.Normalization == nil {
		o.Normalization = clipTable()
	}
	return o
}

// openFails wants an error from Open, and nothing left behind.
func openFails(t *testing.T, r recipes.Model, o OpenOptions) string {
	t.Helper()
	torchtest.NoLeaks(t)
	m, err := Open(r, onCPU(o))
	if err == nil {
		m.Free()
		t.Fatal("the model opened")
	}
	return err.Error()
}

// values are all of a model's parameters, in fp32.
func values(t *testing.T, m *LLaVA) map[string][]float32 {
	t.Helper()
	out := map[string][]float32{}
	do(t, func(s *torch.Scope) {
		for _, p := range m.Params.All() {
			out[p.Name] = torch.Read[float32](torch.To(s, p.Value(s), torch.Float32))
		}
	})
	return out
}

// tensors are the parameters of one part of a model ("" for all), as files hold them.
func tensors(t *testing.T, m *LLaVA, part string) map[string]checkpoints.Tensor {
	t.Helper()
	out := map[string]checkpoints.Tensor{}
	do(t, func(s *torch.Scope) {
		for _, p := range m.Params.All() {
			if part == "" || p.Part == part {
				out[p.Name] = checkpoints.Tensor{Info: checkpoints.Info{Name: p.Name, Dtype: checkpoints.F32,
					Shape: p.Shape}, Data: p.Value(s).Bytes()}
			}
		}
	})
	return out
}

// zeros is a tensor of an F32 file.
func zeros(name string, shape ...int64) checkpoints.Tensor {
	info := checkpoints.Info{Name: name, Dtype: checkpoints.F32, Shape: shape}
	return checkpoints.Tensor{Info: info, Data: make([]byte, info.Bytes())}
}

// writeFolder makes a folder of a configuration and weights; each tensor goes by its key.
func writeFolder(t *testing.T, config object, weights map[string]checkpoints.Tensor) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if config != nil {
		writeConfig(t, dir, config)
	}
	var list []checkpoints.Tensor
	for _, name := range slices.Sorted(maps.Keys(weights)) {
		tensor := weights[name]
		tensor.Name = name
		list = append(list, tensor)
	}
	if err := checkpoints.WriteSafetensors(filepath.Join(dir, "model.safetensors"), nil, list); err != nil {
		t.Fatal(err)
	}
	return dir
}

// tinyFolders are the three parts of a random model as folders, and the recipe that opens them.
func tinyFolders(t *testing.T, source *LLaVA) recipes.Model {
	t.Helper()
	return recipes.Model{
		Vision: recipes.Vision{Weights: writeFolder(t, tinyVision, tensors(t, source, recipes.PartVision)),
			SelectLayer: -2, SelectFeature: "patch"},
		Projector: recipes.Projector{Type: "mlp2x_gelu",
			Weights: writeFolder(t, nil, tensors(t, source, recipes.PartProjector))},
		Language: recipes.Language{Weights: writeFolder(t, tinyLanguage, tensors(t, source, recipes.PartLanguage))},
	}
}

// flat is samples end to end; -1 stands for a picture, whose pixels follow from its number.
func flat(samples ...[]int64) (in Input) {
	in.Starts = []int64{0}
	for _, sample := range samples {
		first := len(in.IDs)
		for _, id := range sample {
			if id >= 0 {
				in.IDs = append(in.IDs, id)
				continue
			}
			picture := len(in.PictureSamples)
			in.PictureSamples = append(in.PictureSamples, len(in.Starts)-1)
			for i := range tinyPixels {
				in.Pixels = append(in.Pixels, uint8(37*i+101*len(sample)))
			}
			for patch := range tinyPatches {
				in.Slots = append(in.Slots, int64(len(in.IDs)))
				in.Rows = append(in.Rows, int64(picture*tinyPatches+patch))
				in.IDs = append(in.IDs, 0)
			}
		}
		for i := range len(in.IDs) - first {
			in.Positions = append(in.Positions, int64(i))
		}
		in.Starts = append(in.Starts, int64(len(in.IDs)))
	}
	return in
}

// near compares values; the tolerance is relative to the wanted value, and absolute below 1.
func near(t *testing.T, what string, got, want []float32, tolerance float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s has %d values, want %d", what, len(got), len(want))
	}
	for i := range got {
		if !(math.Abs(float64(got[i]-want[i])) <= tolerance*max(1, math.Abs(float64(want[i])))) {
			t.Fatalf("%s: value %d is %v, want %v", what, i, got[i], want[i])
		}
	}
}

var layersAgain = map[bool]nn.Recompute{true: nn.RecomputeLayers}
