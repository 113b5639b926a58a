package train

import (
	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/runs"
)

// lossSums adds up the losses of a step's micro-batches.
type lossSums struct {
	loss          float64 // of the step: each micro-batch's sum times its weight
	image, text   float64 // summed token losses of samples with an image, and without
	images, texts int     // supervised tokens of those samples
	supervised    int     // supervised tokens
	positions     int
	pictures      int
	samples       int
}

// add takes the losses [N] of one micro-batch's supervised tokens.
func (sum *lossSums) add(b data.Batch, each []float32, weight float64) {
	micro := 0.0
	for i, x := range each {
		micro += float64(x)
		if b.FromImage[i] {
			sum.image += float64(x)
			sum.images++
		} else {
			sum.text += float64(x)
			sum.texts++
		}
	}
	sum.loss += micro * weight
	sum.supervised += len(each)
	sum.positions += len(b.IDs)
	sum.pictures += b.Images
	sum.samples += len(b.Samples)
}

// addSums takes the losses of one micro-batch, summed over tokens of samples with an image, and without.
func (sum *lossSums) addSums(size data.Size, image, text, weight float64) {
	sum.image, sum.images = sum.image+image, sum.images+size.FromImage
	sum.text, sum.texts = sum.text+text, sum.texts+size.Supervised-size.FromImage
	sum.loss += (image + text) * weight
	sum.supervised += size.Supervised
	sum.positions += size.Positions
	sum.pictures += size.Images
	sum.samples += size.Samples
}

// metrics returns the part of the step's metrics that its losses give; the caller adds rates, norm, times and memory.
func (sum *lossSums) metrics(step data.Step) runs.Metrics {
	m := runs.Metrics{
		Step: step.Number + 1, Epoch: runs.Number(step.Epoch),
		Loss: runs.Number(sum.loss), LossBy: map[string]runs.Number{},
		SupervisedTokens: sum.supervised, Tokens: sum.positions,
		Images: sum.pictures, Samples: sum.samples, Skipped: len(step.Skipped),
	}
	if sum.images > 0 {
		m.LossBy["image"] = runs.Number(sum.image / float64(sum.images))
	}
	if sum.texts > 0 {
		m.LossBy["text"] = runs.Number(sum.text / float64(sum.texts))
	}
	return m
}

// Of several processes:

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
