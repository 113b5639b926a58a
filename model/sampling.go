package model

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
)

// Sampling says how tokens are chosen. Temperature 0 takes the most likely one.
type Sampling struct {
	MaxTokens   int
	Temperature float64
	TopP        float64 // sample from the smallest set of tokens with this total probability; 0 and 1 for all
	TopK        int     // of so many most likely tokens; 0 for all
	MinP        float64 // of tokens with at least this share of the most likely one's probability
	Seed        uint64
	Stop        []int32 // token ids that end the answer and are not part of it

	// RepetitionPenalty divides the positive logits of tokens that the prompt or the answer has, and multiplies the
	// negative ones (Keskar et al. 2019, CTRL); 0 and 1 for none.
	RepetitionPenalty float64

	Logprobs bool // of each token
	Top      int  // and of so many of the most likely tokens in its place
}

// Token is a token of an answer. Its log-probability is before temperature, and there only if asked for.
type Token struct {
	ID      int32
	Logprob float64
	Top     []Token // the most likely first
}

// sampler chooses the tokens of one answer.
type sampler struct {
	Sampling
	random *rand.Rand
	seen   map[int32]bool // tokens that are penalised; nil without a penalty
}

// newSampler makes a sampler, whose draws follow from the seed and the stream.
func newSampler(how Sampling, stream uint64, prompt []int64) *sampler {
	s := &sampler{Sampling: how, random: rand.New(rand.NewPCG(how.Seed, stream))}
	if how.RepetitionPenalty != 0 && how.RepetitionPenalty != 1 {
		s.seen = map[int32]bool{}
		for _, id := range prompt {
			s.seen[int32(id)] = true
		}
	}
	return s
}

// next picks a token from its logits [V], which it may change.
func (s *sampler) next(logits []float32) Token {
	var all Token
	if s.Logprobs {
		all = logprobs(logits, s.Top)
	}
	for id := range s.seen {
		if x := &logits[id]; *x > 0 {
			*x /= float32(s.RepetitionPenalty)
		} else {
			*x *= float32(s.RepetitionPenalty)
		}
	}
	t := Token{ID: s.choose(logits), Top: all.Top}
	if s.Logprobs {
		t.Logprob = float64(logits[t.ID]) - all.Logprob
	}
	if s.seen != nil {
		s.seen[t.ID] = true
	}
	return t
}

// choose picks a token from its logits [V]; of equal ones the lowest id.
func (s *sampler) choose(logits []float32) int32 {
	best := mostLikely(logits)
	if s.Temperature == 0 {
		return int32(best)
	}
	order, weights := s.candidates(logits, float64(logits[best]))
	total := 0.0
	for _, w := range weights {
		total += w
	}
	draw := s.random.Float64() * total
	for i, w := range weights {
		if draw -= w; draw < 0 {
			return order[i]
		}
	}
	return order[0]
}

func mostLikely(logits []float32) (best int) {
	for i, x := range logits {
		if x > logits[best] {
			best = i
		}
	}
	return best
}

// candidates are the tokens to draw from with their weights, e^(logit - best) at the temperature, most likely first or
// all of them by id. They are the TopK most likely, of these those that MinP admits, and of these the fewest whose
// weights make up TopP of all (Holtzman et al. 2020).
func (s *sampler) candidates(logits []float32, best float64) (order []int32, weights []float64) {
	all := make([]float64, len(logits))
	total := 0.0
	for i, x := range logits {
		all[i] = math.Exp((float64(x) - best) / s.Temperature)
		total += all[i]
	}
	// Tokens below the threshold cannot be among the candidates, so that few are sorted: all of them together are less
	// than the share that TopP leaves out.
	threshold := s.MinP // of the most likely token's weight, which is 1
	if s.TopP > 0 && s.TopP < 1 && s.TopK == 0 && s.MinP == 0 {
		threshold = (1 - s.TopP) * total / float64(len(logits)) * (1 - 1e-9)
	}
	for i, w := range all {
		if w >= threshold {
			order = append(order, int32(i))
		}
	}
	if len(order) == len(all) && s.TopK == 0 {
		return order, all // of all tokens, the order does not matter
	}
	slices.SortFunc(order, func(a, b int32) int { return cmp.Or(cmp.Compare(logits[b], logits[a]), cmp.Compare(a, b)) })
	if s.TopK > 0 && s.TopK < len(order) {
		order = order[:s.TopK]
	}
	if s.TopK > 0 || s.MinP > 0 {
		total = 0
		for _, id := range order {
			total += all[id]
		}
	}
	sum := 0.0
	for _, id := range order {
		weights = append(weights, all[id])
		if sum += all[id]; s.TopP > 0 && s.TopP < 1 && sum >= s.TopP*total {
			break
		}
	}
	return order[:len(weights)], weights
}

// logprobs are the most likely tokens with their log-probabilities; Logprob is what they were normalised by: the log of
// the sum of all exponentials.
func logprobs(logits []float32, top int) Token {
	best := float64(logits[mostLikely(logits)])
	sum := 0.0
	for _, x := range logits {
		sum += math.Exp(float64(x) - best)
	}
	norm := best + math.Log(sum)
	t := Token{Logprob: norm}
	var order []int32 // the most likely so far, in order
	for i, x := range logits {
		if len(order) == top && (top == 0 || x <= logits[order[top-1]]) {
			continue
		}
		at, _ := slices.BinarySearchFunc(order, x, func(id int32, x float32) int {
			if logits[id] >= x {
				return -1
			}
			return 1
		})
		order = slices.Insert(order, at, int32(i))
		order = order[:min(top, len(order))]
	}
	for _, id := range order {
		t.Top = append(t.Top, Token{ID: id, Logprob: float64(logits[id]) - norm})
	}
	return t
}
