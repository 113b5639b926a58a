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
	// NewCache makes an empty cache for the keys and values of one sample in generation.
	NewCache() *Cache
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

	// Before is the layer that stands before layer i of the model, nil for none; nil if there are none at all.
	Before func(i int) nn.Layer

	// Caches is nil in training; in generation it has one cache for each sample, and only new positions are given.
	Caches []*Cache
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

	NormEps float64 // of the norms

	Selective bool // whether layers can recompute only their norms and SwiGLU
}

// Cache holds the keys and values of one sample's past positions, for each layer.
type Cache struct {
	keys, values []*torch.Tensor // [m,G,d] each, owned
	length       int64
}

// attend is the cached attention of a layer: each sample's new positions attend to all positions in its cache,
// themselves included. q [T,H,d]; k, v [T,G,d] -> [T,H,d]. The new positions of a sample are either one, or all that
// it has.
func (in LanguageInput) attend(s *torch.Scope, layer int, window int64, q, k, v *torch.Tensor) *torch.Tensor {
	outputs := make([]*torch.Tensor, len(in.Caches))
	for i, cache := range in.Caches {
		part := func(x *torch.Tensor) *torch.Tensor {
			return torch.Narrow(s, x, 0, in.Starts[i], in.Starts[i+1]-in.Starts[i])
		}
		keys, values := cache.append(s, layer, part(k), part(v))                   // [m,G,d] each
		outputs[i] = torch.CachedWindowAttention(s, part(q), keys, values, window) // [n,H,d]
	}
	return torch.Cat(s, 0, outputs...)
}

// lengthen counts the new positions after all layers have cached them.
func (in LanguageInput) lengthen() {
	for i, cache := range in.Caches {
		cache.length += in.Starts[i+1] - in.Starts[i]
	}
}

// Length is how many positions the cache holds.
func (c *Cache) Length() int64 { return c.length }

// append adds the keys and values of new positions [n,G,d] to a layer and returns all its keys and values [m,G,d].
func (c *Cache) append(s *torch.Scope, layer int, k, v *torch.Tensor) (keys, values *torch.Tensor) {
	grow := func(old **torch.Tensor, x *torch.Tensor) *torch.Tensor {
		if *old != nil {
			x = torch.Cat(s, 0, *old, x)
			(*old).Free()
		}
		*old = torch.Own(x)
		return x
	}
	return grow(&c.keys[layer], k), grow(&c.values[layer], v)
}

// Free releases the cache.
func (c *Cache) Free() {
	for i := range c.keys {
		for _, t := range []*torch.Tensor{c.keys[i], c.values[i]} {
			if t != nil {
				t.Free()
			}
		}
	}
}
