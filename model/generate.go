package model

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/llavatrain/llavatrain/model/torch"
)

// Sampling says how the next token is chosen. Temperature 0 takes the likeliest.
type Sampling struct {
	MaxTokens   int
	Temperature float64
	TopP        float64 // sample from the smallest set of tokens that has this much probability; 1 for all
	Seed        uint64
	Stop        []int32 // token ids that end the answer and are not part of it
}

// Generate answers one prompt. emit gets each token as it is made and says whether to go on.
func (m *LLaVA) Generate(prompt Input, how Sampling, emit func(id int32) bool) error {
	limit := m.Language.Describe().MaxPositions
	if n := int64(len(prompt.IDs)); n > limit {
		return fmt.Errorf("prompt takes %d positions and the model has %d (max_position_embeddings): shorten it", n, limit)
	}
	m.draw(Input{}) // no dropout
	cache := m.Language.NewCache()
	defer cache.Free()
	random := rand.New(rand.NewPCG(how.Seed, 0))
	next, err := m.first(prompt, cache, how, random)
	for made := 1; err == nil && made <= how.MaxTokens && !slices.Contains(how.Stop, next); made++ {
		if !emit(next) || made == how.MaxTokens || cache.Length() >= limit {
			return nil
		}
		next, err = m.next(next, cache, how, random)
	}
	return err
}

// first runs the prompt and chooses the first token.
func (m *LLaVA) first(prompt Input, cache *Cache, how Sampling, random *rand.Rand) (id int32, err error) {
	err = torch.Do(func(s *torch.Scope) {
		torch.NoGrad(func() {
			ids := torch.From(s, prompt.IDs, []int64{int64(len(prompt.IDs))}, m.Params.Device())
			id = m.step(s, m.embed(s, ids, prompt), prompt.Positions, cache, how, random)
		})
	})
	return id, err
}

// next runs one more token and chooses its successor.
func (m *LLaVA) next(last int32, cache *Cache, how Sampling, random *rand.Rand) (id int32, err error) {
	err = torch.Do(func(s *torch.Scope) {
		torch.NoGrad(func() {
			ids := torch.From(s, []int64{int64(last)}, []int64{1}, m.Params.Device())
			id = m.step(s, m.Language.Embed(s, ids), []int64{cache.Length()}, cache, how, random)
		})
	})
	return id, err
}

func (m *LLaVA) step(s *torch.Scope, embeddings *torch.Tensor, positions []int64, cache *Cache, how Sampling, random *rand.Rand) int32 {
	n := int64(len(positions))
	out := m.Language.Forward(s, LanguageInput{
		Embeddings: embeddings, // [n,D]
		Positions:  torch.From(s, positions, []int64{n}, m.Params.Device()),
		Starts:     []int64{0, n},
		Rows:       torch.From(s, []int64{n - 1}, []int64{1}, m.Params.Device()),
		Cache:      cache,
	})
	return how.choose(torch.Read[float32](m.Logits(s, out.Hidden)), random)
}

// Logits is hidden [N,D] times the output embedding: [N,V] in fp32.
func (m *LLaVA) Logits(s *torch.Scope, hidden *torch.Tensor) *torch.Tensor {
	return torch.To(s, torch.Linear(s, hidden, m.Language.Head().Tensor(), nil), torch.Float32)
}

// choose picks a token by its logits [V].
func (how Sampling) choose(logits []float32, random *rand.Rand) int32 {
	best := 0
	for i, x := range logits {
		if x > logits[best] {
			best = i
		}
	}
	if how.Temperature == 0 {
		return int32(best)
	}
	order, weights := how.nucleus(logits, float64(logits[best]))
	total := 0.0
	for _, w := range weights {
		total += w
	}
	draw := random.Float64() * total
	for i, w := range weights {
		if draw -= w; draw < 0 {
			return order[i]
		}
	}
	return order[0]
}

// nucleus is the likeliest tokens that together have TopP of the probability, with their weights (Holtzman et al. 2020).
func (how Sampling) nucleus(logits []float32, best float64) (order []int32, weights []float64) {
	weight := func(i int32) float64 { return math.Exp((float64(logits[i]) - best) / how.Temperature) }
	total := 0.0
	for i := range logits {
		order = append(order, int32(i))
		total += weight(int32(i))
	}
	slices.SortStableFunc(order, func(a, b int32) int {
		switch {
		case logits[a] > logits[b]:
			return -1
		case logits[a] < logits[b]:
			return 1
		}
		return 0
	})
	sum := 0.0
	for _, id := range order {
		w := weight(id)
		weights = append(weights, w)
		if sum += w; how.TopP > 0 && sum >= how.TopP*total {
			break
		}
	}
	return order[:len(weights)], weights
}
