package model

import (
	"fmt"
	"slices"
	"strings"

	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
)

// layerHalves is a decoder layer as two nodes of the graph, each with its backward written by hand.
// llamaLayer.forward is the same layer as single operations, and also supports everything that these nodes do not.
type layerHalves struct {
	attention torch.DecoderAttention
	mlp       torch.DecoderMLP
}

// obstacle is a reason for a layer to run as single operations instead.
type obstacle struct {
	reason string // ends the sentence "single operations, because …"
	known  phase
	holds  func(l *llamaLayer, in LanguageInput) bool
}

// phase is when an obstacle is known, from first to last.
type phase int

const (
	whenDeclared phase = iota // from the configuration and the adapters
	whenPlaced                // from what trains, the device and the dtype
	whenCalled                // from the input of a pass
)

// obstacles is the complete list: a layer without any runs as two nodes.
var obstacles = []obstacle{
	{"each head of q and k is normalised", whenDeclared, func(l *llamaLayer, _ LanguageInput) bool {
		return l.qNorm != nil
	}},
	{"there are adapters (LoRA)", whenDeclared, func(l *llamaLayer, _ LanguageInput) bool {
		return slices.ContainsFunc(append(l.behind(), l.qkv.maps...), (*nn.Linear).Adapted)
	}},
	{"there are biases after attention", whenDeclared, func(l *llamaLayer, _ LanguageInput) bool {
		return slices.ContainsFunc(l.behind(), (*nn.Linear).Biased)
	}},
	{"only some of q, k and v train", whenPlaced, func(l *llamaLayer, _ LanguageInput) bool {
		return !l.qkv.joined()
	}},
	{"only one of gate and up trains", whenPlaced, func(l *llamaLayer, _ LanguageInput) bool {
		return !l.gateUp.joined()
	}},
	{"the nodes support only fp32 on a CPU and 16 bits on a GPU", whenPlaced,
		func(l *llamaLayer, _ LanguageInput) bool { return !torch.DecoderFits(l.inputNorm.Weight()) }},
	{"it generates", whenCalled, func(_ *llamaLayer, in LanguageInput) bool { return in.Generation != nil }},
	{"a sample is longer than the sliding window", whenCalled, func(l *llamaLayer, in LanguageInput) bool {
		return l.window > 0 && torch.Longest(in.Starts) > l.window
	}},
}

// obstacles lists the reasons that apply, of those known by the given phase.
func (l *llamaLayer) obstacles(by phase, in LanguageInput) (reasons []string) {
	for _, o := range obstacles {
		if o.known <= by && o.holds(l, in) {
			reasons = append(reasons, o.reason)
		}
	}
	return reasons
}

// joined says whether one matrix holds all the maps.
func (ps projections) joined() bool {
	_, _, ok := ps.whole.Tensors()
	return ok
}

// LayerPath implements Language.
func (m *llama) LayerPath(longest int64) string {
	var paths []string // without repetition, in the order of the layers
	layers := map[string]int{}
	for _, l := range m.layers {
		path := l.path(longest)
		if layers[path]++; layers[path] == 1 {
			paths = append(paths, path)
		}
	}
	if len(paths) == 1 {
		return paths[0]
	}
	for i, path := range paths {
		paths[i] = fmt.Sprintf("%d of %d %s", layers[path], len(m.layers), path)
	}
	return strings.Join(paths, "; ")
}

func (l *llamaLayer) path(longest int64) string {
	in := LanguageInput{Starts: []int64{0, longest}}
	if reasons := l.obstacles(whenPlaced, in); len(reasons) > 0 {
		return "single operations, because " + strings.Join(reasons, ", and because ")
	}
	const fused = "fused (two nodes each)"
	if reasons := l.obstacles(whenCalled, in); len(reasons) > 0 {
		return fused + ", but single operations when " + strings.Join(reasons, " or ")
	}
	return fused
}

// halves returns the layer as two nodes; ok is false if there is an obstacle.
func (l *llamaLayer) halves(in LanguageInput, cos, sin *torch.Tensor) (h layerHalves, ok bool) {
	if len(l.obstacles(whenCalled, in)) > 0 {
		return h, false
	}
	c, keep := l.config, in.Recompute != nn.RecomputeSelective
	qkv, bias, _ := l.qkv.whole.Tensors()
	gateUp, _, _ := l.gateUp.whole.Tensors()
	h.attention = torch.DecoderAttention{Norm: l.inputNorm.Weight(), Weight: qkv, Bias: bias, Cos: cos, Sin: sin,
		Starts: in.Starts, Eps: c.Eps, Heads: c.Heads, Groups: c.KeyValueHeads, Keep: keep}
	h.mlp = torch.DecoderMLP{O: l.o.Weight().Tensor(), Norm: l.postNorm.Weight(), GateUp: gateUp,
		Down: l.down.Weight().Tensor(), Eps: c.Eps, Keep: keep}
	return h, true
}

// step returns the layer as one call of generation; ok is false in training, with adapters or with biases after
// attention.
func (l *llamaLayer) step(in LanguageInput, cos, sin *torch.Tensor) (d torch.DecoderStep, ok bool) {
	qkv, bias, whole := l.qkv.whole.Tensors()
	gateUp, _, wholeMLP := l.gateUp.whole.Tensors()
	maps := append(l.behind(), l.qkv.maps...)
	if in.Generation == nil || !whole || !wholeMLP || slices.ContainsFunc(maps, (*nn.Linear).Adapted) ||
		slices.ContainsFunc(l.behind(), (*nn.Linear).Biased) {
		return d, false
	}
	d = torch.DecoderStep{InputNorm: l.inputNorm.Weight(), QKV: qkv, Bias: bias, Cos: cos, Sin: sin,
		O: l.o.Weight().Tensor(), PostNorm: l.postNorm.Weight(), GateUp: gateUp, Down: l.down.Weight().Tensor(),
		Eps: l.config.Eps, Heads: l.config.Heads, Window: l.window}
	if l.qNorm != nil {
		d.QNorm, d.KNorm = l.qNorm.Weight(), l.kNorm.Weight()
	}
	return d, true
}

// forward returns the wanted positions; nil means all. Positions before a sample's first wanted one need no query.
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

// rowsAmong is the row of each position among the samples' last positions, whose runs begin at borders (see
// QueryBorders).
func rowsAmong(starts, borders, positions []int64) []int64 {
	rows := make([]int64, len(positions))
	for i, position := range positions {
		sample := sampleOf(starts, position) + 1
		rows[i] = borders[sample] - (starts[sample] - position)
	}
	return rows
}
