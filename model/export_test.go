package model

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/recipes"
)

// exportTo writes an export as the command does, without what stands beside.
func exportTo(t *testing.T, r recipes.Model, o ExportOptions) (dir string, config object) {
	t.Helper()
	c, err := Inspect(r, OpenOptions{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	e, err := c.Export(o)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]checkpoints.Tensor{}
	for i, info := range e.Tensors {
		data, err := e.Read(i)
		if err != nil {
			t.Fatal(err)
		}
		files[info.Name] = checkpoints.Tensor{Info: info, Data: data}
	}
	dir = writeFolder(t, nil, files)
	if err := os.WriteFile(filepath.Join(dir, "config.json"), e.Config, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(e.Config, &config); err != nil {
		t.Fatal(err)
	}
	return dir, config
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	w, err := checkpoints.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return w.Names()
}

var tinyExport = ExportOptions{Format: "hf", Dtype: checkpoints.F32,
	Notes:         ExportNotes{Aspect: "pad", Template: "vicuna_v1"},
	SpecialTokens: SpecialTokens{Image: 9, Pad: 10}}

// A model in transformers' layout is the same model: random parts, a tower cut behind the selected layer, and tied
// embeddings included.
func TestExportedModelsAreTheSame(t *testing.T) {
	for name, c := range map[string]struct {
		language, vision object
		layer            int
		wantLayer        float64
		wantLayers       float64
	}{
		"plain":         {tinyLanguage, tinyVision, -2, -1, 2}, // random towers hold what is declared
		"tied":          {tinyLanguage.with(object{"tie_word_embeddings": true}), tinyVision, -1, -1, 3},
		"from the left": {tinyLanguage, tinyVision, 1, -1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := tinyRecipe(t, c.language, c.vision)
			r.Vision.SelectLayer = c.layer
			source := openModel(t, r, OpenOptions{Seed: 1})
			dir, config := exportTo(t, r, tinyExport)
			vision := config["vision_config"].(map[string]any)
			if config["vision_feature_layer"] != c.wantLayer || vision["num_hidden_layers"] != c.wantLayers {
				t.Errorf("layer %v of %v", config["vision_feature_layer"], vision["num_hidden_layers"])
			}
			again, notes, err := ReadLLaVA(dir, "")
			if err != nil || notes != tinyExport.Notes {
				t.Fatal(err, notes)
			}
			if diff := cmp.Diff(values(t, source), values(t, openModel(t, again, OpenOptions{Seed: 9}))); diff != "" {
				t.Error(diff)
			}
			head := 0
			for _, name := range names(t, dir) {
				if strings.HasSuffix(name, "lm_head.weight") {
					head++
				}
			}
			if tied := c.language["tie_word_embeddings"] == true; (head == 0) != tied ||
				config["tie_word_embeddings"] != tied {
				t.Errorf("%d heads, tie_word_embeddings %v", head, config["tie_word_embeddings"])
			}
			twice, _ := exportTo(t, again, tinyExport)
			if diff := cmp.Diff(names(t, dir), names(t, twice)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// languageClasses are transformers' classes of the language models, by which llama.cpp's converter tells them apart.
var languageClasses = map[string]string{"llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM",
	"phi3": "Phi3ForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}

// A whole LLaVA of each recorded family comes back from both layouts as its own family, bit for bit.
func TestExportedFamiliesAreTheSame(t *testing.T) {
	for _, name := range languageGoldens(t) {
		for _, format := range []string{"hf", "llava"} {
			t.Run(name+" "+format, func(t *testing.T) {
				g, r, o := openGolden(t, name), tinyRecipe(t, tinyLanguage, tinyVision), tinyExport
				r.Language, o.Format = recipes.Language{Weights: g.dir}, format
				dir, config := exportTo(t, r, o)
				if text, nested := config["text_config"].(map[string]any); nested {
					if family, _, _ := strings.Cut(name, "_"); text["model_type"] != family {
						t.Errorf("text_config is of %v", text["model_type"])
					} else if diff := cmp.Diff([]any{languageClasses[family]}, text["architectures"]); diff != "" {
						t.Error(diff)
					}
				}
				again, _, err := ReadLLaVA(dir, "")
				if err != nil {
					t.Fatal(err)
				}
				want, got := openModel(t, r, OpenOptions{Seed: 1}), openModel(t, again, OpenOptions{Seed: 9})
				if diff := cmp.Diff(values(t, want), values(t, got)); diff != "" {
					t.Error(diff)
				}
				near(t, "hidden states", hidden(t, got, g.samples(t)), hidden(t, want, g.samples(t)), 0)
			})
		}
	}
}

// SigLIP has no class token: transformers' layout says so by the strategy full, and keeps the pooling head where
// there is one.
func TestExportedSigLIPIsTheSame(t *testing.T) {
	published, cut := tinyRecipe(t, tinyLanguage, tinyVision),
		tinyRecipe(t, tinyLanguage, tinyVision.with(object{"model_type": "siglip_vision_model"}))
	published.Vision = recipes.Vision{Weights: openGolden(t, "siglip").dir, SelectLayer: -2, SelectFeature: "patch"}
	for name, r := range map[string]recipes.Model{"published": published, "cut": cut} {
		t.Run(name, func(t *testing.T) {
			dir, config := exportTo(t, r, tinyExport)
			vision := config["vision_config"].(map[string]any)
			if config["vision_feature_select_strategy"] != "full" || vision["model_type"] != "siglip_vision_model" ||
				vision["vision_use_head"] != (name == "published") {
				t.Errorf("strategy %v, tower %v", config["vision_feature_select_strategy"], vision)
			}
			again, _, err := ReadLLaVA(dir, "")
			if err != nil || again.Vision.SelectFeature != "patch" {
				t.Fatal(err, again.Vision)
			}
			if diff := cmp.Diff(values(t, openModel(t, r, OpenOptions{Seed: 1})),
				values(t, openModel(t, again, OpenOptions{Seed: 9}))); diff != "" {
				t.Error(diff)
			}
			twice, _ := exportTo(t, again, tinyExport)
			if diff := cmp.Diff(names(t, dir), names(t, twice)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What lies behind the selected layer goes along, for programs that want the whole tower.
func TestExportsHoldTheWholeTower(t *testing.T) {
	source := openModel(t, tinyRecipe(t, tinyLanguage, tinyVision), OpenOptions{Seed: 1})
	whole := tinyRecipe(t, tinyLanguage, tinyVision)
	whole.Vision.SelectLayer = -1
	files := tensors(t, openModel(t, whole, OpenOptions{Seed: 1}), recipes.PartVision)
	files[visionPrefix+"post_layernorm.weight"], files[visionPrefix+"post_layernorm.bias"] = zeros("", 6), zeros("", 6)
	r := tinyFolders(t, source)
	r.Vision.Weights = writeFolder(t, tinyVision, files)
	_, config := exportTo(t, r, tinyExport)
	if layers := config["vision_config"].(map[string]any)["num_hidden_layers"]; layers != 3. ||
		config["vision_feature_layer"] != -2. {
		t.Errorf("layer %v of %v", config["vision_feature_layer"], layers)
	}
	o := tinyExport
	o.Format = "llava"
	dir, _ := exportTo(t, r, o)
	found := 0
	for _, name := range names(t, dir) {
		if _, ok := files[name]; ok {
			found++
		}
	}
	if found != len(files) {
		t.Errorf("%d of the tower's %d tensors", found, len(files))
	}
}

func TestExportRefusesWhatTransformersCannotHold(t *testing.T) {
	for _, kind := range []string{"linear", "mlp3x_gelu"} {
		r := tinyRecipe(t, tinyLanguage, tinyVision)
		r.Projector.Type = kind
		c, err := Inspect(r, OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Export(tinyExport); err == nil ||
			!strings.Contains(err.Error(), "("+kind+"): use --format llava") {
			t.Errorf("%s: %v", kind, err)
		}
		_, err = c.Export(ExportOptions{Format: "gguf"})
		if err == nil || !strings.Contains(err.Error(), "format must be one of adapter, hf, llava, projector, not") {
			t.Errorf("gguf: %v", err)
		}
		c.Close()
	}
}
