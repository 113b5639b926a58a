package train

import (
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
)

// tinyConnectors are keys of model for the tiny model: each connector, and images of any resolution.
var tinyConnectors = map[string]string{
	"residual MLP":  "projector: {type: mlp2x_res2x_gelu}",
	"pixel shuffle": "projector: {type: pixel_shuffle, ratio: 2}",
	"pool":          "projector: {type: pool, mode: bilinear}",
	"convolution":   "projector: {type: pool, mode: conv}",
	"pooler":        "projector: {type: pooler}",
	"qformer":       "projector: {type: qformer, queries: 5, layers: 3, width: 32, heads: 4, mlp: 48}",
	"flamingo":      "projector: {type: resampler, queries: 5, layers: 2, heads: 4, head_width: 8}",
	"idefics": "projector: {type: resampler, style: idefics, queries: 5, layers: 2, heads: 4, head_width: 8, " +
		"qk_norm: true}",
	"idefics2": "projector: {type: resampler, style: idefics2, queries: 5, layers: 2, heads: 4, head_width: 8, " +
		"kv_heads: 2}",
	"gated": "projector: {type: gated_cross_attention, every: 2, gate: vector, qk_norm: true, " +
		"resampler: {queries: 5, layers: 2, heads: 4, head_width: 8}}",
	"tiles":        `tiles: {pinpoints: "(1x1),(2x1),(2x2)"}`,
	"shrunk tiles": `tiles: {pinpoints: "(1x1),(2x1),(2x2)", max: 1}`,
	"flat tiles": "projector: {type: qformer, queries: 5, layers: 2, width: 32, heads: 4, mlp: 48}\n" +
		`  tiles: {pinpoints: "(1x1),(2x1),(2x2)", merge: flat}`,
	"tiles, pixel shuffle": "projector: {type: pixel_shuffle, ratio: 2}\n" +
		`  tiles: {pinpoints: "(1x1),(2x1),(2x2)"}`,
}

// openConnector is openTiny with keys of model, and with everything drawn that is 0 at first: gates, adapters, biases.
func openConnector(t *testing.T, model, stage string) *trainer {
	t.Helper()
	tr := openTinyModel(t, "  "+model+"\n", stage)
	if err := torch.Do(func(s *torch.Scope) {
		for _, p := range tr.model.Params.All() {
			if p.Init.Kind == "zeros" {
				p.Init = nn.Init{Kind: "normal", Scale: 0.1}
				p.Initialise(s, 3)
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	return tr
}

// How a step is cut into micro-batches, and what backward recomputes, changes no gradient beyond rounding, with
// adapters and dropout too.
func TestConnectorGradientsDoNotDependOnCuts(t *testing.T) {
	const tolerance = 1e-5 // relative, over each flat buffer
	lora := strings.Replace(trains("projector", "language"), "language: {lr: 1e-3}",
		"language: {lr: 1e-3, lora: {r: 4, alpha: 8, dropout: 0.2}}", 1)
	lora = strings.Replace(lora, "projector: {lr: 1e-3}",
		"projector: {lr: 1e-3, lora: {r: 2, alpha: 4, dropout: 0.2}}", 1)
	for name, model := range tinyConnectors {
		for stage, text := range map[string]string{
			"projector": trains("projector"), "both": trains("projector", "language"),
			"tower": trains("vision", "projector", "language"), "lora": lora,
		} {
			if stage == "lora" && (name == "pooler" || name == "flat tiles") {
				continue // without linear maps of its own beside others'
			}
			tr := openConnector(t, model, text)
			samples := tinySamples(tr, 3, 8)
			want := gradients(t, tr, data.Split(samples, 8))
			for cut, groups := range map[string][][]data.Sample{
				"4 x 2": data.Split(samples, 4), "1 x 8": data.Split(samples, 1),
				"100 positions": data.SplitTokens(samples, 100),
			} {
				for _, recompute := range []nn.Recompute{nn.RecomputeNothing, nn.RecomputeLayers} {
					tr.plan.recompute = recompute
					for i, got := range gradients(t, tr, groups) {
						if d := distance(got, want[i]); !(d <= tolerance) {
							t.Errorf("%s, %s trained, %s, recompute %s: the gradient differs by %.2g relative", name,
								stage, cut, recompute, d)
						}
					}
				}
			}
		}
	}
}
