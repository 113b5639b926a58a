package model

import (
	"slices"

	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
)

// Language is a causal language model up to its final norm; Head is the matrix that gives logits.
type Language interface {
	// Embed looks ids [T] up: [T,D].
	Embed(s *torch.Scope, ids *torch.Tensor) *torch.Tensor
	// Forward runs the layers over embeddings and returns the hidden states after the final norm.
	Forward(s *torch.Scope, in LanguageInput) LanguageOutput
	// Head is the output embedding [V,D]: logits are hidden x Head^T.
	Head() *nn.Param
	// Describe returns the sizes that other packages depend on.
	Describe() LanguageShape
	// LayerPath says in words whether decoder layers run as fused nodes or as single operations, and why, when
	// training on samples of at most longest positions. The parameters must be placed.
	LayerPath(longest int64) string
}

// LanguageInput is a batch of concatenated samples, without padding.
type LanguageInput struct {
	Embeddings  *torch.Tensor // [T,D]
	Positions   *torch.Tensor // [T] i64, from 0 in each sample
	Starts      []int64       // [n+1] offsets of the samples, and T
	Wanted      []int64       // [N] positions whose hidden state is wanted; nil for all
	Recompute   nn.Recompute  // what backward recomputes
	DropoutKeys []uint64      // [n] one for each sample; nil: nothing is dropped

	// Hooks are called around the layers; nil for none.
	Hooks *nn.Hooks

	// Before is the layer that stands before layer i of the model, nil for none; nil if there are none at all.
	Before func(i int) nn.Layer

	// Generation is nil in training; in generation it has the keys and values of the samples' earlier positions, and
	// only new positions are given.
	Generation *inArena
}

// QueryBorders says which positions need a query in the last layer: in each sample, those from its first wanted
// position to its end, or only the last one if none is wanted. It returns the offsets [n+1] of these runs when they
// are concatenated.
func QueryBorders(starts, wanted []int64) []int64 {
	first := slices.Clone(starts[1:]) // in each sample
	for i := range first {
		first[i]--
	}
	for _, position := range wanted {
		i := sampleOf(starts, position)
		first[i] = min(first[i], position)
	}
	borders := make([]int64, len(starts))
	for i, position := range first {
		borders[i+1] = borders[i] + starts[i+1] - position
	}
	return borders
}

// sampleOf is the index of the sample that contains a position.
func sampleOf(starts []int64, position int64) int {
	i, _ := slices.BinarySearch(starts, position+1)
	return i - 1
}

// LanguageOutput is the hidden states, and the tape for backward.
type LanguageOutput struct {
	Hidden *torch.Tensor // [N,D], after the final norm
	Tape   *nn.Tape
}

// LanguageShape is the sizes that other packages depend on.
type LanguageShape struct {
	HiddenSize, VocabSize, Layers, MaxPositions int64
	// QuerySize is the width of all query heads together, KeySize that of all key heads
	Heads, QuerySize, KeySize, IntermediateSize int64

	KeyHeads int64 // G

	NormEps float64 // of the norms

	Selective bool // whether layers can recompute only their norms and SwiGLU
}
