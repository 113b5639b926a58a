package nn

import (
	"slices"

	"github.com/llavatrain/llavatrain/model/torch"
)

// Joined is linear maps of the same input that are fused: one matrix, stacked by rows, so that a single matrix
// product computes them all. Each keeps its name and its tensors, which are views of the joined ones.
type Joined struct {
	linears      []*Linear
	weight, bias *torch.Tensor // [sum of out,in] and [sum of out], owned; nil if the maps cannot be fused
}

// NewJoined requests, before Params.Place, that maps of the same input be fused. They are if all of them train or
// none does.
func NewJoined(linears ...*Linear) *Joined {
	j, ps := &Joined{linears: linears}, linears[0].path.params
	ps.joins = append(ps.joins, j)
	return j
}

// Tensors returns the joined weight [sum of out,in] and bias [sum of out], nil without biases; ok is false if the
// maps are not fused. They do not include what adapters add.
func (j *Joined) Tensors() (weight, bias *torch.Tensor, ok bool) {
	return j.weight, j.bias, j.weight != nil && (j.bias != nil || j.linears[0].bias == nil)
}

func (j *Joined) weights() (list []*Param) {
	for _, l := range j.linears {
		list = append(list, l.weight)
	}
	return list
}

func (j *Joined) biases() (list []*Param) {
	for _, l := range j.linears {
		if l.bias == nil {
			return nil
		}
		list = append(list, l.bias)
	}
	return list
}

// place makes the joined tensors: views of the group's buffers for trainable parameters, which have their offsets
// already, and new memory for frozen ones.
func (j *Joined) place(s *torch.Scope, device torch.Device, dtype torch.Dtype) {
	j.weight = joinParams(s, j.weights(), device, dtype)
	j.bias = joinParams(s, j.biases(), device, dtype)
}

func joinParams(s *torch.Scope, list []*Param, device torch.Device, dtype torch.Dtype) *torch.Tensor {
	if len(list) == 0 {
		return nil
	}
	shape, elements := slices.Clone(list[0].Shape), int64(0)
	shape[0] = 0
	for _, p := range list {
		if p.Trainable != list[0].Trainable || p.group != list[0].group ||
			p.group != nil && p.offset != list[0].offset+elements {
			return nil
		}
		shape[0], elements = shape[0]+p.Shape[0], elements+p.Elements()
	}
	if group := list[0].group; group != nil {
		buffer, place := group.weightAt(list[0].offset)
		joined := torch.Own(torch.LeafView(s, buffer, place, shape))
		if group.frozen {
			return joined
		}
		buffer, place = group.gradientAt(list[0].offset)
		joined.SetGrad(torch.LeafView(s, buffer, place, shape))
		return joined
	}
	joined := torch.Own(torch.Empty(s, shape, dtype, device))
	flat, offset := torch.Reshape(s, joined, -1), int64(0)
	for _, p := range list {
		p.tensor = torch.Own(torch.LeafView(s, flat, offset, p.Shape))
		offset += p.Elements()
	}
	return joined
}
