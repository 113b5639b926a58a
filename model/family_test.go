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
			want: []string{"model.language:", `model_type "mamba" is unknown`, "known are llama, llava, llava_llama"}},
		"no language family": {language: object{"model_type": nil}, want: []string{`model_type "" is unknown`}},
		"tower family": {vision: object{"model_type": "siglip"},
			want: []string{"model.vision:", `model_type "siglip" is unknown`, "known are clip, clip_vision_model"}},
		"rope scaling": {language: object{"rope_scaling": object{"type": "linear", "factor": 2}},
			want: []string{"model.language: config.json: rope_scaling", "linear", "absent or null"}},
		"rope type":  {language: object{"rope_parameters": object{"rope_type": "yarn"}}, want: []string{`rope_type "yarn"`, "must be default"}},
		"activation": {language: object{"hidden_act": "gelu"}, want: []string{`hidden_act "gelu"`, "silu"}},
		"tower's activation": {vision: object{"hidden_act": "relu"},
			want: []string{"model.vision: config.json", `hidden_act "relu" is unknown`, "known are gelu, quick_gelu"}},
		"biases":          {language: object{"attention_bias": true}, want: []string{"attention_bias and mlp_bias"}},
		"missing size":    {language: object{"hidden_size": nil}, want: []string{"hidden_size is missing or not positive"}},
		"negative heads":  {language: object{"num_key_value_heads": -2}, want: []string{"num_key_value_heads is missing or not positive"}},
		"negative table":  {language: object{"max_position_embeddings": -1}, want: []string{"max_position_embeddings is missing or not positive"}},
		"thin heads":      {language: object{"num_attention_heads": 16, "num_key_value_heads": 16}, want: []string{"head_dim is missing or not positive"}},
		"uneven groups":   {language: object{"num_key_value_heads": 3}, want: []string{"num_attention_heads 4 is not a multiple of num_key_value_heads 3"}},
		"odd heads":       {language: object{"head_dim": 3}, want: []string{"head size 3 is odd"}},
		"not a number":    {language: object{"hidden_size": "eight"}, want: []string{"config.json: json:"}},
		"uneven tower":    {vision: object{"num_attention_heads": 4}, want: []string{"hidden_size 6 is not a multiple of num_attention_heads 4"}},
		"grey tower":      {vision: object{"num_channels": 1}, want: []string{"num_channels 1", "3"}},
		"picture smaller": {vision: object{"image_size": 1}, want: []string{"image_size is smaller than patch_size"}},
		"projector type": {edit: func(r *recipes.Model) { r.Projector.Type = "qformer" },
			want: []string{"model.projector:", `"qformer" is unknown`, "linear", "mlpNx_gelu", "identity"}},
		"projector depth": {edit: func(r *recipes.Model) { r.Projector.Type = "mlp99x_gelu" }, want: []string{"the depth must be 1 to 16"}},
		"identity of two widths": {edit: func(r *recipes.Model) { r.Projector.Type = "identity" },
			want: []string{"they have 6 and 8"}},
		"select_layer":            {edit: func(r *recipes.Model) { r.Vision.SelectLayer = 4 }, want: []string{"select_layer 4", "3 layers (-4 to 3)"}},
		"select_feature":          {edit: func(r *recipes.Model) { r.Vision.SelectFeature = "all" }, want: []string{`select_feature "all"`, "patch or cls_patch"}},
		"LLaVA without its tower": {vision: object{"model_type": "llava_llama"}, want: []string{"no vision_config", "mm_vision_tower"}},
		"no file":                 {edit: func(r *recipes.Model) { r.Language.Config = "nowhere.json" }, want: []string{"model.language: ", "nowhere.json"}},
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
		if got := declared(openModel(t, r, OpenOptions{}), partProjector, projectorPrefix); got != want {
			t.Errorf("%s: %s, want %s", kind, got, want)
		}
	}
	r := tinyRecipe(t, tinyLanguage, tinyVision.with(object{"hidden_size": 8}))
	r.Projector.Type = "identity"
	if got := declared(openModel(t, r, OpenOptions{}), partProjector, projectorPrefix); got != "" {
		t.Errorf("identity has %s", got)
	}
}

func TestRopeThetaIsReadFromOldAndNewFiles(t *testing.T) {
	angles := func(change object) []float32 {
		m := openModel(t, tinyRecipe(t, tinyLanguage.with(object{"num_attention_heads": 2}).with(change), tinyVision), OpenOptions{Seed: 1})
		return hidden(t, m, flat([]int64{1, 2, 3, 4, 5, 6, 7, 8}))
	}
	old := angles(object{"rope_theta": 50.})
	near(t, "rope_parameters", angles(object{"rope_parameters": object{"rope_type": "default", "rope_theta": 50.}}), old, 0)
	usual := angles(nil)
	near(t, "the default", angles(object{"rope_theta": 10000.}), usual, 0)
	if d := largestDifference(old, usual); d < 1e-3 {
		t.Errorf("theta 50 and 10000 differ by %g only", d)
	}
}
