package model

import (
	"slices"

	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
)

// layerHalves is a decoder layer as two nodes of the graph, each with its backward written out. The layer over single operations, which
// knows everything else that a layer may have, is its twin.
type layerHalves struct {
	attention torch.DecoderAttention
	mlp       torch.DecoderMLP
}

// halves is the layer as two nodes, where it is no more than they know: no cache, adapter, window, bias behind the attention or norm of heads.
func (l *llamaLayer) halves(in LanguageInput, x, cos, sin *torch.Tensor) (h layerHalves, ok bool) {
	if in.Caches != nil || !l.simple() || l.window > 0 && torch.Longest(in.Starts) > l.window || !torch.DecoderFits(x) {
		return h, false
	}
	keep := in.Recompute != nn.RecomputeSelective
	qkv, bias, ok := l.qkv.whole.Tensors()
	gateUp, _, alike := l.gateUp.whole.Tensors()
	c := l.config
	h.attention = torch.DecoderAttention{Norm: l.inputNorm.Weight(), Weight: qkv, Bias: bias, Cos: cos, Sin: sin, Starts: in.Starts,
		Eps: c.Eps, Heads: c.Heads, Groups: c.KeyValueHeads, Keep: keep}
	h.mlp = torch.DecoderMLP{O: l.o.Weight().Tensor(), Norm: l.postNorm.Weight(), GateUp: gateUp, Down: l.down.Weight().Tensor(), Eps: c.Eps, Keep: keep}
	return h, ok && alike
}

// simple says whether the layer has no adapter, no bias behind its attention and no norms of heads.
func (l *llamaLayer) simple() bool {
	bare := !slices.ContainsFunc(l.behind(), func(m *nn.Linear) bool { return !m.Bare() })
	return l.qNorm == nil && bare && !slices.ContainsFunc(l.qkv.maps, (*nn.Linear).Adapted)
}

// forward returns the rows wanted, nil being all.
func (h layerHalves) forward(s *torch.Scope, x, rows *torch.Tensor) *torch.Tensor { // [T,D] -> [N,D]
	y, x := h.attention.Forward(s, x) // [T,H*d], [T,D]
	if rows != nil {
		x, y = torch.IndexSelect(s, x, 0, rows), torch.IndexSelect(s, y, 0, rows) // [N,D], [N,H*d]
	}
	return h.mlp.Forward(s, x, y)
}
