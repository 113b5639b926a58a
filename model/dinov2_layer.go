package model

import (
	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
)

// dinov2Layer is a layer of DINOv2: attention and an MLP, each behind a norm and scaled by a learned factor for each
// channel (LayerScale, Touvron et al. 2021).
type dinov2Layer struct {
	norm1, norm2   *nn.LayerNorm
	attention      towerAttention
	scale1, scale2 *nn.Param // [Dv]
	up, down       *nn.Linear
	gated          bool // SwiGLU: up is gate and value in one matrix, [2*I,Dv]
	activation     func(s *torch.Scope, x *torch.Tensor) *torch.Tensor
}

func newDINOv2Layer(p nn.Path, c *dinov2Config) *dinov2Layer {
	d, inner, init := c.HiddenSize, c.inner(), normal(c.Range)
	scale := func(name string) *nn.Param {
		return p.Sub(name).Param("lambda1", nn.Init{Kind: "constant", Scale: c.Scale}, d)
	}
	l := &dinov2Layer{
		norm1:  nn.NewLayerNorm(p.Sub("norm1"), d, c.Eps),
		scale1: scale("layer_scale1"),
		norm2:  nn.NewLayerNorm(p.Sub("norm2"), d, c.Eps),
		scale2: scale("layer_scale2"),
		gated:  c.Gated, activation: activations[c.Activation],
	}
	inputs := p.Sub("attention").Sub("attention")
	linear := func(p nn.Path, in, out int64, bias bool) *nn.Linear { return nn.NewLinear(p, in, out, bias, init) }
	l.attention = towerAttention{
		heads: c.Heads,
		q:     linear(inputs.Sub("query"), d, d, c.Biased),
		k:     linear(inputs.Sub("key"), d, d, c.Biased),
		v:     linear(inputs.Sub("value"), d, d, c.Biased),
		o:     linear(p.Sub("attention").Sub("output").Sub("dense"), d, d, true),
	}
	if mlp := p.Sub("mlp"); c.Gated {
		l.up, l.down = linear(mlp.Sub("weights_in"), d, 2*inner, true), linear(mlp.Sub("weights_out"), inner, d, true)
	} else {
		l.up, l.down = linear(mlp.Sub("fc1"), d, inner, true), linear(mlp.Sub("fc2"), inner, d, true)
	}
	return l
}

// forward is [R,Dv] -> [R,Dv].
func (l *dinov2Layer) forward(s *torch.Scope, x *torch.Tensor, starts []int64, keys nn.DropoutKeys) *torch.Tensor {
	y := l.attention.forward(s, l.norm1.Forward(s, x), starts, keys) // [R,Dv]
	x = torch.Add(s, torch.Mul(s, y, l.scale1.Tensor()), x)
	y = l.mlp(s, l.norm2.Forward(s, x), keys) // [R,Dv]
	return torch.Add(s, torch.Mul(s, y, l.scale2.Tensor()), x)
}

func (l *dinov2Layer) mlp(s *torch.Scope, x *torch.Tensor, keys nn.DropoutKeys) *torch.Tensor { // [R,Dv] -> [R,Dv]
	h := l.up.Forward(s, x, keys) // [R,I], or [R,2*I]
	if !l.gated {
		return l.down.Forward(s, l.activation(s, h), keys)
	}
	inner := h.Size(1) / 2
	parts := torch.Split(s, h, inner, inner) // [R,I] each
	return l.down.Forward(s, torch.SwiGLU(s, parts[0], parts[1]), keys)
}
