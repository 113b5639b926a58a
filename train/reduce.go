package train

import (
	"slices"

	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
)

// Of several processes each has computed some of a step's micro-batches. Before the update all get the sums of what
// they have, so that the update of each is that of one process. The weights then stay the same in all, bit for bit.

// reduce sums the gradients and the losses of all processes. It returns the sum of squares of the gradient, and what is
// NaN if a loss of any process is not finite, both [1] fp64. A process without a micro-batch takes part with zeros.
func (t *trainer) reduce(s *torch.Scope, queued *queuedStep) (squares, nonFinite *torch.Tensor) {
	if nonFinite = queued.nonFinite; nonFinite == nil {
		nonFinite = torch.Zeros(s, []int64{1}, torch.Float64, t.plan.device)
	}
	if t.peers.alone() {
		return t.optimizer.squares(s), nonFinite
	}
	if queued.reduction == nil {
		queued.reduction = t.optimizer.newReduction(t.peers, false)
	}
	queued.reduction.finish(s)
	sums := t.sumsOfAll(s, queued, nonFinite)      // [2M+1]
	parts := t.optimizer.squaresByRank(s, t.peers) // [W]
	both := torch.Cat(s, 0, sums, parts)           // [2M+1+W]
	t.peers.gradients.AllReduce(both).Wait()
	n, world := sums.Elements(), int64(t.peers.World)
	queued.sums = torch.ReadLater(torch.Narrow(s, both, 0, 0, n))
	if t.plan.zero >= nn.States {
		parts = torch.Narrow(s, both, 0, n, world)
	}
	return t.optimizer.addSquares(s, parts), torch.Narrow(s, both, 0, n-1, 1)
}

// reduction is the sums of gradients over all processes, bucket by bucket: those of the language model's layers from
// the last to the first, as backward completes them, and then all others. All processes begin them in this order. Most
// gradients are summed once a step; those that are divided, after each micro-batch.
type reduction struct {
	peers   *peers
	widens  bool // sums are fp32, whatever the gradients are
	buckets []pending
	begun   int
	settled int
	layered int // of buckets, those of the language model's matrices, which come first
	group   *groupState
}

// pending is a bucket to be summed.
type pending struct {
	group *groupState
	nn.Bucket
	own  nn.Span // where a sharded group has the sums
	work *torch.Work

	wide, wideSums *torch.Tensor // the gradient and its sums in fp32, owned while they are under way; nil if it is not
}

// newReduction prepares the sums of the groups whose gradients are divided, or of all others.
func (o *optimizer) newReduction(p *peers, divided bool) *reduction {
	r := &reduction{peers: p, widens: o.widens}
	add := func(g *groupState) {
		for i := range slices.Backward(g.Buckets) {
			next := pending{group: g, Bucket: g.Buckets[i]}
			if g.Sharded() {
				next.own = g.Spans()[i]
			}
			r.buckets = append(r.buckets, next)
		}
	}
	layered := func(g *groupState) bool { return g.Part == recipes.PartLanguage && g.Decay }
	for _, g := range o.groups {
		if layered(g) && g.GradientsSharded() == divided {
			add(g)
			r.group, r.layered = g, len(g.Buckets)
		}
	}
	for _, g := range o.groups {
		if !layered(g) && g.GradientsSharded() == divided {
			add(g)
		}
	}
	return r
}

// reductionAfter is the sums that a step's i-th micro-batch of this process ends with; nil if there are none. Divided
// gradients are summed after each, all others after the last, where they are left to the update.
func (t *trainer) reductionAfter(queued *queuedStep, i int) *reduction {
	switch {
	case t.peers.alone():
		return nil
	case t.plan.zero >= nn.Gradients:
		return t.optimizer.newReduction(t.peers, true)
	case i < len(queued.step.Micro)-1:
		return nil
	}
	queued.reduction = t.optimizer.newReduction(t.peers, false)
	return queued.reduction
}

// joinRounds takes part in the sums of divided gradients after the micro-batches of others, if they have more than this
// process had.
func (t *trainer) joinRounds(step data.Step, had int) error {
	if t.peers.alone() || t.plan.zero < nn.Gradients {
		return nil
	}
	for ; had < passes(step, t.peers.World); had++ {
		err := torch.Do(func(s *torch.Scope) {
			round := t.optimizer.newReduction(t.peers, true)
			visit := t.layers.pass(s, round)
			visit.endForward()
			visit.endBackward()
			round.finish(s)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// passes is the most micro-batches of a step that a process has.
func passes(step data.Step, world int) int {
	of := make([]int, world)
	for _, size := range step.Sizes() {
		if size.Supervised > 0 {
			of[size.Rank]++
		}
	}
	return slices.Max(of)
}

// completed begins the sums of what is complete after a layer's backward. Those of what was complete before are waited
// for, if they go to slices: divided gradients of the next layer take their place, and Gloo keeps a copy meanwhile.
func (r *reduction) completed(s *torch.Scope, layer int) {
	if r.group == nil {
		return
	}
	n := r.layered - r.group.CompleteFrom(layer)
	r.begin(s, n)
	if r.group.Sharded() {
		r.settle(s, n-1)
	}
}

// begin begins the first n sums, but for those that have begun.
func (r *reduction) begin(s *torch.Scope, n int) {
	for ; r.begun < n; r.begun++ {
		b := &r.buckets[r.begun]
		grad := b.group.Gradient(s, b.Bucket)
		if r.widens && grad.Dtype() != torch.Float32 {
			b.wide = torch.Own(torch.To(s, grad, torch.Float32))
			grad = b.wide
		}
		switch {
		case !b.group.Sharded():
			b.work = r.peers.gradients.AllReduce(grad)
		case b.wide != nil:
			b.wideSums = torch.Own(torch.Empty(s, []int64{b.own.Elements}, torch.Float32, grad.Device()))
			b.work = r.peers.gradients.ReduceScatter(b.wideSums, grad)
		default:
			b.work = r.peers.gradients.ReduceScatter(b.sums(s), grad)
		}
	}
}

// sums is where the sums of a sharded group's bucket come, as far as they are this process's: [n].
func (b *pending) sums(s *torch.Scope) *torch.Tensor {
	if b.group.GradientsSharded() {
		return torch.Narrow(s, b.group.fresh[b.Slot], 0, 0, b.own.Elements)
	}
	return torch.Narrow(s, b.group.summed, 0, b.own.Own, b.own.Elements)
}

// settle waits for the first n sums, but for those that were waited for.
func (r *reduction) settle(s *torch.Scope, n int) {
	for ; r.settled < n; r.settled++ {
		b := &r.buckets[r.settled]
		b.work.Wait()
		s.Sub(func(s *torch.Scope) *torch.Tensor {
			b.collect(s)
			return nil
		})
		b.freeWide()
	}
}

// collect puts the sums of a bucket where they belong, and clears what was summed.
func (b *pending) collect(s *torch.Scope) {
	grad := b.group.Gradient(s, b.Bucket)
	if !b.group.Sharded() {
		if b.wide != nil {
			grad.Copy(b.wide)
		}
		return
	}
	grad.Zero()
	total := torch.Narrow(s, b.group.summed, 0, b.own.Own, b.own.Elements)
	switch {
	case b.group.GradientsSharded() && b.wide != nil:
		total.Copy(torch.Add(s, total, b.wideSums))
	case b.group.GradientsSharded():
		total.Copy(torch.Add(s, total, torch.To(s, b.sums(s), torch.Float32)))
	case b.wide != nil:
		total.Copy(b.wideSums)
	}
}

func (b *pending) freeWide() {
	for _, t := range []*torch.Tensor{b.wide, b.wideSums} {
		if t != nil {
			t.Free()
		}
	}
	b.wide, b.wideSums = nil, nil
}

// finish begins the sums that have not begun, and waits for all.
func (r *reduction) finish(s *torch.Scope) {
	for n := r.begun + 1; n <= len(r.buckets); n++ {
		r.begin(s, n)
		if r.buckets[n-1].group.Sharded() {
			r.settle(s, n-1)
		}
	}
	r.settle(s, len(r.buckets))
}

// squaresByRank is the sums of squares of the summed gradients of each process's spans, [W] fp64, in the order in which
// a sharded process adds up its own, which alone it has. Norms and biases are left out.
func (o *optimizer) squaresByRank(s *torch.Scope, p *peers) *torch.Tensor {
	all := torch.Zeros(s, []int64{int64(p.World)}, torch.Float64, o.groups[0].Data.Device())
	for _, g := range o.groups {
		if !g.Decay {
			continue
		}
		own := int64(0)
		for _, b := range g.Buckets {
			for rank := range p.World {
				span, from := b.Of(rank, p.World), g.Grad
				if g.Sharded() {
					if rank != p.Rank {
						continue
					}
					span.First, from = own, g.summed
					own += span.Elements
				}
				torch.SumSquares(torch.Narrow(s, from, 0, span.First, span.Elements),
					torch.Narrow(s, all, 0, int64(rank), 1))
			}
		}
	}
	return all
}

// addSquares is the sum of squares of the whole gradient, [1] fp64: parts, [W], by rank, and then of norms and biases,
// so that it is the same whether the others are sharded or not.
func (o *optimizer) addSquares(s *torch.Scope, parts *torch.Tensor) *torch.Tensor {
	total := torch.Zeros(s, []int64{1}, torch.Float64, parts.Device())
	for rank := range parts.Elements() {
		total = torch.Add(s, total, torch.Narrow(s, parts, 0, rank, 1))
	}
	for _, g := range o.groups {
		if !g.Decay {
			torch.SumSquares(g.Grad, total)
		}
	}
	return total
}
