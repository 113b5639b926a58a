package recipes

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// loadProjector loads minimal with a section model.projector.
func loadProjector(t *testing.T, section string) (Projector, error) {
	t.Helper()
	r, err := Load(write(t, strings.Replace(minimal, "  language:", "  projector: "+section+"\n  language:", 1)), nil)
	if err != nil {
		return Projector{}, err
	}
	return r.Model.Projector, nil
}

func TestProjectorsHaveTheDefaultsOfTheirType(t *testing.T) {
	for section, want := range map[string]Projector{
		"{type: linear}": {Type: "linear"},
		"{type: qformer}": {Type: QFormer, Queries: 32, Layers: 12, Width: 768, Heads: 12, MLP: 3072, CrossEvery: 2,
			LNVision: "true"},
		"{type: qformer, queries: 64, ln_vision: false}": {Type: QFormer, Queries: 64, Layers: 12, Width: 768,
			Heads: 12, MLP: 3072, CrossEvery: 2, LNVision: "false"},
		"{type: resampler}": {Type: ResamplerType, Style: "flamingo", Queries: 128, Layers: 3, Heads: 8, HeadWidth: 64},
		"{type: resampler, then: mlp2x_gelu, mlp: 2048}": {Type: ResamplerType, Style: "flamingo", Queries: 128,
			Layers: 3, Heads: 8, HeadWidth: 64, MLP: 2048, Then: "mlp2x_gelu"},
		"{type: resampler, style: idefics2}": {Type: ResamplerType, Style: "idefics2", Queries: 64, Layers: 3,
			Heads: 16, HeadWidth: 96, KVHeads: 4},
		"{type: resampler, style: idefics}": {Type: ResamplerType, Style: "idefics", Queries: 64, Layers: 6, Heads: 16,
			HeadWidth: 96, QKNorm: "false", Then: "mlp2x_gelu"},
		"{type: pixel_shuffle}": {Type: PixelShuffle, Ratio: 2, Then: "mlp"},
		"{type: pool}":          {Type: Pool, Mode: "average", Stride: 2, Place: "before", Then: "mlp2x_gelu"},
		"{type: pooler}":        {Type: "pooler"},
	} {
		got, err := loadProjector(t, section)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", section, err, diff)
		}
	}
}

func TestProjectorSettingsThatCannotBe(t *testing.T) {
	for section, want := range map[string]string{
		"{type: linear, queries: 3}":                       `model.projector.queries: a "linear" has no settings`,
		"{type: pool, queries: 3}":                         "queries: is no setting of this pool; it has mode",
		"{type: qformer, width: 64, heads: 5}":             "heads: 5 heads do not divide the width 64",
		"{type: qformer, queries: 0}":                      "queries: must be from 1 to 4096",
		"{type: pool, place: after}":                       `place: must be one of before, behind, not "after"`,
		"{type: pool, mode: min}":                          "mode: must be one of average, max, bilinear, conv",
		"{type: pixel_shuffle, then: mlp2x_gelu}":          `then: must be one of linear, mlp, not "mlp2x_gelu"`,
		"{type: resampler, style: blip}":                   `style: must be one of flamingo, idefics, idefics2, not`,
		"{type: resampler, style: idefics2, kv_heads: 5}":  "kv_heads: 5 heads of keys do not divide the 16 heads",
		"{type: resampler, style: idefics2, then: linear}": "then: is no setting of this resampler",
	} {
		if _, err := loadProjector(t, section); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v does not say %q", section, err, want)
		}
	}
}
