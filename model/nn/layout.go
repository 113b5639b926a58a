package nn

import (
	"slices"

	"github.com/llavatrain/llavatrain/model/torch"
)

// Layout is how the processes that train together divide what they keep of the parameters (Rajbhandari et al. 2020,
// "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models"). The zero value is one process alone.
type Layout struct {
	Rank, World int
	Zero        Zero
	// Walked is the part whose layers a pass goes through one by one (RunCut): their gradients and weights need two
	// buffers of a layer, where they are divided.
	Walked string
}

// Zero is what is divided, by the stages of ZeRO. Norms and biases are few, and stay whole.
type Zero int

const (
	// Whole is nothing: each process keeps all of it.
	Whole Zero = iota
	// States is optimizer state and the low halves of fp32 masters: each process keeps those of its own spans alone.
	States
	// Gradients are divided too, as soon as backward has made those of a bucket.
	Gradients
	// Weights are divided too, those that do not train among them, as far as they are the walked part's layers: a
	// layer's are gathered when it is computed.
	Weights
)

func (l Layout) alone() bool { return l.World < 2 }

// walks says whether a parameter is in a layer of the walked part.
func (l Layout) walks(p *Param) bool { return p.Part == l.Walked && p.number >= 0 }

// spanUnit divides the elements of every span, so that it begins where vector instructions and NCCL like it.
const spanUnit = 256

// Bucket is a stretch of a group's buffers that is summed over the processes at once: about a layer's. Its parts of
// equal length are the processes' own spans, by rank. Where buckets begin depends on the model and the number of
// processes alone, as the order of a sum's terms does.
type Bucket struct {
	First, Elements int64
	Slot            int // which buffer its gradient lies in, where gradients are divided; and its weights
	Layer           int // of the walked part; -1 outside of its layers
}

// Span is a stretch of a group's buffers, from First, and where it lies in buffers that hold own spans alone.
type Span struct{ First, Own, Elements int64 }

// Of is the part of a bucket that is the rank's own.
func (b Bucket) Of(rank, world int) Span {
	n := b.Elements / int64(world)
	return Span{First: b.First + int64(rank)*n, Elements: n}
}

// cut cuts the group into buckets: one for each layer, and one for each matrix outside of layers. All begin and end
// with a unit of all processes.
func (g *Group) cut(layout Layout) {
	g.layout, g.size = layout, g.Elements()
	if layout.alone() {
		return
	}
	if !g.Decay {
		g.Buckets = []Bucket{{Elements: g.size, Layer: -1}}
		return
	}
	unit := spanUnit * int64(layout.World)
	up := func(n int64) int64 { return (n + unit - 1) / unit * unit }
	first, end, layer, number := int64(0), int64(0), "", -1
	closed := func() {
		if at := up(end); at > first {
			g.Buckets = append(g.Buckets, Bucket{First: first, Elements: at - first, Layer: number})
			first, end = at, at
		}
	}
	for _, p := range g.Params {
		if p.layer != layer {
			closed()
		}
		if number = -1; layout.walks(p) {
			number = p.number
		}
		layer, p.offset, end = p.layer, end, end+p.Elements()
	}
	closed()
	g.size = end
	g.assignSlots()
}

// CompleteFrom is the number of the first bucket that holds gradients of a layer and of what is declared behind it
// alone: all from there are complete once the layer's backward is.
func (g *Group) CompleteFrom(layer int) int {
	at := g.size
	for _, p := range g.Params {
		if p.number >= layer {
			at = min(at, p.offset)
		}
	}
	first := slices.IndexFunc(g.Buckets, func(b Bucket) bool { return b.First >= at })
	if first < 0 {
		return len(g.Buckets)
	}
	return first
}

// Sharded says whether this process keeps the state of its own spans alone.
func (g *Group) Sharded() bool { return g.layout.Zero >= States && g.Decay && !g.layout.alone() }

// GradientsSharded says whether the sums of gradients are kept so too.
func (g *Group) GradientsSharded() bool { return g.layout.Zero >= Gradients && g.Sharded() }

// Spans are what this process updates: its own spans of a sharded group, or all of it.
func (g *Group) Spans() (list []Span) {
	if !g.Sharded() {
		return []Span{{Elements: g.size}}
	}
	own := int64(0)
	for _, b := range g.Buckets {
		span := b.Of(g.layout.Rank, g.layout.World)
		span.Own = own
		own += span.Elements
		list = append(list, span)
	}
	return list
}

// Kept is how many elements this process keeps the state of.
func (g *Group) Kept() (n int64) {
	for _, span := range g.Spans() {
		n += span.Elements
	}
	return n
}

// Piece is a stretch of a parameter's elements that this process keeps the state of: First counts in the parameter, Own
// in buffers of own spans.
type Piece struct{ First, Own, Elements int64 }

// Pieces are what this process keeps of a trainable parameter's state: one that is all of it, if its group is not
// sharded.
func (p *Param) Pieces() (list []Piece) {
	for _, span := range p.group.Spans() {
		first, end := max(span.First, p.offset), min(span.First+span.Elements, p.offset+p.Elements())
		if first < end {
			own := span.Own + first - span.First
			list = append(list, Piece{First: first - p.offset, Own: own, Elements: end - first})
		}
	}
	return list
}

// Layer is the number of the layer that the parameter is in, if it is in one.
func (p *Param) Layer() (number int, in bool) { return p.number, p.number >= 0 }

// Sharded says whether this process may keep only pieces of the parameter's state.
func (p *Param) Sharded() bool { return p.group != nil && p.group.Sharded() }

// keep stores the pieces of a value of p's shape that this process keeps, in a buffer of own spans.
func (p *Param) keep(s *torch.Scope, buffer, value *torch.Tensor) {
	flat := torch.Reshape(s, value, -1)
	for _, piece := range p.Pieces() {
		kept := torch.Narrow(s, buffer, 0, piece.Own, piece.Elements)
		kept.Copy(torch.Narrow(s, flat, 0, piece.First, piece.Elements))
	}
}

// PieceValue is the exact fp32 value of one of p's pieces, [n].
func (p *Param) PieceValue(s *torch.Scope, piece Piece) *torch.Tensor {
	at := p.offset + piece.First
	if p.group.WeightsSharded() {
		at = piece.Own
	}
	value := torch.LeafView(s, p.group.Data, at, []int64{piece.Elements})
	if p.group.Remainder == nil {
		return value
	}
	return torch.MergeMaster(s, value, torch.Narrow(s, p.group.Remainder, 0, piece.Own, piece.Elements))
}
