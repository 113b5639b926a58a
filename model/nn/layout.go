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
	// Walked is the part whose layers backward goes through one by one (RunCut): its gradients need two buffers of a
	// layer, where they are divided.
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
)

func (l Layout) alone() bool { return l.World < 2 }

// spanUnit divides the elements of every span, so that it begins where vector instructions and NCCL like it.
const spanUnit = 256

// Bucket is a stretch of a group's buffers that is summed over the processes at once: about a layer's. Its parts of
// equal length are the processes' own spans, by rank. Where buckets begin depends on the model and the number of
// processes alone, as the order of a sum's terms does.
type Bucket struct {
	First, Elements int64
	Slot            int // which buffer its gradient lies in, where gradients are divided
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
		g.Buckets = []Bucket{{Elements: g.size}}
		return
	}
	unit := spanUnit * int64(layout.World)
	up := func(n int64) int64 { return (n + unit - 1) / unit * unit }
	first, end, layer := int64(0), int64(0), ""
	closed := func() {
		if at := up(end); at > first {
			g.Buckets = append(g.Buckets, Bucket{First: first, Elements: at - first})
			first, end = at, at
		}
	}
	for _, p := range g.Params {
		if p.layer != layer {
			closed()
		}
		layer, p.offset, end = p.layer, end, end+p.Elements()
	}
	closed()
	g.size = end
	g.assignSlots()
}

// assignSlots gives each bucket a buffer for its gradient: a walked part's layers take turns with two, since one's is
// summed while the next one's is computed.
func (g *Group) assignSlots() {
	turn, next := 0, 2
	for i := range g.Buckets {
		b := &g.Buckets[i]
		if g.walks(*b) {
			b.Slot = turn
			turn = 1 - turn
		} else {
			b.Slot = next
			next++
		}
	}
}

// walks says whether a bucket is one of a walked part's layers.
func (g *Group) walks(b Bucket) bool {
	if g.Part != g.layout.Walked {
		return false
	}
	i := slices.IndexFunc(g.Params, func(p *Param) bool { return p.offset == b.First })
	return g.Params[i].number >= 0
}

// placeGradients allocates the gradients: one buffer, or those that the buckets take turns with.
func (g *Group) placeGradients(s *torch.Scope, device torch.Device, dtype torch.Dtype) {
	if !g.GradientsSharded() {
		g.Grad = torch.Own(torch.Zeros(s, []int64{g.size}, dtype, device))
		return
	}
	var sizes []int64
	for _, b := range g.Buckets {
		for len(sizes) <= b.Slot {
			sizes = append(sizes, 0)
		}
		sizes[b.Slot] = max(sizes[b.Slot], b.Elements)
	}
	for _, n := range sizes {
		g.slots = append(g.slots, torch.Own(torch.Zeros(s, []int64{n}, dtype, device)))
	}
}

// gradientAt is where the gradient of a group's element lies: in which buffer, and at which place of it.
func (g *Group) gradientAt(element int64) (buffer *torch.Tensor, place int64) {
	if g.slots == nil {
		return g.Grad, element
	}
	i := slices.IndexFunc(g.Buckets, func(b Bucket) bool { return element < b.First+b.Elements })
	return g.slots[g.Buckets[i].Slot], element - g.Buckets[i].First
}

// Gradient is a view of a bucket's gradient, [n].
func (g *Group) Gradient(s *torch.Scope, b Bucket) *torch.Tensor {
	buffer, place := g.gradientAt(b.First)
	return torch.Narrow(s, buffer, 0, place, b.Elements)
}

// Slots are the elements of a process's own span in each of the buffers that gradients of buckets lie in; nil if all
// gradients have one buffer.
func (g *Group) Slots() (sizes []int64) {
	for _, slot := range g.slots {
		sizes = append(sizes, slot.Elements()/int64(g.layout.World))
	}
	return sizes
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
