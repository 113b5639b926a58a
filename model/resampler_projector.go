package model

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"

	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// resamplerProjector is a resampler, with what maps the tower's features to its width in front, or what maps its rows
// to the language model's width behind.
type resamplerProjector struct {
	tokens        int64 // P, rows of features for each tile
	before, after Projector
	resampler     *resampler
}

// resamplerShape is one position for each latent.
func resamplerShape(b projectorBuild) (ProjectorShape, error) {
	c := b.config
	switch {
	case resamplerStyles[c.Style].list == "":
		return ProjectorShape{}, failure.NotOneOf("style", c.Style, []string{"flamingo", "idefics", "idefics2"})
	case c.KVHeads > 0 && c.Heads%c.KVHeads != 0:
		return ProjectorShape{}, fmt.Errorf("kv_heads %d do not divide heads %d: set model.projector.kv_heads to a "+
			"divisor of %[2]d", c.KVHeads, c.Heads)
	}
	if c.Then != "" {
		if _, _, err := b.then().find("then", rowProjectors); err != nil {
			return ProjectorShape{}, err
		}
	}
	return ProjectorShape{Tokens: int64(c.Queries)}, nil
}

// resamplerOf completes the settings of a resampler of width d.
func resamplerOf(c recipes.Projector, d int64) resamplerSettings {
	return resamplerSettings{style: c.Style, queries: int64(c.Queries), layers: c.Layers, heads: int64(c.Heads),
		kvHeads: int64(cmp.Or(c.KVHeads, c.Heads)), headWidth: int64(c.HeadWidth), width: d,
		mlp: cmp.Or(int64(c.MLP), 4*d), headNorm: c.QKNorm == "true"}
}

// resamplerWidth is d: the tower's width if a projector stands behind, else the language model's.
func (b projectorBuild) resamplerWidth() int64 {
	if b.config.Then != "" {
		return b.in
	}
	return b.out
}

func newResamplerProjector(p nn.Path, b projectorBuild) (Projector, error) {
	m := &resamplerProjector{tokens: b.tokens}
	c, place := resamplerOf(b.config, b.resamplerWidth()), p
	switch {
	case c.style == "flamingo" && b.config.Then == "": // TinyLLaVA
		m.before = nn.NewLinear(p.Sub("linear"), b.in, b.out, true, nn.LinearInit(b.in))
	case c.style == "flamingo": // LLaVA-NeXT
		place = p.Sub("perceiver")
	case c.style == "idefics2":
		m.before = newModality(p.Sub("modality_projection"), b.in, b.mlp, b.out)
		fallthrough
	default:
		place = p.Sub("perceiver_resampler")
	}
	m.resampler = newResampler(place, c)
	var err error
	if b.config.Then != "" {
		m.after, err = b.then().newRow(p)
	}
	return m, err
}

// Forward maps the features of n tiles, [n*P,Dv], to [n*L,D].
func (m *resamplerProjector) Forward(s *torch.Scope, x *torch.Tensor, keys nn.DropoutKeys) *torch.Tensor {
	n := x.Size(0) / m.tokens
	return s.Sub(func(s *torch.Scope) *torch.Tensor {
		if m.before != nil {
			x = m.before.Forward(s, x, keys) // [n*P,d]
		}
		x = m.resampler.Forward(s, x, n, keys) // [n*L,d]
		if m.after != nil {
			x = m.after.Forward(s, x, keys)
		}
		return x
	})
}

// modality is Idefics2's map of the tower's features to the language model's width, a SwiGLU MLP as wide as the
// language model's (modeling_idefics2.py, Idefics2MLP).
type modality struct{ gate, up, down *nn.Linear }

func newModality(p nn.Path, in, mlp, out int64) *modality {
	linear := func(name string, in, out int64) *nn.Linear {
		return nn.NewLinear(p.Sub(name), in, out, false, nn.LinearInit(in))
	}
	return &modality{linear("gate_proj", in, mlp), linear("up_proj", in, mlp), linear("down_proj", mlp, out)}
}

// Forward is [R,Dv] -> [R,D].
func (m *modality) Forward(s *torch.Scope, x *torch.Tensor, keys nn.DropoutKeys) *torch.Tensor {
	return s.Sub(func(s *torch.Scope) *torch.Tensor {
		y := torch.SwiGLU(s, m.gate.Forward(s, x, keys), m.up.Forward(s, x, keys)) // [R,mlp]
		return m.down.Forward(s, y, keys)
	})
}

// resamplerFiles knows the resamplers of TinyLLaVA, LLaVA-NeXT, IDEFICS and Idefics2.
var resamplerFiles = &projectorFiles{
	anchor:    regexp.MustCompile(`^(.*?)(?:perceiver\.|perceiver_resampler\.)?latents$`),
	spellings: resamplerSpellings, sight: sightResampler, asked: askedResampler,
}

// resamplerSpellings are the names of the programs that train one. LLaVA-NeXT's has LLaVA's projector beside it; that
// of IDEFICS is in front of gated cross-attention and has nothing behind it.
func resamplerSpellings(prefix string) []spelling {
	beside := strings.TrimSuffix(prefix, "vision_resampler.")
	return []spelling{
		{{projectorPrefix + "perceiver_resampler.", prefix + "perceiver_resampler."}, {projectorPrefix, absent}},
		{{projectorPrefix + "perceiver.", prefix + "perceiver."}, {projectorPrefix, beside + ownProjector}},
		{{projectorPrefix, prefix}},
	}
}

// sightResampler tells the styles apart by the names of their layers, and LLaVA-NeXT's by its place.
func sightResampler(at lookUp) (seen sighting, ok bool) {
	for _, c := range []struct{ style, place string }{
		{"flamingo", ""}, {"flamingo", "perceiver."}, {"idefics", "perceiver_resampler."},
		{"idefics2", "perceiver_resampler."},
	} {
		style := resamplerStyles[c.style]
		query := "." + style.attention + style.q + ".weight"
		layer := c.place + style.list + ".0."
		if at.shape(c.place+"latents") == nil || at.shape(layer+query[1:]) == nil {
			continue
		}
		width := at.size(1, c.place+"latents")
		seen = sighting{config: recipes.Projector{Type: recipes.ResamplerType, Style: c.style,
			Queries: int(at.size(0, c.place+"latents")), Layers: at.count(c.place + style.list + ".%d" + query),
			MLP: int(at.size(1, layer+style.mlp+style.down+".weight"))},
			queries: at.size(0, layer+query[1:]), in: width, out: width}
		switch {
		case c.style == "idefics2":
			seen.in = at.size(1, "modality_projection.gate_proj.weight")
			seen.keys = at.size(0, layer+style.attention+"k_proj.weight")
		case c.place == "":
			seen.config.Then, seen.in = nothing, at.size(1, "linear.weight")
		default:
			seen.config.Then, seen.out = sightThen(at)
		}
		if c.style == "idefics" {
			heads := at.size(0, layer+style.attention+"q_layer_norm.weight")
			seen.config.QKNorm, seen.config.HeadWidth = fmt.Sprint(heads > 0), int(heads)
		}
		return seen, true
	}
	return seen, false
}

// nothing is what a sighting calls a setting then without a value.
const nothing = "none"

// sightThen finds out which projector of each row stands behind another's tensors; "" if none does.
func sightThen(at lookUp) (kind string, out int64) {
	for _, row := range rowProjectors {
		if row.files != nil {
			if seen, ok := row.files.sight(at); ok {
				kind, out = seen.config.Type, seen.out
			}
		}
	}
	return kind, out
}

func askedResampler(b projectorBuild) sighting {
	c := resamplerOf(b.config, b.resamplerWidth())
	asked := sighting{config: b.config, in: b.in, out: b.out, queries: c.heads * c.headWidth,
		keys: c.kvHeads * c.headWidth}
	asked.config.MLP, asked.config.Then = int(c.mlp), cmp.Or(b.config.Then, nothing)
	return asked
}
