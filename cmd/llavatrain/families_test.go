package main

import (
	"encoding/json"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/cmd/llavatrain/program"
	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/synth/shapes"
	"github.com/llavatrain/llavatrain/train/export"
)

type object = map[string]any

// family is a small LLaVA with random weights, with the tokenizer type and chat template of its published language
// models.
type family struct {
	name      string
	language  object // keys of config.json besides the sizes
	vocab     string // of data/tokenizer/testdata/tokenizer_*.json.gz; "": the demo's SentencePiece model
	tokenizer object // tokenizer_config.json
	template  string
	tower     object // random weights, cut after the selected layer; nil: the folder sigLIP
	size      int    // of images, if not config.json's
}

var families = []family{
	{"llama", object{"attention_bias": true}, "", object{}, "vicuna_v1", clipTower, 0},
	{"llama", object{}, "", object{}, "vicuna_v1", dinov2Tower, 0},
	{"llama", object{}, "", object{}, "llava_v1", dinov2Tower, 28},
	{"llama", object{"rope_theta": 5e5, "rope_scaling": llama3Scaling}, "llama3",
		object{"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>",
			"tokenizer_class": "PreTrainedTokenizerFast"}, "llama_3_1", clipTower, 0},
	{"mistral", object{"sliding_window": 9}, "mistral",
		object{"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "tokenizer_class": "LlamaTokenizer"},
		"mistral_instruct", clipTower, 0},
	{"qwen2", object{"tie_word_embeddings": true}, "qwen2",
		object{"eos_token": "<|im_end|>", "tokenizer_class": "Qwen2Tokenizer"}, "qwen_2", nil, 0},
	{"qwen3", object{"head_dim": 16}, "qwen2", object{"eos_token": "<|im_end|>", "tokenizer_class": "Qwen2Tokenizer"},
		"qwen_3", sigLIPTower, 0},
	{"phi3", object{"sliding_window": 40, "eos_token_id": 900}, "phi3",
		object{"bos_token": "<s>", "eos_token": "<|endoftext|>", "unk_token": "<unk>",
			"tokenizer_class": "LlamaTokenizer"}, "phi_3", clipTower, 0},
}

var (
	llama3Scaling = object{"rope_type": "llama3", "factor": 8., "low_freq_factor": 1., "high_freq_factor": 4.,
		"original_max_position_embeddings": 32}
	clipTower = object{"model_type": "clip_vision_model", "hidden_size": 16, "intermediate_size": 24,
		"num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 28, "patch_size": 7}
	// patches of 16
	sigLIPTower = object{"model_type": "siglip_vision_model", "hidden_size": 16, "intermediate_size": 24,
		"num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 32}
	dinov2Tower = object{"model_type": "dinov2", "hidden_size": 16, "mlp_ratio": 2, "num_hidden_layers": 3,
		"num_attention_heads": 2, "image_size": 42, "patch_size": 7}
)

const sigLIP = "../../model/testdata/families/siglip" // published with both halves and its pooling head

// Every family that can be read can be exported: families lists all that model/testdata has recorded.
func TestExportsOfEveryFamilyAreCompared(t *testing.T) {
	recorded, err := os.ReadDir(filepath.Dir(sigLIP))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range recorded {
		name, _, _ := strings.Cut(entry.Name(), "_")
		if name != filepath.Base(sigLIP) &&
			!slices.ContainsFunc(families,
				func(f family) bool { return f.name == name || f.tower["model_type"] == name }) {
			t.Errorf("no export of a %s", name)
		}
	}
}

// folder writes the model in the original's layout.
func (f family) folder(t *testing.T) string {
	t.Helper()
	base, out := t.TempDir(), filepath.Join(t.TempDir(), f.name)
	tokenizer := filepath.Join(base, "tokenizer.json")
	if f.vocab == "" {
		if err := shapes.WriteConfigs(base); err != nil {
			t.Fatal(err)
		}
		tokenizer = base
	} else {
		write(t, tokenizer, gunzip(t, "../../data/tokenizer/testdata/tokenizer_"+f.vocab+".json.gz"))
		writeObject(t, filepath.Join(base, "tokenizer_config.json"), f.tokenizer)
	}
	language := object{"model_type": f.name, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
		"num_attention_heads": 4,
		"num_key_value_heads": 2, "max_position_embeddings": 512, "vocab_size": 960}
	maps.Copy(language, f.language)
	vision := recipes.Vision{Weights: sigLIP, SelectLayer: -2, SelectFeature: "patch", ImageSize: f.size}
	if f.tower != nil {
		vision.Weights, vision.Config = "", writeObject(t, filepath.Join(base, "tower.json"), f.tower)
	}
	err := export.Conversion{
		Model: recipes.Model{Vision: vision, Projector: recipes.Projector{Type: "mlp2x_gelu"},
			Language: recipes.Language{
				Config:    writeObject(t, filepath.Join(base, "language.json"), language),
				Tokenizer: recipes.Tokenizer{Path: tokenizer, Legacy: "auto"}, MaxLength: 512,
			}},
		Notes: model.ExportNotes{Aspect: "pad", Template: f.template}, Format: "llava", Out: out,
		Report: program.NewTerminal(io.Discard),
	}.Run()
	if err != nil {
		t.Fatal(err)
	}
	randomise(t, out)
	return out
}

// randomise gives a model weights so large that every part affects the output, including biases and norms.
func randomise(t *testing.T, folder string) {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	w := openWeights(t, folder)
	var tensors []checkpoints.Tensor
	for _, name := range w.Names() {
		info, _ := w.Info(name)
		values := make([]float32, info.Elements())
		for i := range values {
			values[i] = float32(0.3 * random.NormFloat64())
			if strings.Contains(name, "norm") && strings.HasSuffix(name, "weight") {
				values[i]++
			}
		}
		tensor := checkpoints.Float32Tensor(name, values)
		tensor.Shape = info.Shape
		tensors = append(tensors, tensor)
	}
	if err := checkpoints.WriteSafetensors(filepath.Join(folder, "model.safetensors"), nil, tensors); err != nil {
		t.Fatal(err)
	}
}

func writeObject(t *testing.T, path string, o object) string {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, string(text))
	return path
}
