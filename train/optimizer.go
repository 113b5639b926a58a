package train

import (
	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs"
)

// optimizer is AdamW (Loshchilov and Hutter 2019) over a model's flat buffers; checkpoints read and write its state.
// Moments are fp32, or bf16 with stochastic rounding.
type optimizer struct {
	settings recipes.Optimizer
	groups   []*groupState
	moment   torch.Dtype
	seed     uint64 // of stochastic rounding
	updates  int64  // applied so far: the bias corrections count these, not steps
}

// groupState is one flat buffer and its moments.
type groupState struct {
	*nn.Group
	m, v *torch.Tensor // [n], owned
}

func newOptimizer(settings recipes.Optimizer, ps *nn.Params, moment torch.Dtype, seed uint64) (*optimizer, error) {
	o := &optimizer{settings: settings, moment: moment, seed: seed}
	return o, torch.Do(func(s *torch.Scope) {
		for _, g := range ps.Groups() {
			shape := []int64{g.Elements()}
			o.groups = append(o.groups, &groupState{
				Group: g,
				m:     torch.Own(torch.Zeros(s, shape, moment, ps.Device())),
				v:     torch.Own(torch.Zeros(s, shape, moment, ps.Device())),
			})
		}
	})
}

// squares is the sum of squares of all gradients, [1] fp64.
func (o *optimizer) squares(s *torch.Scope) *torch.Tensor {
	total := torch.Zeros(s, []int64{1}, torch.Float64, o.groups[0].Grad.Device())
	for _, g := range o.groups {
		torch.SumSquares(g.Grad, total)
	}
	return total
}

// update applies the accumulated gradients, scaled so that their norm is at most the clip, and clears them. squares,
// [1] fp64, is the sum of their squares; if it is not finite, the device leaves weights and moments as they are. The
// caller counts the update in updates when it knows that it was applied.
func (o *optimizer) update(lr map[string]runs.Number, squares *torch.Tensor) {
	for i, g := range o.groups {
		decay := 0.0
		if g.Decay {
			decay = o.settings.WeightDecay
		}
		torch.AdamW(g.Data, g.Remainder, g.Grad, g.m, g.v, squares, torch.Adam{
			LR: float64(lr[g.Part]), Beta1: o.settings.Betas[0], Beta2: o.settings.Betas[1], Eps: o.settings.Eps,
			WeightDecay: decay, Step: o.updates + 1, Clip: o.settings.Clip, Seed: o.seed + uint64(i),
		})
	}
}

// moments visits the two moments of every trainable parameter, as views of the parameter's shape.
func (o *optimizer) moments(s *torch.Scope, visit func(name string, shape []int64, view *torch.Tensor)) {
	for _, g := range o.groups {
		offset := int64(0)
		for _, p := range g.Params {
			visit("m."+p.Name, p.Shape, torch.LeafView(s, g.m, offset, p.Shape))
			visit("v."+p.Name, p.Shape, torch.LeafView(s, g.v, offset, p.Shape))
			offset += p.Elements()
		}
	}
}

func (o *optimizer) free() {
	for _, g := range o.groups {
		g.m.Free()
		g.v.Free()
	}
}
