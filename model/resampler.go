package model

import (
	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
)

// resampler turns the features of a tile into a fixed number of rows: learned latents attend to the features and to
// themselves, in pre-norm layers without positions (Alayrac et al. 2022, "Flamingo"). The styles differ in norms, in
// the MLP and in names: flamingo is OpenFlamingo's, LLaVA-NeXT's and TinyLLaVA's, idefics and idefics2 are those of
// transformers (models/idefics/perceiver.py, modeling_idefics2.py).
type resampler struct {
	settings resamplerSettings
	latents  *nn.Param // [L,d]
	layers   []*resamplerLayer
	norm     rowNorm
}

// resamplerSettings are a resampler's sizes.
type resamplerSettings struct {
	style          string // flamingo, idefics or idefics2
	queries        int64  // L, rows for each tile
	layers         int
	heads, kvHeads int64 // H of queries, G of keys and values
	headWidth      int64
	width          int64 // d, of features and latents
	mlp            int64
	headNorm       bool // each head of q and k is normalised; idefics alone
}

// rowNorm normalises rows: [R,d] -> [R,d].
type rowNorm interface {
	Forward(s *torch.Scope, x *torch.Tensor) *torch.Tensor
}

// resamplerStyle is what a style calls its parameters, and what else it has of its own.
type resamplerStyle struct {
	list                      string // of layers
	attention, mlp            string // within a layer
	context, latents, mlpNorm string // norms: of the features, of the latents, in front of the MLP
	q, o                      string
	kv                        []string // one map for both, keys first, or a map for each
	up                        []string // of the MLP: one map and an activation, or gate and up
	down                      string
	norm                      string // behind the layers
	newNorm                   func(p nn.Path, width int64) rowNorm
	activation                func(s *torch.Scope, x *torch.Tensor) *torch.Tensor
	start                     nn.Init // of the latents
}

var resamplerStyles = map[string]resamplerStyle{
	"flamingo": {list: "layers", attention: "0.", mlp: "1.", context: "0.norm_media", latents: "0.norm_latents",
		mlpNorm: "1.0", q: "to_q", kv: []string{"to_kv"}, o: "to_out", up: []string{"1"}, down: "3", norm: "norm",
		newNorm: newRowLayerNorm, activation: torch.Gelu, start: normal(1)},
	"idefics": {list: "blocks", attention: "0.", mlp: "1.", context: "0.context_layer_norm",
		latents: "0.latents_layer_norm", mlpNorm: "1.ln", q: "q_proj", kv: []string{"k_proj", "v_proj"},
		o: "output_proj", up: []string{"fc"}, down: "c_proj", norm: "layer_norm",
		newNorm: newRowLayerNorm, activation: torch.Relu, start: normal(1)},
	"idefics2": {list: "layers", attention: "self_attn.", mlp: "mlp.", context: "input_context_norm",
		latents: "input_latents_norm", mlpNorm: "post_attention_layernorm", q: "q_proj",
		kv: []string{"k_proj", "v_proj"}, o: "o_proj", up: []string{"gate_proj", "up_proj"}, down: "down_proj",
		norm: "norm", newNorm: newRowRMSNorm, start: nn.Init{Kind: "ones"}},
}

func newRowLayerNorm(p nn.Path, width int64) rowNorm { return nn.NewLayerNorm(p, width, layerNormEps) }

// newRowRMSNorm has the eps of the published Idefics2 (rms_norm_eps).
func newRowRMSNorm(p nn.Path, width int64) rowNorm { return nn.NewRMSNorm(p, width, 1e-6) }

type resamplerLayer struct {
	settings         resamplerSettings
	context, latents rowNorm
	q, o             *nn.Linear
	kv               []*nn.Linear
	qNorm, kNorm     *nn.LayerNorm // nil without headNorm
	mlpNorm          rowNorm
	up               []*nn.Linear
	down             *nn.Linear
	activation       func(s *torch.Scope, x *torch.Tensor) *torch.Tensor
}

// newResampler declares a resampler of features of width c.width.
func newResampler(p nn.Path, c resamplerSettings) *resampler {
	style := resamplerStyles[c.style]
	r := &resampler{settings: c, latents: p.Param("latents", style.start, c.queries, c.width)}
	for i := range c.layers {
		r.layers = append(r.layers, newResamplerLayer(p.Layer(style.list, i), style, c))
	}
	r.norm = style.newNorm(p.Sub(style.norm), c.width)
	return r
}

func newResamplerLayer(p nn.Path, style resamplerStyle, c resamplerSettings) *resamplerLayer {
	d, queries, keys := c.width, c.heads*c.headWidth, c.kvHeads*c.headWidth
	linear := func(name string, in, out int64) *nn.Linear {
		return nn.NewLinear(p.Sub(name), in, out, false, nn.LinearInit(in))
	}
	l := &resamplerLayer{settings: c, activation: style.activation,
		context: style.newNorm(p.Sub(style.context), d), latents: style.newNorm(p.Sub(style.latents), d),
		q: linear(style.attention+style.q, d, queries)}
	for _, name := range style.kv {
		l.kv = append(l.kv, linear(style.attention+name, d, 2*keys/int64(len(style.kv))))
	}
	if c.headNorm {
		l.qNorm = nn.NewLayerNorm(p.Sub(style.attention+"q_layer_norm"), c.headWidth, layerNormEps)
		l.kNorm = nn.NewLayerNorm(p.Sub(style.attention+"k_layer_norm"), c.headWidth, layerNormEps)
	}
	l.o = linear(style.attention+style.o, queries, d)
	l.mlpNorm = style.newNorm(p.Sub(style.mlpNorm), d)
	for _, name := range style.up {
		l.up = append(l.up, linear(style.mlp+name, d, c.mlp))
	}
	l.down = linear(style.mlp+style.down, c.mlp, d)
	return l
}

// Forward maps the features of n tiles, [n*P,d], to their latents, [n*L,d].
func (r *resampler) Forward(s *torch.Scope, x *torch.Tensor, n int64, keys nn.DropoutKeys) *torch.Tensor {
	c := r.settings
	return s.Sub(func(s *torch.Scope) *torch.Tensor {
		h := torch.Reshape(s, r.latents.Tensor(), 1, c.queries, c.width)
		h = torch.Reshape(s, torch.Expand(s, h, n, c.queries, c.width), n*c.queries, c.width)
		layers := make([]nn.Layer, len(r.layers))
		for i, layer := range r.layers {
			layers[i] = func(s *torch.Scope, h *torch.Tensor) *torch.Tensor { return layer.forward(s, h, x, n, keys) }
		}
		return r.norm.Forward(s, nn.Run(s, layers, h, false).Out)
	})
}

// forward is [n*L,d] -> [n*L,d]; features [n*P,d].
func (l *resamplerLayer) forward(s *torch.Scope, h, features *torch.Tensor, n int64,
	keys nn.DropoutKeys) *torch.Tensor {
	h = torch.Add(s, h, l.attention(s, l.latents.Forward(s, h), l.context.Forward(s, features), n, keys))
	var y *torch.Tensor // [n*L,mlp]
	if x := l.mlpNorm.Forward(s, h); len(l.up) == 2 {
		y = torch.SwiGLU(s, l.up[0].Forward(s, x, keys), l.up[1].Forward(s, x, keys))
	} else {
		y = l.activation(s, l.up[0].Forward(s, x, keys))
	}
	return torch.Add(s, h, l.down.Forward(s, y, keys))
}

// attention is that of the latents to features and latents: [n*L,d] and [n*P,d] -> [n*L,d].
func (l *resamplerLayer) attention(s *torch.Scope, latents, features *torch.Tensor, n int64,
	keys nn.DropoutKeys) *torch.Tensor {
	c := l.settings
	both := torch.Cat(s, 1, torch.Reshape(s, features, n, -1, c.width), torch.Reshape(s, latents, n, -1, c.width))
	both = torch.Reshape(s, both, -1, c.width) // [n*(P+L),d]
	var kv []*torch.Tensor                     // [n*(P+L),G*h] each
	if len(l.kv) == 1 {
		kv = torch.Split(s, l.kv[0].Forward(s, both, keys), c.kvHeads*c.headWidth, c.kvHeads*c.headWidth)
	} else {
		kv = []*torch.Tensor{l.kv[0].Forward(s, both, keys), l.kv[1].Forward(s, both, keys)}
	}
	q := splitHeads(s, l.q.Forward(s, latents, keys), n, c.heads)                  // [n,L,H,h]
	k, v := splitHeads(s, kv[0], n, c.kvHeads), splitHeads(s, kv[1], n, c.kvHeads) // [n,P+L,G,h]
	if l.qNorm != nil {
		q, k = l.qNorm.Forward(s, q), l.kNorm.Forward(s, k)
	}
	y := torch.CrossAttention(s, q, k, v) // [n,L,H,h]
	return l.o.Forward(s, torch.Reshape(s, y, latents.Size(0), c.heads*c.headWidth), keys)
}
