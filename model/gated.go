package model

import (
	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
)

// gatedLayers are layers of cross-attention from the text to the images, between the layers of a frozen or trained
// language model (Flamingo, Alayrac et al. 2022; as in IDEFICS, transformers' modeling_idefics.py). Their gates are 0
// at first: the language model then computes what it did without them.
type gatedLayers struct {
	every  int64 // one stands before each layer i of the language model with i mod every = 0
	last   bool  // a token sees the last image before it, not all before it
	rows   int64 // N, that the resampler makes of an image
	layers []*gatedLayer
}

// gatedLayer is one of them: h + tanh(a) attention(norm(h)), then + tanh(b) SwiGLU(norm(.)).
type gatedLayer struct {
	width               int64 // of a head
	inputNorm, postNorm *nn.RMSNorm
	q, k, v, o          *nn.Linear
	qNorm, kNorm        *nn.RMSNorm // of each head; nil without qk_norm
	gate, up, down      *nn.Linear
	alphaAttention      *nn.Param // [1] or [1,1,D]
	alphaMLP            *nn.Param // [1] or [1,1,D]
}

// newGatedLayers declares the layers for images of width dv. Heads, their width, the MLP's size and the norms' eps are
// those of the language model; keys and values have as many heads as queries, even if the model groups its own.
func newGatedLayers(p nn.Path, config recipes.Projector, dv int64, language LanguageShape) *gatedLayers {
	g := &gatedLayers{every: int64(config.Every), last: config.Attend == "last", rows: int64(config.Resampler.Queries)}
	for i := range (language.Layers + g.every - 1) / g.every {
		g.layers = append(g.layers, newGatedLayer(p.Layer("gated_cross_attn_layers", int(i)), config, dv, language))
	}
	return g
}

func newGatedLayer(p nn.Path, config recipes.Projector, dv int64, language LanguageShape) *gatedLayer {
	const std = 0.02 // initializer_range of IDEFICS
	d, inner, eps := language.HiddenSize, language.IntermediateSize, language.NormEps
	cross, mlp := p.Sub("cross_attn"), p.Sub("mlp")
	linear := func(p nn.Path, in, out int64) *nn.Linear { return nn.NewLinear(p, in, out, false, normal(std)) }
	shape := []int64{1}
	if config.Gate == "vector" {
		shape = []int64{1, 1, d}
	}
	l := &gatedLayer{
		width:          language.QuerySize / language.Heads,
		inputNorm:      nn.NewRMSNorm(p.Sub("input_layernorm"), d, eps),
		q:              linear(cross.Sub("q_proj"), d, language.QuerySize),
		k:              linear(cross.Sub("k_proj"), dv, language.QuerySize),
		v:              linear(cross.Sub("v_proj"), dv, language.QuerySize),
		o:              linear(cross.Sub("o_proj"), language.QuerySize, d),
		postNorm:       nn.NewRMSNorm(p.Sub("post_attention_layernorm"), d, eps),
		gate:           linear(mlp.Sub("gate_proj"), d, inner),
		up:             linear(mlp.Sub("up_proj"), d, inner),
		down:           linear(mlp.Sub("down_proj"), inner, d),
		alphaAttention: p.Param("alpha_cross_attn", nn.Init{Kind: "zeros"}, shape...),
		alphaMLP:       p.Param("alpha_dense", nn.Init{Kind: "zeros"}, shape...),
	}
	if config.QKNorm == "true" {
		l.qNorm = nn.NewRMSNorm(cross.Sub("q_layer_norm"), l.width, eps)
		l.kNorm = nn.NewRMSNorm(cross.Sub("k_layer_norm"), l.width, eps)
	}
	return l
}

// before is the layer that stands before layer i of the language model; nil if there is none.
func (g *gatedLayers) before(i int, seen *sight, keys nn.DropoutKeys) nn.Layer {
	if int64(i)%g.every != 0 {
		return nil
	}
	k := i / int(g.every)
	return func(s *torch.Scope, x *torch.Tensor) *torch.Tensor { return g.layers[k].forward(s, x, k, seen, keys) }
}

// forward is [T,D] -> [T,D].
func (l *gatedLayer) forward(s *torch.Scope, x *torch.Tensor, k int, seen *sight, keys nn.DropoutKeys) *torch.Tensor {
	if len(seen.runs) > 0 {
		y := l.attention(s, l.inputNorm.Forward(s, x), k, seen, keys) // [T,D], 0 where nothing is seen
		x = torch.Add(s, x, gated(s, l.alphaAttention, y))
	}
	normed := l.postNorm.Forward(s, x)                                                   // [T,D]
	h := torch.SwiGLU(s, l.gate.Forward(s, normed, keys), l.up.Forward(s, normed, keys)) // [T,I]
	return torch.Add(s, x, gated(s, l.alphaMLP, l.down.Forward(s, h, keys)))
}

// gated is y times tanh(alpha): [T,D] -> [T,D].
func gated(s *torch.Scope, alpha *nn.Param, y *torch.Tensor) *torch.Tensor {
	return torch.Mul(s, y, torch.Tanh(s, torch.Reshape(s, alpha.Tensor(), -1)))
}

// attention is [T,D] -> [T,D]: each run of positions attends to the rows of the images that it sees, without positions
// and in any order. Where nothing is seen the result is 0.
func (l *gatedLayer) attention(s *torch.Scope, x *torch.Tensor, k int, seen *sight, keys nn.DropoutKeys) *torch.Tensor {
	queries := l.heads(s, l.q.Forward(s, x, keys), l.qNorm) // [T,H,d]
	var parts []*torch.Tensor
	at := int64(0)
	blind := func(to int64) { // positions at to `to` see nothing
		if to > at {
			parts = append(parts, torch.Zeros(s, []int64{to - at, queries.Size(1) * l.width}, x.Dtype(), x.Device()))
		}
		at = to
	}
	for _, r := range seen.runs {
		blind(r.from)
		q := torch.Narrow(s, queries, 0, r.from, r.to-r.from) // [n,H,d]
		parts = append(parts, r.attend(s, l, k, q))           // [n,H*d]
		at = r.to
	}
	blind(x.Size(0))
	return l.o.Forward(s, torch.Cat(s, 0, parts...), keys) // which has no bias, so that 0 stays 0
}

// heads is [R,H*d] -> [R,H,d].
func (l *gatedLayer) heads(s *torch.Scope, x *torch.Tensor, norm *nn.RMSNorm) *torch.Tensor {
	x = torch.Reshape(s, x, x.Size(0), -1, l.width)
	if norm != nil {
		x = norm.Forward(s, x)
	}
	return x
}
