// Package loss holds the token losses. A loss is a sum over supervised tokens, returned with each token's term; an
// Average turns the sums of an optimizer step into the number that is minimised, so that a gradient need not depend
// on how the step was cut into micro-batches.
package loss

import (
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// logits is how many logits are held at a time: 2^24 fp32 values are 64 MB.
const logits = 1 << 24

// Chunk is how many rows of logits are held at a time for a vocabulary of the given size.
func Chunk(vocabulary int64) int64 { return max(64, logits/vocabulary) }

// CrossEntropy is the summed cross-entropy of hidden states against labels, computed in chunks of rows so that the
// full logits are never in memory. hidden [N,D], head [V,D], labels [N] i64 -> sum [] fp32, each [N] fp32 (each row's
// term, not differentiable).
func CrossEntropy(s *torch.Scope, hidden, head, labels *torch.Tensor) (sum, each *torch.Tensor) {
	return torch.CrossEntropy(s, hidden, head, labels, Chunk(head.Size(0)))
}

// Average says how the sums of a step's micro-batches become its loss.
type Average struct {
	// Weight is what the summed loss of one micro-batch is multiplied by. tokens counts its supervised tokens,
	// stepTokens those of the whole optimizer step, and micros the micro-batches that have any.
	Weight func(tokens, stepTokens, micros int) float64
}

// averages are the values of the recipe key `loss`.
var averages = map[string]Average{
	// Every supervised token of the optimizer step counts the same.
	"token_mean": {func(_, stepTokens, _ int) float64 { return 1 / float64(stepTokens) }},
	// The mean over micro-batches of each one's mean, which the original minimises (transformers.Trainer before
	// 4.46): a token counts more in a micro-batch with few supervised tokens.
	"micro_mean": {func(tokens, _, micros int) float64 { return 1 / float64(tokens) / float64(micros) }},
}

// OpenAverage finds an average by its recipe name.
func OpenAverage(name string) (Average, error) {
	return failure.LookUp("loss", name, averages)
}
