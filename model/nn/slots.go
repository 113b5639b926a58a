package nn

import (
	"slices"

	"github.com/llavatrain/llavatrain/model/torch"
)

// Where gradients are divided, a bucket's lie in a slot until they are summed; where weights are divided, a bucket's
// are gathered into a slot, where layers see them. The slots of layers are taken in turn, all others have one user.

// assignSlots gives each bucket a buffer for its gradient: a walked part's layers take turns with two, since one's is
// summed while the next one's is computed.
func (g *Group) assignSlots() {
	turn, next := 0, 2
	for i := range g.Buckets {
		b := &g.Buckets[i]
		if b.Layer >= 0 {
			b.Slot = turn
			turn = 1 - turn
		} else {
			b.Slot = next
			next++
		}
	}
}

// WeightsSharded says whether this process keeps its own spans of the weights alone: Data is those.
func (g *Group) WeightsSharded() bool { return g.layout.Zero >= Weights && g.Sharded() }

// placeWeights allocates the weights, and the buffers that those of buckets are gathered into.
func (g *Group) placeWeights(s *torch.Scope, device torch.Device, dtype torch.Dtype) {
	n := g.size
	if g.WeightsSharded() {
		n = g.Kept()
		g.gathered = g.placeSlots(s, device, dtype)
	}
	g.Data = torch.Own(torch.Zeros(s, []int64{n}, dtype, device))
}

// placeGradients allocates the gradients: one buffer, or those that the buckets take turns with.
func (g *Group) placeGradients(s *torch.Scope, device torch.Device, dtype torch.Dtype) {
	if !g.GradientsSharded() {
		g.Grad = torch.Own(torch.Zeros(s, []int64{g.size}, dtype, device))
		return
	}
	g.slots = g.placeSlots(s, device, dtype)
}

// placeSlots allocates a buffer for each slot, as large as the largest bucket that uses it.
func (g *Group) placeSlots(s *torch.Scope, device torch.Device, dtype torch.Dtype) (list []*torch.Tensor) {
	var sizes []int64
	for _, b := range g.Buckets {
		for len(sizes) <= b.Slot {
			sizes = append(sizes, 0)
		}
		sizes[b.Slot] = max(sizes[b.Slot], b.Elements)
	}
	for _, n := range sizes {
		list = append(list, torch.Own(torch.Zeros(s, []int64{n}, dtype, device)))
	}
	return list
}

// gradientAt is where the gradient of a group's element lies: in which buffer, and at which place of it.
func (g *Group) gradientAt(element int64) (buffer *torch.Tensor, place int64) {
	return g.at(element, g.Grad, g.slots)
}

// weightAt is where layers see a group's element.
func (g *Group) weightAt(element int64) (buffer *torch.Tensor, place int64) {
	return g.at(element, g.Data, g.gathered)
}

func (g *Group) at(element int64, whole *torch.Tensor, slots []*torch.Tensor) (buffer *torch.Tensor, place int64) {
	if slots == nil {
		return whole, element
	}
	i := slices.IndexFunc(g.Buckets, func(b Bucket) bool { return element < b.First+b.Elements })
	return slots[g.Buckets[i].Slot], element - g.Buckets[i].First
}

// Gathered is a view of a bucket's weights where layers see them, [n].
func (g *Group) Gathered(s *torch.Scope, b Bucket) *torch.Tensor {
	buffer, place := g.weightAt(b.First)
	return torch.Narrow(s, buffer, 0, place, b.Elements)
}

// OwnWeights is a view of the weights of one of this process's spans, [n].
func (g *Group) OwnWeights(s *torch.Scope, span Span) *torch.Tensor {
	if g.WeightsSharded() {
		return torch.Narrow(s, g.Data, 0, span.Own, span.Elements)
	}
	return torch.Narrow(s, g.Data, 0, span.First, span.Elements)
}

// OfLayer is the number of the bucket of a walked part's layer; -1 if the group has none.
func (g *Group) OfLayer(layer int) int {
	return slices.IndexFunc(g.Buckets, func(b Bucket) bool { return b.Layer == layer })
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
