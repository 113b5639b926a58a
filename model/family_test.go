package model

import (
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/recipes"
)

func TestConfigurationsThatCannotBeUsedSayWhy(t *testing.T) {
	for name, c := range map[string]struct {
		language, vision object
		edit             func(r *recipes.Model)
		want             []string
	}{
		"language family": {language: object{"model_type": "mamba"},
			want: []string{"model.language:", "model_type must be one of llama, ", `, not "mamba"`}},
		"whole of no family": {language: object{"model_type": "llava_mpt"},
			want: []string{"model_type must be one of ", `, not "llava_mpt"`}},
		"no language family": {language: object{"model_type": nil},
			want: []string{"model_type must be one of ", `, not ""`}},
		"tower family": {vision: object{"model_type": "vit"},
			want: []string{"model.vision:", "model_type must be one of clip, clip_vision_model, dinov2, " +
				`dinov2_with_registers, siglip, siglip_vision_model, not "vit"`}},
		"images of any shape": {vision: object{"model_type": "siglip2_vision_model"},
			want: []string{"model.vision: model_type siglip2_vision_model is the NaFlex form of SigLIP 2",
				"take a SigLIP 2 of one size"}},
		"another size for CLIP": {edit: func(r *recipes.Model) { r.Vision.ImageSize = 8 },
			want: []string{"model.vision: image_size 8: a tower of model_type clip_vision_model runs only at the " +
				"image_size of its config.json", "leave model.vision.image_size out"}},
		"DINOv2's dropped layers": {vision: object{"model_type": "dinov2", "drop_path_rate": .1},
			want: []string{`drop_path_rate "0.1" is not supported`, "absent or 0"}},
		"DINOv2's activation": {vision: object{"model_type": "dinov2", "hidden_act": "relu"},
			want: []string{`hidden_act must be one of gelu, gelu_pytorch_tanh, quick_gelu, not "relu"`}},
		"DINOv2's heads": {vision: object{"model_type": "dinov2", "num_attention_heads": 4},
			want: []string{"hidden_size 6 is not a multiple of num_attention_heads 4"}},
		"grey DINOv2": {vision: object{"model_type": "dinov2", "num_channels": 1}, want: []string{"num_channels 1"}},
		"no registers": {vision: object{"model_type": "dinov2_with_registers", "num_register_tokens": -1},
			want: []string{"a size is not positive"}},
		"huge registers": {vision: object{"model_type": "dinov2_with_registers", "num_register_tokens": 1 << 40},
			want: []string{"num_register_tokens over"}},
		"huge DINOv2": {vision: object{"model_type": "dinov2", "mlp_ratio": 1e30}, want: []string{"mlp_ratio over 64"}},
		"class token of SigLIP": {vision: object{"model_type": "siglip_vision_model"},
			edit: func(r *recipes.Model) { r.Vision.SelectFeature = "cls_patch" },
			want: []string{"select_feature cls_patch", "SigLIP does not have", "must be patch"}},
		"tower in a LLaVA": {vision: object{"model_type": "llava_llama",
			"vision_config": object{"model_type": "vit"}},
			want: []string{"model_type must be one of ", `, not "vit"`}},
		"rope type": {language: object{"rope_parameters": object{"rope_type": "yarn", "beta_fast": 32}},
			want: []string{`rope_type must be one of default, linear, llama3, not "yarn"`}},
		"old rope type": {language: object{"rope_scaling": object{"type": "dynamic"}},
			want: []string{"rope_type must be one of ", `, not "dynamic"`}},
		"rope field": {language: object{"rope_parameters": object{"beta_fast": 32}},
			want: []string{`rope_type "default"`, `unknown field "beta_fast"`}},
		"rope factor": {language: object{"rope_scaling": object{"type": "linear"}},
			want: []string{`rope_type "linear" needs a positive factor; it has 0`}},
		"llama3 factors": {language: object{"rope_scaling": object{"rope_type": "llama3", "factor": 8}},
			want: []string{"low_freq_factor"}},
		"half rotary": {language: object{"rope_parameters": object{"partial_rotary_factor": .5}},
			want: []string{"partial_rotary_factor 0.5"}},
		"half rotary, old": {language: object{"partial_rotary_factor": .5},
			want: []string{`partial_rotary_factor "0.5"`, "absent or 1"}},
		"negative theta": {language: object{"rope_theta": -1}, want: []string{"rope_theta -1 is not positive"}},
		"soft-capping": {language: object{"attn_logit_softcapping": 50.},
			want: []string{`attn_logit_softcapping "50" is not supported`, "absent or null"}},
		"window": {language: object{"sliding_window": 4},
			want: []string{`sliding_window "4" is not supported`}},
		"Qwen's layer types": {language: object{"model_type": "qwen2",
			"layer_types": []string{"full_attention", "linear_attention"}},
			want: []string{`layer_types must be one of full_attention, sliding_attention, not "linear_attention"`}},
		"too few layer types": {language: object{"model_type": "qwen2", "layer_types": []string{"full_attention"}},
			want: []string{"layer_types has 1 entries for 2 layers"}},
		"a window that is off": {language: object{"model_type": "qwen2", "layer_types": []string{"full_attention",
			"sliding_attention"}},
			want: []string{"need use_sliding_window"}},
		"a window of nothing": {language: object{"model_type": "qwen2",
			"use_sliding_window": true, "sliding_window": 0, "max_window_layers": 1},
			want: []string{"positive sliding_window"}},
		"Phi-3 for 128k positions": {language: object{"model_type": "phi3",
			"rope_scaling": object{"type": "longrope", "long_factor": []float64{1, 1}}},
			want: []string{"rope_type must be one of ", `, not "longrope"`}},
		"the same, older": {language: object{"model_type": "phi3",
			"rope_scaling": object{"type": "su", "long_factor": []float64{1, 1}}},
			want: []string{"rope_type must be one of ", `, not "su"`}},
		"Phi-4-mini": {language: object{"model_type": "phi3", "partial_rotary_factor": .75},
			want: []string{`partial_rotary_factor "0.75"`}},
		"empty window": {language: object{"model_type": "phi3", "sliding_window": 0},
			want: []string{"sliding_window 0 is not positive"}},
		"Phi-3's biases": {language: object{"model_type": "phi3", "attention_bias": true},
			want: []string{`attention_bias "true" is not supported by this model_type`}},
		"experts": {language: object{"num_local_experts": 8}, want: []string{`num_local_experts "8"`}},
		"dropout": {language: object{"attention_dropout": .1},
			want: []string{`attention_dropout "0.1"`, "absent or 0"}},
		"quantised": {language: object{"quantization_config": object{"bits": 4}},
			want: []string{"quantization_config", "bits"}},
		"tower's dropout": {vision: object{"attention_dropout": .1},
			want: []string{"model.vision: config.json: attention_dropout"}},
		"activation": {language: object{"hidden_act": "gelu"}, want: []string{`hidden_act "gelu"`, "silu"}},
		"tower's activation": {vision: object{"hidden_act": "relu"},
			want: []string{"model.vision: config.json",
				`hidden_act must be one of gelu, gelu_pytorch_tanh, quick_gelu, not "relu"`}},
		"missing size": {language: object{"hidden_size": nil},
			want: []string{"hidden_size is missing or not in 1 to"}},
		"negative heads": {language: object{"num_key_value_heads": -2},
			want: []string{"num_key_value_heads is missing or not in 1 to"}},
		"negative table": {language: object{"max_position_embeddings": -1},
			want: []string{"max_position_embeddings is missing or not in 1 to"}},
		"huge table": {language: object{"max_position_embeddings": 1 << 60},
			want: []string{"max_position_embeddings is missing or not in 1 to 2097152"}},
		"huge heads": {language: object{"max_position_embeddings": 1 << 20, "head_dim": 1 << 10},
			want: []string{"max_position_embeddings 1048576 times head size 1024 is over"}},
		"deep": {language: object{"num_hidden_layers": 1 << 11},
			want: []string{"num_hidden_layers 2048 is over 1024"}},
		"thin heads": {language: object{"num_attention_heads": 16, "num_key_value_heads": 16},
			want: []string{"head_dim is missing or not in 1 to"}},
		"uneven groups": {language: object{"num_key_value_heads": 3},
			want: []string{"num_attention_heads 4 is not a multiple of num_key_value_heads 3"}},
		"odd heads":    {language: object{"head_dim": 3}, want: []string{"head size 3 is odd"}},
		"not a number": {language: object{"hidden_size": "eight"}, want: []string{"config.json: json:"}},
		"uneven tower": {vision: object{"num_attention_heads": 4},
			want: []string{"hidden_size 6 is not a multiple of num_attention_heads 4"}},
		"grey tower":      {vision: object{"num_channels": 1}, want: []string{"num_channels 1", "3"}},
		"huge tower":      {vision: object{"image_size": 1 << 60}, want: []string{"image_size"}},
		"picture smaller": {vision: object{"image_size": 1}, want: []string{"image_size is smaller than patch_size"}},
		"projector type": {edit: func(r *recipes.Model) { r.Projector.Type = "ldp" },
			want: []string{"model.projector:",
				`projector type must be one of linear, mlpNx_gelu (N = 2, 3, …), identity, `, `not "ldp"`}},
		"projector depth": {edit: func(r *recipes.Model) { r.Projector.Type = "mlp99x_gelu" },
			want: []string{"the depth must be 1 to 16"}},
		"identity of two widths": {edit: func(r *recipes.Model) { r.Projector.Type = "identity" },
			want: []string{"they have 6 and 8"}},
		"select_layer": {edit: func(r *recipes.Model) { r.Vision.SelectLayer = 4 },
			want: []string{"select_layer 4", "3 layers (-4 to 3)"}},
		"select_feature": {edit: func(r *recipes.Model) { r.Vision.SelectFeature = "all" },
			want: []string{`select_feature must be one of patch, cls_patch, not "all"`}},
		"LLaVA without its tower": {vision: object{"model_type": "llava_llama"},
			want: []string{"no vision_config", "mm_vision_tower"}},
		"no file": {edit: func(r *recipes.Model) { r.Language.Config = "nowhere.json" },
			want: []string{"model.language: ", "nowhere.json"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := tinyRecipe(t, tinyLanguage.with(c.language), tinyVision.with(c.vision))
			if c.edit != nil {
				c.edit(&r)
			}
			message := openFails(t, r, OpenOptions{})
			for _, text := range c.want {
				if !strings.Contains(message, text) {
					t.Errorf("error %q does not say %q", message, text)
				}
			}
		})
	}
}

func TestProjectorsHaveTheOriginalsNames(t *testing.T) {
	for kind, want := range map[string]string{
		"linear":     "bias [8] weight [8 6]",
		"mlp1x_gelu": "0.bias [8] 0.weight [8 6]",
		"mlp2x_gelu": "0.bias [8] 0.weight [8 6] 2.bias [8] 2.weight [8 8]",
		"mlp3x_gelu": "0.bias [8] 0.weight [8 6] 2.bias [8] 2.weight [8 8] 4.bias [8] 4.weight [8 8]",
	} {
		r := tinyRecipe(t, tinyLanguage, tinyVision)
		r.Projector.Type = kind
		if got := declared(openModel(t, r, OpenOptions{}), recipes.PartProjector, projectorPrefix); got != want {
			t.Errorf("%s: %s, want %s", kind, got, want)
		}
	}
	r := tinyRecipe(t, tinyLanguage, tinyVision.with(object{"hidden_size": 8}))
	r.Projector.Type = "identity"
	if got := declared(openModel(t, r, OpenOptions{}), recipes.PartProjector, projectorPrefix); got != "" {
		t.Errorf("identity has %s", got)
	}
}

func TestRopeThetaIsReadFromOldAndNewFiles(t *testing.T) {
	angles := func(change object) []float32 {
		m := openModel(t, tinyRecipe(t, tinyLanguage.with(object{"num_attention_heads": 2}).with(change), tinyVision),
			OpenOptions{Seed: 1})
		return hidden(t, m, flat([]int64{1, 2, 3, 4, 5, 6, 7, 8}))
	}
	old := angles(object{"rope_theta": 50.})
	near(t, "rope_parameters", angles(object{"rope_parameters": object{"rope_type": "default", "rope_theta": 50.}}),
		old, 0)
	usual := angles(nil)
	near(t, "the default", angles(object{"rope_theta": 10000.}), usual, 0)
	if d := largestDifference(old, usual); d < 1e-3 {
		t.Errorf("theta 50 and 10000 differ by %g only", d)
	}
}
