package model

import (
	"slices"

	"github.com/llavatrain/llavatrain/model/torch"
)

// grain is what extents are rounded up to, in positions.
const grain = 64

// arena holds the keys and values of all samples in generation, for each layer of the language model. A sample has one
// extent of it from its admission to its end, so that nothing is ever moved or computed again for want of room.
type arena struct {
	keys, values []*torch.Tensor // [C,G,d] each, owned
	rows         int64           // C
	free         []extent        // ascending, none of them adjacent
}

// extent is rows of an arena that lie together.
type extent struct{ place, rows int64 }

func (e extent) end() int64 { return e.place + e.rows }

// newArena makes room for so many positions, rounded up.
func newArena(m *LLaVA, positions int64) (*arena, error) {
	shape := m.Language.Describe()
	rows := Extent(positions)
	a := &arena{rows: rows, free: []extent{{0, rows}}}
	err := torch.Do(func(s *torch.Scope) {
		room := func() *torch.Tensor {
			size := []int64{rows, shape.KeyHeads, shape.KeySize / shape.KeyHeads}
			return torch.Own(torch.Empty(s, size, m.Params.Dtype(), m.Params.Device()))
		}
		for range shape.Layers {
			a.keys, a.values = append(a.keys, room()), append(a.values, room())
		}
	})
	if err != nil {
		a.release()
	}
	return a, err
}

// PositionBytes is the memory that the keys and values of a position take, in all layers.
func (m *LLaVA) PositionBytes() int64 {
	shape := m.Language.Describe()
	return 2 * shape.Layers * shape.KeySize * int64(m.Params.Dtype().Size())
}

// Extent is how many positions an engine takes for an answer that has so many with its prompt.
func Extent(positions int64) int64 { return (positions + grain - 1) / grain * grain }

// take reserves an extent for at least so many positions, the first that is large enough.
func (a *arena) take(positions int64) (e extent, ok bool) {
	rows := Extent(positions)
	for i, f := range a.free {
		if f.rows < rows {
			continue
		}
		if f.rows == rows {
			a.free = slices.Delete(a.free, i, i+1)
		} else {
			a.free[i] = extent{f.place + rows, f.rows - rows}
		}
		return extent{f.place, rows}, true
	}
	return extent{}, false
}

// give returns an extent.
func (a *arena) give(e extent) {
	i, _ := slices.BinarySearchFunc(a.free, e, func(f, e extent) int { return int(f.place - e.place) })
	a.free = slices.Insert(a.free, i, e)
	if i+1 < len(a.free) && a.free[i].end() == a.free[i+1].place {
		a.free[i].rows += a.free[i+1].rows
		a.free = slices.Delete(a.free, i+1, i+2)
	}
	if i > 0 && a.free[i-1].end() == a.free[i].place {
		a.free[i-1].rows += a.free[i].rows
		a.free = slices.Delete(a.free, i, i+1)
	}
}

// left is how many rows are free.
func (a *arena) left() (rows int64) {
	for _, f := range a.free {
		rows += f.rows
	}
	return rows
}

// copy copies the first positions of one extent to another, in all layers.
func (a *arena) copy(from, to extent, positions int64) {
	for _, t := range slices.Concat(a.keys, a.values) {
		torch.MoveRows(t, from.place, to.place, positions)
	}
}

// release frees the tensors.
func (a *arena) release() {
	for _, t := range slices.Concat(a.keys, a.values) {
		t.Free()
	}
	a.keys, a.values = nil, nil
}

// inArena is where the samples of a step of generation have their keys and values.
type inArena struct {
	*arena
	torch.Extents
}

// attend is a layer's attention in generation: the keys and values of the new positions are written to the arena, and
// the new positions attend to all of their sample's. q [T,H,d]; k, v [T,G,d] -> [T,H,d]
func (in *inArena) attend(s *torch.Scope, layer int, window int64, q, k, v *torch.Tensor) *torch.Tensor {
	torch.PutRows(in.keys[layer], in.Rows, k)
	torch.PutRows(in.values[layer], in.Rows, v)
	return torch.ExtentsAttention(s, q, in.keys[layer], in.values[layer], in.Extents, window)
}
