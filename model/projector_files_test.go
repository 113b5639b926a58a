package model

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/recipes"
)

// tinyQFormer fits a model of the tiny parts.
var tinyQFormer = recipes.Projector{Type: recipes.QFormer, Queries: 3, Layers: 3, Width: 8, Heads: 2, MLP: 5,
	CrossEvery: 2, LNVision: "true"}

// Resamplers of each style, for the same parts.
var (
	tinyResampler = recipes.Projector{Type: recipes.ResamplerType, Style: "flamingo", Queries: 3, Layers: 2, Heads: 2,
		HeadWidth: 3}
	tinyPerceiver = recipes.Projector{Type: recipes.ResamplerType, Style: "flamingo", Queries: 3, Layers: 2, Heads: 2,
		HeadWidth: 3, MLP: 7, Then: "mlp2x_gelu"}
	tinyIDEFICS = recipes.Projector{Type: recipes.ResamplerType, Style: "idefics", Queries: 3, Layers: 2, Heads: 2,
		HeadWidth: 3, QKNorm: "true", Then: "linear"}
	tinyIdefics2 = recipes.Projector{Type: recipes.ResamplerType, Style: "idefics2", Queries: 3, Layers: 2, Heads: 4,
		HeadWidth: 3, KVHeads: 2}
)

// renamed writes a projector with other names: each pair is a text in our names, without their prefix, and what stands
// for it. A name whose replacement begins with "-" is left out. more are tensors of other parts.
func renamed(t *testing.T, m *LLaVA, pairs []string, more ...string) (dir string) {
	t.Helper()
	files := map[string]checkpoints.Tensor{}
	replacer := strings.NewReplacer(pairs...)
	for name, tensor := range tensors(t, m, recipes.PartProjector) {
		if name = replacer.Replace("^" + strings.TrimPrefix(name, projectorPrefix)); !strings.HasPrefix(name, "-") {
			files[strings.TrimPrefix(name, "^")] = tensor
		}
	}
	for _, name := range more {
		files[name] = zeros("", 3)
	}
	return writeFolder(t, nil, files)
}

// Text branches of published Q-Formers, and the models around them.
var besideQFormer = []string{"vision_model.embeddings.class_embedding",
	"language_model.model.decoder.embed_tokens.weight", "qformer.encoder.layer.0.intermediate.dense.weight",
	"qformer.encoder.layer.2.output.LayerNorm.bias",
	"embeddings.word_embeddings.weight", "itm_head.weight", "text_projection.weight", "vision_projection.bias"}

func TestConnectorsAreFoundUnderEverySpelling(t *testing.T) {
	bert := []string{".attention.attention.", ".attention.self.", ".crossattention.attention.", ".crossattention.self."}
	lavis := append([]string{"^qformer.layernorm", "Qformer.bert.embeddings.LayerNorm", "^qformer.", "Qformer.bert."},
		bert...)
	besideLAVIS := []string{"visual_encoder.cls_token", "Qformer.bert.embeddings.position_ids", "vision_proj.weight",
		"Qformer.bert.embeddings.word_embeddings.weight", "Qformer.cls.predictions.bias", "temp", "itm_head.bias",
		"Qformer.bert.encoder.layer.1.intermediate.dense.bias", "Qformer.bert.encoder.layer.1.output.dense.bias"}
	plain, shuffled := tinyQFormer, smallProjectors["pixel shuffle, mlp"]
	plain.LNVision, shuffled.Ratio = "false", 2
	for name, c := range map[string]struct {
		projector recipes.Projector
		pairs     []string
		more      []string
	}{
		"ours":          {tinyQFormer, []string{"^", projectorPrefix}, nil},
		"ours, wrapped": {tinyQFormer, []string{"^", "module." + projectorPrefix}, nil},
		"ours, bare":    {tinyQFormer, nil, nil},
		"BLIP-2":        {tinyQFormer, []string{"^ln_vision", "vision_model.post_layernorm"}, besideQFormer},
		"BLIP-2, in modules": {tinyQFormer,
			[]string{"^ln_vision", "model.vision_model.post_layernorm", "^", "model."}, nil},
		"BLIP-2, without the tower's norm": {plain, nil,
			append([]string{"vision_model.post_layernorm.weight"}, besideQFormer...)},
		"LAVIS, OPT":    {tinyQFormer, append(lavis, "language_projection", "opt_proj"), besideLAVIS},
		"LAVIS, T5":     {tinyQFormer, append(lavis, "language_projection", "t5_proj"), besideLAVIS},
		"LAVIS, Vicuna": {tinyQFormer, append(lavis, "language_projection", "llm_proj"), besideLAVIS},
		"LLaVA-NeXT": {tinyQFormer, append([]string{
			"^qformer.layernorm", "model.vision_resampler.Qformer.bert.embeddings.LayerNorm",
			"^qformer.", "model.vision_resampler.Qformer.bert.", "^language_projection", "model.mm_projector",
			"^", "model.vision_resampler."}, bert...),
			[]string{"model.vision_resampler.Qformer.bert.embeddings.position_ids"}},
		"TinyLLaVA": {plain, append([]string{"^qformer.layernorm", "-", "^qformer.", "_connector.bert.",
			"^language_projection", "_connector.projector", "^", "_connector."}, bert...),
			[]string{"_connector.bert.embeddings.position_ids", "_connector.bert.encoder.layer.1.output.dense.bias"}},
		"TinyLLaVA's resampler": {tinyResampler, []string{"^", "_connector."}, nil},
		"a bare resampler":      {tinyResampler, nil, nil},
		"LLaVA-NeXT's resampler": {tinyPerceiver, []string{"^perceiver", "model.vision_resampler.perceiver",
			"^", "model.mm_projector."}, nil},
		"LLaVA-NeXT's resampler, bare": {tinyPerceiver, []string{"^perceiver", "perceiver", "^", "mm_projector."}, nil},
		"Idefics3":                     {smallProjectors["pixel shuffle"], []string{"^", "model.connector."}, nil},
		"InternVL":                     {shuffled, []string{"^", "multi_modal_projector."}, nil},
		"InternVL, in modules":         {shuffled, []string{"^", "model.multi_modal_projector."}, nil},
		"InternVL's own code": {shuffled,
			[]string{"^layer_norm", "mlp1.0", "^linear_1", "mlp1.1", "^linear_2", "mlp1.3"},
			[]string{"vision_model.embeddings.class_embedding", "language_model.model.norm.weight"}},
		"LLaVA-NeXT-Video": {smallProjectors["conv"], []string{"^pool", "vision_resampler.pool",
			"^0", "multi_modal_projector.linear_1", "^2", "multi_modal_projector.linear_2"}, nil},
		"LLaVA-NeXT's pool": {smallProjectors["conv"], []string{"^pool", "model.vision_resampler.pool",
			"^", "model.mm_projector."}, nil},
		"a bare pool": {smallProjectors["conv"], nil, nil},
		"a pool without weights": {smallProjectors["average"], []string{"^0", "multi_modal_projector.linear_1",
			"^2", "multi_modal_projector.linear_2"}, nil},
		"pooler":              {smallProjectors["pooler"], []string{"^", "model.mm_projector."}, nil},
		"residual MLP":        {smallProjectors["mlp1x_res2x_gelu"], []string{"^", "model.mm_projector."}, nil},
		"ours like IDEFICS's": {tinyIDEFICS, []string{"^", projectorPrefix}, nil},
		"Idefics2": {tinyIdefics2, []string{"^", "model.connector."},
			[]string{"model.text_model.norm.weight", "model.vision_model.post_layernorm.bias"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := smallRecipe(t, c.projector)
			source := openModel(t, r, OpenOptions{Seed: 1})
			r.Projector.Weights = renamed(t, source, c.pairs, c.more...)
			again := openModel(t, r, OpenOptions{Seed: 2})
			want, got := tensors(t, source, recipes.PartProjector), tensors(t, again, recipes.PartProjector)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A file of another projector is refused in one sentence that names both and what to set.
func TestOtherConnectorsAreRefusedByName(t *testing.T) {
	fewer, mlp := tinyQFormer, recipes.Projector{Type: "mlp2x_gelu"}
	fewer.Queries, fewer.Layers, fewer.MLP = 2, 1, 7
	grouped, coarse, wide := tinyIdefics2, smallProjectors["pixel shuffle"], smallProjectors["conv, behind"]
	grouped.KVHeads, coarse.Ratio, wide.Place, wide.Then = 0, 4, "before", "mlp2x_gelu"
	for name, c := range map[string]struct {
		files, recipe recipes.Projector
		pairs, want   []string
	}{
		"another configuration": {fewer, tinyQFormer, nil, []string{
			"holds a projector of type qformer with queries 2, layers 1, mlp 7, and the recipe asks for queries 3, " +
				"layers 3, mlp 5: set model.projector.queries: 2, set model.projector.layers: 1, " +
				"set model.projector.mlp: 7, or name other"}},
		"an MLP for a Q-Former": {mlp, tinyQFormer, []string{"^", projectorPrefix}, []string{
			"holds a projector of type mlp2x_gelu, and the recipe asks for qformer: " +
				"set model.projector.type: mlp2x_gelu, or"}},
		"linear for a Q-Former": {recipes.Projector{Type: "linear"}, tinyQFormer, nil,
			[]string{"of type linear, and the recipe asks for qformer: set model.projector.type: linear, or"}},
		"a Q-Former for an MLP": {tinyQFormer, mlp, nil, []string{
			"of type qformer, and the recipe asks for mlp2x_gelu: set model.projector.type: qformer with queries 3, " +
				"layers 3, width 8, mlp 5, cross_every 2, ln_vision true, or"}},
		"no norm in front": {tinyQFormer, tinyQFormer, []string{"^ln_vision", "-"}, []string{
			"ln_vision false, and the recipe asks for ln_vision true: set model.projector.ln_vision: false"}},
		"a resampler for a Q-Former": {tinyResampler, tinyQFormer, nil, []string{
			"of type resampler, and the recipe asks for qformer: set model.projector.type: resampler with " +
				"style flamingo, queries 3, layers 2, mlp 32, or"}},
		"a resampler without an MLP behind": {tinyResampler, tinyPerceiver, nil, []string{
			"mlp 32, then none, and the recipe asks for mlp 7, then mlp2x_gelu: set model.projector.mlp: 32, " +
				"leave out model.projector.then, or"}},
		"other styles": {tinyIDEFICS, tinyIdefics2, nil, []string{"style idefics", "asks for style idefics2",
			"set model.projector.style: idefics", "set model.projector.heads and head_width to a product of 6"}},
		"another ratio": {smallProjectors["pixel shuffle"], coarse, nil, []string{
			"with ratio 2, and the recipe asks for ratio 4: set model.projector.ratio: 2, or"}},
		"another map behind pixel shuffle": {smallProjectors["pixel shuffle, mlp"], coarse, nil, []string{
			"with then mlp, and the recipe asks for then linear: set model.projector.then: mlp, or"}},
		"another stride": {smallProjectors["conv"], wide, nil, []string{
			"with stride 2, and the recipe asks for stride 3: set model.projector.stride: 2, or"}},
		"a convolution for a mean": {smallProjectors["conv"], smallProjectors["average"], nil, []string{
			"with mode conv, and the recipe asks for mode average: set model.projector.mode: conv, or"}},
		"a pooler for an MLP": {smallProjectors["pooler"], mlp, nil, []string{
			"of type pooler, and the recipe asks for mlp2x_gelu: set model.projector.type: pooler, or"}},
		"an MLP for a residual one": {mlp, smallProjectors["mlp1x_res2x_gelu"], nil, []string{
			"of type mlp2x_gelu, and the recipe asks for mlp1x_res2x_gelu: set model.projector.type: mlp2x_gelu, or"}},
		"other heads of keys": {tinyIdefics2, grouped, nil, []string{
			"with kv_heads times head_width 6, and the recipe asks for kv_heads times head_width 12: " +
				"set model.projector.kv_heads and head_width to a product of 6, or"}},
	} {
		t.Run(name, func(t *testing.T) {
			source := openModel(t, smallRecipe(t, c.files), OpenOptions{Seed: 1})
			r := smallRecipe(t, c.recipe)
			r.Projector.Weights = renamed(t, source, c.pairs)
			message := openFails(t, r, OpenOptions{})
			for _, text := range append(c.want, "model.projector.weights: "+r.Projector.Weights+" holds") {
				if !strings.Contains(message, text) {
					t.Errorf("error %q does not say %q", message, text)
				}
			}
			if strings.Contains(message, "\n") {
				t.Errorf("more than a sentence: %s", message)
			}
		})
	}
}

// What tensors do not show is in the config.json beside them.
func TestConfigurationsBesideConnectors(t *testing.T) {
	shuffled := smallProjectors["pixel shuffle, mlp"]
	for name, c := range map[string]struct {
		projector recipes.Projector
		config    object
		want      string // "": it opens
	}{
		"BLIP-2": {tinyQFormer, object{"qformer_config": object{"num_attention_heads": 2}}, ""},
		"BLIP-2 with other heads": {tinyQFormer, object{"qformer_config": object{"num_attention_heads": 4}},
			"type qformer with heads 4, and the recipe asks for heads 2: set model.projector.heads: 4, or name other"},
		"Idefics2": {tinyIdefics2, object{"perceiver_config": object{"resampler_n_heads": 4}}, ""},
		"Idefics2 with other heads": {tinyIdefics2,
			object{"perceiver_config": object{"resampler_n_heads": 6, "resampler_head_dim": 2}},
			"with heads 6, head_width 2, and the recipe asks for heads 4, head_width 3: set model.projector.heads: 6"},
		"InternVL":           {shuffled, object{"ps_version": "v2"}, ""},
		"the first InternVL": {shuffled, object{"ps_version": "v1"}, "config.json has ps_version v1"},
	} {
		t.Run(name, func(t *testing.T) {
			r := smallRecipe(t, c.projector)
			r.Projector.Weights = renamed(t, openModel(t, r, OpenOptions{Seed: 1}), nil)
			writeConfig(t, r.Projector.Weights, c.config)
			if c.want == "" {
				openModel(t, r, OpenOptions{})
			} else if message := openFails(t, r, OpenOptions{}); !strings.Contains(message, c.want) {
				t.Errorf("error %q does not say %q", message, c.want)
			}
		})
	}
}
