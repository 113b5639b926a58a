package model

import (
	"math"
	"math/rand/v2"
	"slices"

	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// Sampling says how the next token is chosen. Temperature 0 takes the most likely one.
type Sampling struct {
	MaxTokens   int
	Temperature float64
	TopP        float64 // sample from the smallest set of tokens with this total probability; 1 for all
	Seed        uint64
	Stop        []int32 // token ids that end the answer and are not part of it
}

// Generate answers one prompt. emit is called with each token as it is made and returns whether to continue.
func (m *LLaVA) Generate(prompt Input, how Sampling, emit func(id int32) bool) error {
	return m.GenerateBatch([]Prompt{{Input: prompt, Emit: emit}}, how)
}

// Prompt is one of several prompts that are answered together.
type Prompt struct {
	Input
	Stream uint64              // determines, with Sampling.Seed, the random numbers of this answer
	Emit   func(id int32) bool // called with each token as it is made; returns whether to continue
}

// reply is an answer in progress.
type reply struct {
	Prompt
	cache  *Cache
	images *resampled // that layers of cross-attention look at; nil without such layers or images
	random *rand.Rand
	next   int32 // the last token chosen, not yet emitted
	made   int   // tokens emitted
}

// GenerateBatch answers prompts together: each prompt is processed by itself, then every pass makes one token of each
// answer that has not ended. The answer to a prompt does not depend on the others, except through the rounding of
// matrix products of different sizes.
func (m *LLaVA) GenerateBatch(prompts []Prompt, how Sampling) error {
	for _, p := range prompts {
		if err := m.CheckPrompt(p.Input); err != nil {
			return err
		}
	}
	if how.MaxTokens < 1 {
		return nil
	}
	var open []*reply
	defer func() {
		for _, r := range open {
			r.free()
		}
	}()
	for _, p := range prompts {
		r := &reply{Prompt: p, cache: m.Language.NewCache(), random: rand.New(rand.NewPCG(how.Seed, p.Stream))}
		open = append(open, r)
		if err := m.first(r, how); err != nil {
			return err
		}
	}
	for limit := m.Language.Describe().MaxPositions; ; {
		open = slices.DeleteFunc(open, func(r *reply) bool { return r.ended(how, limit) })
		if len(open) == 0 {
			return nil
		}
		if err := m.next(open, how); err != nil {
			return err
		}
	}
}

// CheckPrompt refuses a prompt that is longer than the model's positions.
func (m *LLaVA) CheckPrompt(prompt Input) error {
	if n, limit := int64(len(prompt.IDs)), m.Language.Describe().MaxPositions; n > limit {
		return failure.Inputf("prompt takes %d positions and the model has %d (max_position_embeddings): shorten it", n,
			limit)
	}
	return nil
}

// ended emits the last token chosen, and frees the cache of an answer that ends with it or before it.
func (r *reply) ended(how Sampling, limit int64) bool {
	goesOn := !slices.Contains(how.Stop, r.next)
	if goesOn {
		r.made++
		goesOn = r.Emit(r.next) && r.made < how.MaxTokens && r.cache.Length() < limit
	}
	if !goesOn {
		r.free()
	}
	return !goesOn
}

// free releases what the answer keeps between passes.
func (r *reply) free() {
	r.cache.Free()
	if r.images != nil {
		r.images.free()
	}
}

// first runs a prompt and chooses the first token.
func (m *LLaVA) first(r *reply, how Sampling) error {
	return torch.Do(func(s *torch.Scope) {
		torch.NoGrad(func() {
			n := int64(len(r.IDs))
			ids := torch.From(s, r.IDs, []int64{n}, m.Params.Device())
			in := LanguageInput{Positions: m.indices(s, r.Positions), Starts: []int64{0, n}, Wanted: []int64{n - 1}}
			if gated, ok := m.Projector.(*gatedProjector); ok {
				in.Embeddings = m.Language.Embed(s, ids) // [n,D]
				seen := &sight{}
				if len(r.Views) > 0 {
					r.images = &resampled{rows: m.project(s, r.Input)}
					gated.keep(s, r.images)
					seen = gated.see(r.Views, r.images)
				}
				in.Before = func(i int) nn.Layer { return gated.before(i, seen, nn.DropoutKeys{}) }
			} else {
				in.Embeddings = m.embed(s, ids, r.Input) // [n,D]
			}
			m.step(s, in, []*reply{r}, how)
		})
	})
}

// next runs the last token chosen of each answer and chooses the one after it.
func (m *LLaVA) next(open []*reply, how Sampling) error {
	return torch.Do(func(s *torch.Scope) {
		torch.NoGrad(func() {
			n := int64(len(open))
			var ids, positions, rows []int64
			for i, r := range open {
				ids, positions, rows = append(ids, int64(r.next)), append(positions, r.cache.Length()),
					append(rows, int64(i))
			}
			in := LanguageInput{
				Embeddings: m.Language.Embed(s, torch.From(s, ids, []int64{n}, m.Params.Device())), // [n,D]
				Positions:  m.indices(s, positions), Starts: append(rows, n), Wanted: rows,
			}
			if gated, ok := m.Projector.(*gatedProjector); ok {
				seen := gated.still(open)
				in.Before = func(i int) nn.Layer { return gated.before(i, seen, nn.DropoutKeys{}) }
			}
			m.step(s, in, open, how)
		})
	})
}

// step passes embeddings [T,D] through the language model and chooses a token for each answer from its row's logits.
func (m *LLaVA) step(s *torch.Scope, in LanguageInput, open []*reply, how Sampling) {
	for _, r := range open {
		in.Caches = append(in.Caches, r.cache)
	}
	out := m.Language.Forward(s, in)
	logits := torch.Read[float32](m.Logits(s, out.Hidden)) // [n,V]
	vocabulary := len(logits) / len(open)
	for i, r := range open {
		r.next = how.choose(logits[i*vocabulary:][:vocabulary], r.random)
	}
}

// Logits is hidden [N,D] times the output embedding: [N,V] in fp32.
func (m *LLaVA) Logits(s *torch.Scope, hidden *torch.Tensor) *torch.Tensor {
	return torch.To(s, torch.Linear(s, hidden, m.Language.Head().Tensor(), nil), torch.Float32)
}

// choose picks a token from its logits [V].
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

// nucleus is the most likely tokens that together have probability TopP, with their weights (Holtzman et al. 2020).
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
