package recipes

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Projector maps image features to the language model's width: LLaVA's projectors and the connectors that take their
// place. The model package knows the types; which of the settings a type has, and their defaults, is in settings.
type Projector struct {
	Type    string `yaml:"type"`
	Weights string `yaml:"weights,omitempty"` // file to start from; "": random from the seed, or the previous stage's

	Style      string `yaml:"style,omitempty"`       // resampler: flamingo | idefics | idefics2
	Queries    int    `yaml:"queries,omitempty"`     // qformer, resampler: positions that an image takes
	Layers     int    `yaml:"layers,omitempty"`      // qformer, resampler
	Width      int    `yaml:"width,omitempty"`       // qformer: hidden size
	Heads      int    `yaml:"heads,omitempty"`       // qformer, resampler
	HeadWidth  int    `yaml:"head_width,omitempty"`  // resampler
	KVHeads    int    `yaml:"kv_heads,omitempty"`    // resampler: heads of keys and values; 0: as many as heads
	MLP        int    `yaml:"mlp,omitempty"`         // qformer, resampler: intermediate size; 0: four times the width
	CrossEvery int    `yaml:"cross_every,omitempty"` // qformer: cross-attention in every n-th layer, from the first
	LNVision   string `yaml:"ln_vision,omitempty"`   // qformer: true | false: LayerNorm on the tower's features
	QKNorm     string `yaml:"qk_norm,omitempty"`     // resampler, gated_cross_attention: true | false
	Ratio      int    `yaml:"ratio,omitempty"`       // pixel_shuffle: patches a side that become one position
	Mode       string `yaml:"mode,omitempty"`        // pool: average | max | bilinear | conv
	Stride     int    `yaml:"stride,omitempty"`      // pool: patches a side that become one position
	Place      string `yaml:"place,omitempty"`       // pool: before | behind what maps to the language model's width
	Then       string `yaml:"then,omitempty"`        // what maps the result to the language model's width

	Every     int        `yaml:"every,omitempty"`     // gated_cross_attention: before every n-th layer, from the first
	Gate      string     `yaml:"gate,omitempty"`      // gated_cross_attention: float | vector
	Attend    string     `yaml:"attend,omitempty"`    // gated_cross_attention: previous | last
	Resampler *Resampler `yaml:"resampler,omitempty"` // gated_cross_attention: what its layers attend to
}

// Resampler is the part of gated cross-attention that turns a picture's features into a few rows.
type Resampler struct {
	Style     string `yaml:"style,omitempty"` // flamingo | idefics
	Queries   int    `yaml:"queries,omitempty"`
	Layers    int    `yaml:"layers,omitempty"`
	Heads     int    `yaml:"heads,omitempty"`
	HeadWidth int    `yaml:"head_width,omitempty"`
	MLP       int    `yaml:"mlp,omitempty"`
	QKNorm    string `yaml:"qk_norm,omitempty"`
}

// Whole is the resampler as the settings of a projector.
func (r Resampler) Whole() Projector {
	return Projector{Type: ResamplerType, Style: r.Style, Queries: r.Queries, Layers: r.Layers, Heads: r.Heads,
		HeadWidth: r.HeadWidth, MLP: r.MLP, QKNorm: r.QKNorm}
}

// The types of projector that have settings.
const (
	QFormer             = "qformer"
	ResamplerType       = "resampler"
	PixelShuffle        = "pixel_shuffle"
	Pool                = "pool"
	GatedCrossAttention = "gated_cross_attention"
)

// settings holds the defaults of each type's settings; a type has no others. Zero stands for a value that the model
// package derives from the widths of tower and language model.
var settings = map[string]Projector{
	// BLIP-2 (Li et al. 2023), Salesforce/blip2-opt-2.7b
	QFormer: {Queries: 32, Layers: 12, Width: 768, Heads: 12, MLP: 3072, CrossEvery: 2, LNVision: "true"},
	// Idefics3, InternVL
	PixelShuffle: {Ratio: 2, Then: "mlp"},
	// LLaVA-NeXT-Video as transformers has it; LLaVA-NeXT's own code and LLaVA-OneVision pool behind the MLP
	Pool: {Mode: "average", Stride: 2, Place: "before", Then: "mlp2x_gelu"},
	// IDEFICS
	GatedCrossAttention: {Every: 4, Gate: "float", QKNorm: "false", Attend: "previous"},
}

// resamplers holds the defaults of each style: those of TinyLLaVA, HuggingFaceM4/idefics-9b and Idefics2.
var resamplers = map[string]Projector{
	"flamingo": {Queries: 128, Layers: 3, Heads: 8, HeadWidth: 64},
	"idefics":  {Queries: 64, Layers: 6, Heads: 16, HeadWidth: 96, QKNorm: "false", Then: "mlp2x_gelu"},
	"idefics2": {Queries: 64, Layers: 3, Heads: 16, HeadWidth: 96, KVHeads: 4},
}

// withoutDefault are the settings without a default, by type or style.
var withoutDefault = map[string][]string{
	"flamingo": {"mlp", "then"}, "idefics": {"mlp"}, "idefics2": {"mlp"}, GatedCrossAttention: {"resampler"},
}

// losesGrid says whether the projector's positions are no longer those of an image's patches.
func (p Projector) losesGrid() bool {
	return p.Type == QFormer || p.Type == ResamplerType || p.Type == GatedCrossAttention
}

// checkProjector completes the settings of the projector's type and refuses those that it does not have.
func (d *decoder) checkProjector(p *Projector) {
	const at = "model.projector"
	if !d.sound(at) || !d.sound(at+".type") {
		return
	}
	fresh, more := settings[p.Type], withoutDefault[p.Type]
	if p.Type == ResamplerType {
		p.Style = cmp.Or(p.Style, "flamingo")
		d.oneOf(at+".style", p.Style, slices.Sorted(maps.Keys(resamplers))...)
		fresh, more = resamplers[p.Style], append([]string{"style"}, withoutDefault[p.Style]...)
	}
	d.complete(at, reflect.ValueOf(p).Elem(), reflect.ValueOf(fresh), more)
	d.checkSettings(at, *p)
	if p.Type == GatedCrossAttention {
		d.checkResampler(at+".resampler", p)
	}
}

// complete fills the settings that were not given and refuses those that neither fresh nor more has.
func (d *decoder) complete(at string, given, fresh reflect.Value, more []string) {
	var known []string
	for i := range given.NumField() {
		key, _, _ := strings.Cut(given.Type().Field(i).Tag.Get("yaml"), ",")
		if key == "type" || key == "weights" {
			continue
		}
		has := !fresh.Field(i).IsZero()
		if has || slices.Contains(more, key) {
			known = append(known, key)
			if given.Field(i).IsZero() && !d.given(at+"."+key) {
				given.Field(i).Set(fresh.Field(i))
			}
		}
	}
	for i := range given.NumField() {
		key, _, _ := strings.Cut(given.Type().Field(i).Tag.Get("yaml"), ",")
		if key == "type" || key == "weights" || slices.Contains(known, key) {
			continue
		}
		d.rule(at+"."+key, len(known) > 0, "a %s has no settings", quoted(given.Field(0).String()))
		d.rule(at+"."+key, len(known) == 0, "is no setting of this %s; it has %s",
			given.Field(0).String(), strings.Join(known, ", "))
	}
}

// checkSettings checks the values that were given.
func (d *decoder) checkSettings(at string, p Projector) {
	for _, size := range []struct {
		key   string
		value int
		most  int
	}{
		{"queries", p.Queries, 4096}, {"layers", p.Layers, 256}, {"width", p.Width, 1 << 16}, {"heads", p.Heads, 1024},
		{"head_width", p.HeadWidth, 4096}, {"kv_heads", p.KVHeads, 1024}, {"mlp", p.MLP, 1 << 18},
		{"cross_every", p.CrossEvery, 256}, {"ratio", p.Ratio, 64}, {"stride", p.Stride, 64}, {"every", p.Every, 1024},
	} {
		d.rule(at+"."+size.key, 1 <= size.value && size.value <= size.most, "must be from 1 to %d", size.most)
	}
	d.oneOf(at+".ln_vision", p.LNVision, "true", "false")
	d.oneOf(at+".qk_norm", p.QKNorm, "true", "false")
	d.oneOf(at+".mode", p.Mode, "average", "max", "bilinear", "conv")
	if p.Type == PixelShuffle {
		d.oneOf(at+".then", p.Then, "linear", "mlp")
	}
	d.oneOf(at+".place", p.Place, "before", "behind")
	d.oneOf(at+".gate", p.Gate, "float", "vector")
	d.oneOf(at+".attend", p.Attend, "previous", "last")
	d.rule(at+".heads", p.Type != QFormer || p.Width%max(1, p.Heads) == 0,
		"%d heads do not divide the width %d", p.Heads, p.Width)
	d.rule(at+".kv_heads", p.KVHeads == 0 || p.Heads%max(1, p.KVHeads) == 0,
		"%d heads of keys do not divide the %d heads of queries", p.KVHeads, p.Heads)
}

// checkResampler completes the resampler of gated cross-attention.
func (d *decoder) checkResampler(at string, p *Projector) {
	if p.Resampler == nil {
		p.Resampler = &Resampler{}
	}
	r := p.Resampler
	r.Style = cmp.Or(r.Style, "idefics")
	d.oneOf(at+".style", r.Style, "flamingo", "idefics")
	d.checkSettings(at, r.Whole())
	fresh := resamplers[r.Style]
	if r.Style == "flamingo" {
		fresh.Queries, fresh.Layers = 64, 6 // OpenFlamingo
	}
	r.Queries, r.Layers, r.Heads = cmp.Or(r.Queries, fresh.Queries), cmp.Or(r.Layers, fresh.Layers),
		cmp.Or(r.Heads, fresh.Heads)
	r.HeadWidth, r.QKNorm = cmp.Or(r.HeadWidth, fresh.HeadWidth), cmp.Or(r.QKNorm, fresh.QKNorm)
}
