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
	widens   bool   // gradients of several processes are summed in fp32
	updates  int64  // applied so far: the bias corrections count these, not steps
}

// groupState is one flat buffer and what the optimizer keeps for it: for own spans alone where the group is sharded.
type groupState struct {
	*nn.Group
	m, v   *torch.Tensor // [kept], owned
	summed *torch.Tensor // [kept] gradients of all processes, owned; nil where Grad itself is summed

	// Where gradients are divided, summed is fp32, since each micro-batch's sums are added to it; they come in one
	// buffer for each slot, [slot/W], owned.
	fresh []*torch.Tensor
}

func newOptimizer(settings recipes.Optimizer, ps *nn.Params, moment torch.Dtype, seed uint64) (*optimizer, error) {
	o := &optimizer{settings: settings, moment: moment, seed: seed}
	return o, torch.Do(func(s *torch.Scope) {
		for _, g := range ps.Groups() {
			shape := []int64{g.Kept()}
			state := &groupState{
				Group: g,
				m:     torch.Own(torch.Zeros(s, shape, moment, ps.Device())),
				v:     torch.Own(torch.Zeros(s, shape, moment, ps.Device())),
			}
			if g.GradientsSharded() {
				state.summed = torch.Own(torch.Zeros(s, shape, torch.Float32, ps.Device()))
				for _, n := range g.Slots() {
					state.fresh = append(state.fresh, torch.Own(torch.Zeros(s, []int64{n}, ps.Dtype(), ps.Device())))
				}
			} else if g.Sharded() {
				state.summed = torch.Own(torch.Zeros(s, shape, ps.Dtype(), ps.Device()))
			}
			o.groups = append(o.groups, state)
		}
	})
}

// squares is the sum of squares of all gradients, [1] fp64, of a process alone.
func (o *optimizer) squares(s *torch.Scope) *torch.Tensor {
	total := torch.Zeros(s, []int64{1}, torch.Float64, o.groups[0].Data.Device())
	for _, g := range o.groups {
		torch.SumSquares(g.Grad, total)
	}
	return total
}

// update applies the accumulated gradients, scaled so that their norm is at most the clip, and clears them. squares,
// [1] fp64, is the sum of their squares; if it is not finite, the device leaves weights and moments as they are. The
// caller counts the update in updates when it knows that it was applied.
func (o *optimizer) update(s *torch.Scope, lr map[string]runs.Number, squares *torch.Tensor) {
	for i, g := range o.groups {
		adam := torch.Adam{
			LR: float64(lr[g.Part]), Beta1: o.settings.Betas[0], Beta2: o.settings.Betas[1], Eps: o.settings.Eps,
			Step: o.updates + 1, Clip: o.settings.Clip, Seed: o.seed + uint64(i),
		}
		if g.Decay {
			adam.WeightDecay = o.settings.WeightDecay
		}
		if !g.Sharded() {
			torch.AdamW(g.Data, g.Remainder, g.Grad, g.m, g.v, squares, adam)
			continue
		}
		for _, span := range g.Spans() {
			own := func(t *torch.Tensor) *torch.Tensor {
				if t == nil {
					return nil
				}
				return torch.Narrow(s, t, 0, span.Own, span.Elements)
			}
			adam.First = span.First
			weights := g.OwnWeights(s, span)
			grad := own(g.summed)
			if grad.Dtype() != weights.Dtype() {
				grad = torch.To(s, grad, weights.Dtype())
			}
			torch.AdamW(weights, own(g.Remainder), grad, own(g.m), own(g.v), squares, adam)
		}
		g.summed.Zero()
	}
}

// gather gives every process the weights that the others have updated, but for those of layers whose weights are
// divided, which are gathered when they are computed.
func (o *optimizer) gather(s *torch.Scope, p *peers) {
	for _, g := range o.groups {
		if !g.Sharded() {
			continue
		}
		for i, span := range g.Spans() {
			b := g.Buckets[i]
			if g.WeightsSharded() {
				if b.Layer < 0 {
					p.gradients.AllGather(g.Gathered(s, b), g.OwnWeights(s, span)).Wait()
				}
				continue
			}
			s.Sub(func(s *torch.Scope) *torch.Tensor {
				own := torch.Empty(s, []int64{span.Elements}, g.Data.Dtype(), g.Data.Device())
				own.Copy(g.OwnWeights(s, span))
				p.gradients.AllGather(g.Gathered(s, b), own).Wait()
				return nil
			})
		}
	}
}

// moments visits what this process keeps of the two moments of every trainable parameter: a view of each piece, flat.
func (o *optimizer) moments(s *torch.Scope, visit func(name string, p *nn.Param, piece nn.Piece, view *torch.Tensor)) {
	for _, g := range o.groups {
		for _, p := range g.Params {
			for _, piece := range p.Pieces() {
				shape := []int64{piece.Elements}
				visit("m."+p.Name, p, piece, torch.LeafView(s, g.m, piece.Own, shape))
				visit("v."+p.Name, p, piece, torch.LeafView(s, g.v, piece.Own, shape))
			}
		}
	}
}

func (o *optimizer) free() {
	for _, g := range o.groups {
		g.m.Free()
		g.v.Free()
		if g.summed != nil {
			g.summed.Free()
		}
		for _, fresh := range g.fresh {
			fresh.Free()
		}
	}
}
