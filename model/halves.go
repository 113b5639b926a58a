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

// forward returns the positions wanted, nil being all. What lies before a sample's first one needs no query.
func (h layerHalves) forward(s *torch.Scope, x *torch.Tensor, wanted []int64) *torch.Tensor { // [T,D] -> [N,D]
	if wanted == nil {
		y, x := h.attention.Forward(s, x) // [T,H*d], [T,D]
		return h.mlp.Forward(s, x, y)
	}
	starts := h.attention.Starts
	borders := QueryBorders(starts, wanted)
	if borders[len(borders)-1] < x.Size(0) {
		h.attention.Queries = borders
	}
	y, x := h.attention.Forward(s, x)                                                          // [M,H*d], [T,D]
	x = torch.IndexSelect(s, x, 0, indices(s, wanted, x.Device()))                             // [N,D]
	y = torch.IndexSelect(s, y, 0, indices(s, rowsAmong(starts, borders, wanted), x.Device())) // [N,H*d]
	return h.mlp.Forward(s, x, y)
}

// rowsAmong is where positions stand among each sample's last ones, of which borders are the borders.
func rowsAmong(starts, borders, positions []int64) []int64 {
	rows := make([]int64, len(positions))
	for i, position := range positions {
		sample := sampleOf(starts, position) + 1
		rows[i] = borders[sample] - (starts[sample] - position)
	}
	return rows
}
