package train

import (
	"github.com/llavatrain/llavatrain/data"
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
