package model

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
)

func raw(t *testing.T, o object) []byte {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// The text_config of llava-hf/llava-1.5-7b-hf names three sizes; transformers 5.17's AutoConfig makes the others of it.
func TestATextConfigIsCompletedAsTransformersDoes(t *testing.T) {
	for kind, c := range map[string]struct {
		text object
		want object
	}{
		"llava-1.5-7b-hf": {object{"max_position_embeddings": 4096, "model_type": "llama", "rms_norm_eps": 1e-05,
			"vocab_size": 32064},
			object{"model_type": "llama", "vocab_size": 32064., "hidden_size": 4096., "intermediate_size": 11008.,
				"num_hidden_layers":   32.,
				"num_attention_heads": 32., "max_position_embeddings": 4096., "rms_norm_eps": 1e-05}},
		"no model_type": {object{"vocab_size": 9},
			object{"model_type": "llama", "vocab_size": 9., "hidden_size": 4096., "intermediate_size": 11008.,
				"num_hidden_layers":   32.,
				"num_attention_heads": 32., "max_position_embeddings": 2048., "rms_norm_eps": 1e-06}},
		"mistral": {object{"model_type": "mistral", "vocab_size": 32064},
			object{"model_type": "mistral", "vocab_size": 32064., "hidden_size": 4096., "intermediate_size": 14336.,
				"num_hidden_layers":   32.,
				"num_attention_heads": 32., "num_key_value_heads": 8., "max_position_embeddings": 131072.,
				"rms_norm_eps": 1e-06}},
		"qwen2": {object{"model_type": "qwen2", "hidden_size": 896},
			object{"model_type": "qwen2", "vocab_size": 151936., "hidden_size": 896., "intermediate_size": 22016.,
				"num_hidden_layers":   32.,
				"num_attention_heads": 32., "num_key_value_heads": 32., "max_position_embeddings": 32768.,
				"rms_norm_eps": 1e-06}},
		"qwen3": {object{"model_type": "qwen3", "hidden_size": 896},
			object{"model_type": "qwen3", "vocab_size": 151936., "hidden_size": 896., "intermediate_size": 22016.,
				"num_hidden_layers":   32.,
				"num_attention_heads": 32., "num_key_value_heads": 32., "head_dim": 128.,
				"max_position_embeddings": 32768., "rms_norm_eps": 1e-06}},
		"phi3": {object{"model_type": "phi3", "rms_norm_eps": 1e-06},
			object{"model_type": "phi3", "vocab_size": 32064., "hidden_size": 3072., "intermediate_size": 8192.,
				"num_hidden_layers":   32.,
				"num_attention_heads": 32., "max_position_embeddings": 4096., "rms_norm_eps": 1e-06}},
	} {
		half, err := languageHalf(raw(t, object{"model_type": "llava", "text_config": c.text}))
		got := object{}
		if err == nil {
			err = json.Unmarshal(half, &got)
		}
		if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", kind, err, diff)
		}
	}
	half, err := languageHalf(raw(t, object{"model_type": "llava", "tie_word_embeddings": true}))
	if err != nil || !strings.Contains(string(half), `"tie_word_embeddings":true`) {
		t.Errorf("%s, %v", half, err)
	}
}

// A 7B model in transformers' layout declares what the original's does.
func TestSevenBillionInBothLayouts(t *testing.T) {
	declared := func(config object) map[string][]int64 {
		half, err := languageHalf(raw(t, config))
		if err != nil {
			t.Fatal(err)
		}
		ps := nn.NewParams()
		language, err := newLanguage(half, ps, torch.CPU)
		if err != nil {
			t.Fatal(err)
		}
		language.(interface{ Free() }).Free()
		shapes := map[string][]int64{}
		for _, p := range ps.All() {
			shapes[p.Name] = p.Shape
		}
		return shapes
	}
	theirs := declared(object{"model_type": "llava", "text_config": object{"vocab_size": 32000}})
	ours := declared(object{"model_type": "llava_llama", "mm_vision_select_layer": -2, "hidden_size": 4096,
		"intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32, "vocab_size": 32000})
	if diff := cmp.Diff(ours, theirs); diff != "" || len(ours) != 291 {
		t.Errorf("%d tensors: %s", len(ours), diff)
	}
}

func TestWholeFoldersSayHowTheyAreAsked(t *testing.T) {
	vision := func(layer int, feature string) recipes.Vision {
		return recipes.Vision{SelectLayer: layer, SelectFeature: feature}
	}
	for name, c := range map[string]struct {
		config    object
		vision    recipes.Vision
		projector string
		notes     ExportNotes
	}{
		"v1": {object{"model_type": "llava", "mm_vision_tower": "a/b", "mm_vision_select_layer": -2},
			vision(-2, "patch"), "linear", ExportNotes{Aspect: "square", Template: "vicuna_v1"}},
		"v1.5": {object{"model_type": "llava_llama", "mm_vision_tower": "a/b", "mm_vision_select_layer": -2,
			"mm_projector_type": "mlp2x_gelu", "mm_vision_select_feature": "patch", "image_aspect_ratio": "pad",
			"mm_patch_merge_type": "flat"},
			vision(-2, "patch"), "mlp2x_gelu", ExportNotes{Aspect: "pad", Template: "vicuna_v1"}},
		"transformers' defaults": {object{"model_type": "llava"}, vision(-2, "patch"), "mlp2x_gelu",
			ExportNotes{Aspect: "square", Template: "vicuna_v1"}},
		"transformers": {object{"model_type": "llava", "text_config": object{}, "vision_feature_layer": -1,
			"vision_feature_select_strategy": "full", "image_aspect_ratio": "pad",
			"conversation_template": "llava_v1"},
			vision(-1, "cls_patch"), "mlp2x_gelu", ExportNotes{Aspect: "pad", Template: "llava_v1"}},
	} {
		dir := t.TempDir()
		writeConfig(t, dir, c.config)
		m, notes, err := ReadLLaVA(dir, "")
		c.vision.Weights = dir
		want := recipes.Model{Vision: c.vision, Projector: recipes.Projector{Type: c.projector},
			Language: recipes.Language{Weights: dir, Tokenizer: recipes.Tokenizer{Legacy: "auto"}, MaxLength: 2048}}
		if diff := cmp.Diff(want, m); err != nil || diff != "" || notes != c.notes {
			t.Errorf("%s: %v, %v\n%s", name, err, notes, diff)
		}
	}
}

func TestWholeFoldersThatCannotBeUsedSayWhy(t *testing.T) {
	for name, c := range map[string]struct {
		config object
		want   string
	}{
		"a language model": {object{"model_type": "llama"}, `not a LLaVA model: model_type is "llama"`},
		"a rare merge": {object{"model_type": "llava_llama", "mm_vision_select_layer": -2,
			"mm_patch_merge_type": "spatial_maxpool2x2"}, `mm_patch_merge_type "spatial_maxpool2x2"; only flat`},
		"a rare aspect": {object{"model_type": "llava_llama", "mm_vision_select_layer": -2,
			"image_aspect_ratio": "anyres_top_9"}, `tiles by "anyres_top_9"; only anyres and anyres_max_N`},
		"anyres": {object{"model_type": "llava_llama", "mm_vision_select_layer": -2,
			"image_aspect_ratio": "anyres"}, "image_aspect_ratio anyres, but no image_grid_pinpoints"},
		"start and end": {object{"model_type": "llava", "mm_vision_select_layer": -2, "mm_use_im_start_end": true},
			"<im_start>"},
		"several layers": {object{"model_type": "llava", "vision_feature_layer": []int{-2, -5}},
			"vision_feature_layer [-2 -5]; only a single layer"},
		"half a layer": {object{"model_type": "llava", "vision_feature_layer": 1.5}, "vision_feature_layer 1.5"},
		"unknown strategy": {object{"model_type": "llava", "vision_feature_select_strategy": "mean"},
			`vision_feature_select_strategy "mean"`},
		"other activation": {object{"model_type": "llava", "projector_hidden_act": "relu"},
			`projector_hidden_act "relu"`},
		"without biases": {object{"model_type": "llava", "multimodal_projector_bias": false},
			"multimodal_projector_bias false"},
		"registers for features": {object{"model_type": "llava", "vision_config": object{
			"model_type": "dinov2_with_registers"}}, "vision_config of dinov2_with_registers: transformers' LLaVA " +
			"drops only the first row of a tower, the class token, so that the register tokens would be features"},
		"text for a number": {object{"model_type": "llava", "mm_vision_select_layer": "-2"}, "config.json: json:"},
	} {
		dir := t.TempDir()
		writeConfig(t, dir, c.config)
		if _, _, err := ReadLLaVA(dir, ""); err == nil || !strings.Contains(err.Error(), c.want) ||
			!strings.Contains(err.Error(), dir) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
}

// LLaVAs that ask for what is not done are refused in a recipe's weights, too.
func TestRecipesRefuseTheSameFolders(t *testing.T) {
	source := openModel(t, tinyRecipe(t, tinyLanguage, tinyVision), OpenOptions{Seed: 1})
	r := tinyFolders(t, source)
	r.Language.Weights = writeFolder(t, tinyLanguage.with(object{"model_type": "llava_llama",
		"mm_vision_select_layer": -2, "image_aspect_ratio": "anyres"}),
		tensors(t, source, recipes.PartLanguage))
	if message := openFails(t, r, OpenOptions{}); !strings.Contains(message,
		"model.language.weights: config.json has image_aspect_ratio anyres, but no image_grid_pinpoints") {
		t.Errorf("error %q", message)
	}
	r.Language.Weights = writeFolder(t, tinyLanguage, tensors(t, source, recipes.PartProjector))
	if message := openFails(t, r, OpenOptions{}); !strings.Contains(message,
		"holds only a projector: name it as model.projector.weights") {
		t.Errorf("error %q", message)
	}
}

func TestDeltaWeightsAreRefused(t *testing.T) {
	source := openModel(t, tinyRecipe(t, tinyLanguage, tinyVision), OpenOptions{Seed: 1})
	r := tinyFolders(t, source)
	files := tensors(t, source, recipes.PartLanguage)
	for name, c := range map[string]struct {
		folder, from, readme string
		refused              bool
	}{
		"by folder":     {folder: "vicuna-7b-delta-v1.1", refused: true},
		"by short name": {folder: "LLaVA-13b-delta", refused: true},
		"by config":     {folder: "a", from: "/models/LLaVA-7b-delta-v0", refused: true},
		"by README": {folder: "a", readme: "# Vicuna\n**NOTE: This \"delta model\" cannot be used directly.**\n",
			refused: true},
		"another delta":  {folder: "deltares", from: "river-deltas", readme: "the delta weights were merged"},
		"nothing at all": {folder: "vicuna-7b-v1.5"},
	} {
		t.Run(name, func(t *testing.T) {
			made := writeFolder(t, tinyLanguage.with(object{"_name_or_path": c.from}), maps.Clone(files))
			dir := filepath.Join(filepath.Dir(made), c.folder)
			err := os.Rename(made, dir)
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, "README.md"), []byte(c.readme), 0o666)
			}
			if err != nil {
				t.Fatal(err)
			}
			r.Language.Weights = dir
			if !c.refused {
				openModel(t, r, OpenOptions{})
			} else if message := openFails(t, r, OpenOptions{}); !strings.Contains(message,
				"model.language.weights: ") || !strings.Contains(message, "apply_delta") {
				t.Errorf("error %q", message)
			}
		})
	}
}

func FuzzWholeConfig(f *testing.F) {
	f.Add([]byte(`{"model_type":"llava","text_config":{"vocab_size":9},"vision_config":{"hidden_size":6},` +
		`"vision_feature_layer":[-2]}`))
	f.Add([]byte(`{"model_type":"llava_llama","mm_vision_select_layer":-2,"mm_vision_tower":"../clip",` +
		`"image_aspect_ratio":"anyres"}`))
	f.Add([]byte(`{"model_type":"llava","text_config":null,"vision_config":null,"vision_feature_layer":{}}`))
	f.Fuzz(func(t *testing.T, config []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "config.json"), config, 0o666); err != nil {
			t.Fatal(err)
		}
		if m, _, err := ReadLLaVA(dir, ""); err == nil && (m.Projector.Type == "" || m.Vision.SelectFeature == "") {
			t.Errorf("%q is accepted as %+v", config, m)
		}
		for _, half := range []func([]byte) ([]byte, error){languageHalf, visionHalf} {
			if out, err := half(config); err == nil && !json.Valid(out) {
				t.Errorf("%q becomes %q", config, out)
			}
		}
	})
}
