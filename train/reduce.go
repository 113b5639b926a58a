package train

import (
	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/model/torch"
)

// Of several processes each has computed some of a step's micro-batches. Before the update all get the sums of what
// they have, so that the update of each is that of one process. The weights then stay the same in all, bit for bit.

// sumsOf is the losses of a micro-batch's supervised tokens, [N] fp32, summed over tokens of samples with an image, and
// over the others, [2] fp64.
func sumsOf(s *torch.Scope, b data.Batch, each *torch.Tensor) *torch.Tensor {
	n := int64(len(b.FromImage))
	kinds := make([]float64, 2*n) // [2,N]: 1 where a token is of the kind
	for i, image := range b.FromImage {
		if image {
			kinds[i] = 1
		} else {
			kinds[n+int64(i)] = 1
		}
	}
	losses := torch.Reshape(s, torch.To(s, torch.Detach(s, each, false), torch.Float64), n, 1) // [N,1]
	sums := torch.MatMul(s, torch.From(s, kinds, []int64{2, n}, each.Device()), losses)        // [2,1]
	return torch.Reshape(s, sums, 2)
}

// reduce sums the gradients and the losses of all processes, and returns what is NaN if a loss of any is not finite,
// [1] fp64. A process without a micro-batch takes part with zeros.
func (t *trainer) reduce(s *torch.Scope, queued *queuedStep) (nonFinite *torch.Tensor) {
	if nonFinite = queued.nonFinite; nonFinite == nil {
		nonFinite = torch.Zeros(s, []int64{1}, torch.Float64, t.plan.device)
	}
	if t.peers.alone() {
		return nonFinite
	}
	for _, g := range t.optimizer.groups {
		t.peers.gradients.AllReduce(g.Grad).Wait()
	}
	sums := t.sumsOfAll(s, queued, nonFinite) // [2M+1]
	t.peers.gradients.AllReduce(sums).Wait()
	queued.sums = torch.ReadLater(sums)
	return torch.Narrow(s, sums, 0, 2*int64(len(queued.step.Sizes())), 1)
}

// sumsOfAll lays the sums of this process's micro-batches where they stand among the M of the step, between zeros, so
// that adding those of all processes rounds nothing; behind them is nonFinite.
func (t *trainer) sumsOfAll(s *torch.Scope, queued *queuedStep, nonFinite *torch.Tensor) *torch.Tensor {
	none := torch.Zeros(s, []int64{2}, torch.Float64, t.plan.device)
	var parts []*torch.Tensor
	next := 0
	for _, size := range queued.step.Sizes() {
		part := none
		if size.Rank == t.peers.Rank && size.Supervised > 0 {
			part = queued.losses[next].sums
			next++
		}
		parts = append(parts, part)
	}
	return torch.Cat(s, 0, append(parts, nonFinite)...)
}

// sumLosses adds up the losses of a step's micro-batches.
func (t *trainer) sumLosses(queued *queuedStep, sum *lossSums) {
	if t.peers.alone() {
		for _, micro := range queued.losses {
			sum.add(micro.batch, torch.Values[float32](micro.each), micro.weight)
		}
		return
	}
	if queued.sums == nil {
		return
	}
	sums := torch.Values[float64](queued.sums)
	tokens, micros := supervised(queued.step.Sizes())
	for i, size := range queued.step.Sizes() {
		if size.Supervised > 0 {
			weight := t.plan.average.Weight(size.Supervised, tokens, micros)
			sum.addSums(size, sums[2*i], sums[2*i+1], weight)
		}
	}
}
