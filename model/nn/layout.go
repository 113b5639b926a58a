package nn

import (
	"slices"

	"github.com/llavatrain/llavatrain/model/torch"
)

// Layout is how the processes that train together divide what they keep of the parameters (Rajbhandari et al. 2020,
// "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models", stage 1). The zero value is one process
// alone.
type Layout struct {
	Rank, World int
	// Each process keeps optimizer state, and the low halves of fp32 masters, for its own spans of the parameters
	// alone. Norms and biases are few, and stay whole.
	Sharded bool
}

func (l Layout) alone() bool { return l.World < 2 }

// spanUnit divides the elements of every span, so that it begins where vector instructions and NCCL like it.
const spanUnit = 256

// Bucket is a stretch of a group's buffers that is summed over the processes at once: about a layer's. Its parts of
// equal length are the processes' own spans, by rank. Where buckets begin depends on the model and the number of
// processes alone, as the order of a sum's terms does.
type Bucket struct{ First, Elements int64 }

// Span is a stretch of a group's buffers, from First, and where it lies in buffers that hold own spans alone.
type Span struct{ First, Own, Elements int64 }

// Of is the part of a bucket that is the rank's own.
func (b Bucket) Of(rank, world int) Span {
	n := b.Elements / int64(world)
	return Span{First: b.First + int64(rank)*n, Elements: n}
}

// cut pads the group and cuts it into buckets: one for each layer, and one for each matrix outside of layers. A layer
// that begins within a unit of all processes begins the bucket after it.
func (g *Group) cut(layout Layout) {
	g.layout, g.size = layout, g.Elements()
	if layout.alone() {
		return
	}
	if !g.Decay {
		g.Buckets = []Bucket{{0, g.size}}
		return
	}
	unit := spanUnit * int64(layout.World)
	up := func(n int64) int64 { return (n + unit - 1) / unit * unit }
	g.size = up(g.size)
	first, layer := int64(0), ""
	for _, p := range g.Params {
		if at := up(p.offset); p.layer != layer && at > first {
			g.Buckets = append(g.Buckets, Bucket{first, at - first})
			first = at
		}
		layer = p.layer
	}
	if g.size > first {
		g.Buckets = append(g.Buckets, Bucket{first, g.size - first})
	}
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
func (g *Group) Sharded() bool { return g.layout.Sharded && g.Decay && !g.layout.alone() }

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

// Sharded says whether this process may keep only pieces of the parameter's state.
func (p *Param) Sharded() bool { return p.group != nil && p.group.Sharded() }

// keepRemainder stores the low halves of p's fp32 masters, i16 of its shape, as far as this process keeps them.
func (p *Param) keepRemainder(s *torch.Scope, remainder *torch.Tensor) {
	flat := torch.Reshape(s, remainder, -1)
	for _, piece := range p.Pieces() {
		kept := torch.Narrow(s, p.group.Remainder, 0, piece.Own, piece.Elements)
		kept.Copy(torch.Narrow(s, flat, 0, piece.First, piece.Elements))
	}
}

// PieceValue is the exact fp32 value of one of p's pieces, [n].
func (p *Param) PieceValue(s *torch.Scope, piece Piece) *torch.Tensor {
	value := torch.LeafView(s, p.group.Data, p.offset+piece.First, []int64{piece.Elements})
	if p.group.Remainder == nil {
		return value
	}
	return torch.MergeMaster(s, value, torch.Narrow(s, p.group.Remainder, 0, piece.Own, piece.Elements))
}
