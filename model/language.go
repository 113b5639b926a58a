package model

import (
	"slices"

	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
)

// Language is a causal language model without its head.
type Language interface {
	// Embed looks ids [T] up: [T,D].
	Embed(s *torch.Scope, ids *torch.Tensor) *torch.Tensor
	// Forward runs the layers over embeddings and returns the hidden states after the final norm.
	Forward(s *torch.Scope, in LanguageInput) LanguageOutput
	// Head is the output embedding [V,D]: logits are hidden x Head^T.
	Head() *nn.Param
	// NewCache makes room for the keys and values of a conversation that is being generated.
	NewCache() *Cache
	// Describe is what configuration files and messages need to know.
	Describe() LanguageShape
	// LayerPath says in words whether decoder layers run as fused nodes or over single operations, and why, when samples of
	// up to so many positions are trained on. The parameters must be placed.
	LayerPath(longest int64) string
}

// LanguageInput is samples end to end, without padding.
type LanguageInput struct {
	Embeddings  *torch.Tensor // [T,D]
	Positions   *torch.Tensor // [T] i64, from 0 in each sample
	Starts      []int64       // [n+1] borders of the samples
	Wanted      []int64       // [N] positions whose hidden state is wanted; nil for all
	Recompute   nn.Recompute  // what backward computes again
	DropoutKeys []uint64      // [n] one for each sample; nil: nothing is dropped
	Caches      []*Cache      // nil in training; in generation one for each sample, which gives its new positions alone
}

// QueryBorders says which positions need a query in the last layer: in each sample those from its first wanted one to its end, or its last
// alone. They are the borders [n+1] of these runs laid end to end.
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

// sampleOf is the sample that a position lies in.
func sampleOf(starts []int64, position int64) int {
	i, _ := slices.BinarySearch(starts, position+1)
	return i - 1
}

// LanguageOutput is the hidden states and the way back.
type LanguageOutput struct {
	Hidden *torch.Tensor // [N,D], after the final norm
	Tape   *nn.Tape
}

// LanguageShape is the sizes that others depend on.
type LanguageShape struct {
	HiddenSize, VocabSize, Layers, MaxPositions int64
	Heads, QuerySize, KeySize, IntermediateSize int64 // QuerySize is that of all heads together, KeySize that of all key heads

	Selective bool // whether layers can compute their norms and SwiGLU alone again
}

// Cache holds the keys and values of one sample's past, layer by layer.
type Cache struct {
	keys, values []*torch.Tensor // [m,G,d] each, owned
	length       int64
}

// attend is the cached attention of a layer: each sample's new positions over all that its cache holds, themselves included. q [T,H,d];
// k, v [T,G,d] -> [T,H,d]. A sample gives one new position, or all that it has.
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

// lengthen counts the new positions when all layers have taken them.
func (in LanguageInput) lengthen() {
	for i, cache := range in.Caches {
		cache.length += in.Starts[i+1] - in.Starts[i]
	}
}

// Length is how many positions the cache holds.
func (c *Cache) Length() int64 { return c.length }

// append adds the keys and values of new positions [n,G,d] to a layer and returns all of its keys and values [m,G,d].
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
