package chat

import (
	"fmt"
	"math"

	"github.com/llavatrain/llavatrain/synth/chat/reply"
)

// Budget limits what a ledger may cost, all its runs together; 0 stands for no limit.
type Budget struct {
	Tokens int64
	Money  float64 // in the currency of Prices
	Prices Prices
}

// Prices are those of a million tokens.
type Prices struct {
	Prompt, Completion float64
	Cached             *float64 // of prompt tokens that the endpoint had in its cache; nil: as Prompt
	BatchFactor        float64  // of an answer by batch file; 0: 1
}

// Usage counts tokens.
type Usage struct {
	Prompt     int64 `json:"prompt"`
	Cached     int64 `json:"cached"` // part of Prompt
	Completion int64 `json:"completion"`
}

// Total is the number of tokens.
func (u Usage) Total() int64 { return u.Prompt + u.Completion }

func (u Usage) plus(v Usage) Usage {
	return Usage{u.Prompt + v.Prompt, u.Cached + v.Cached, u.Completion + v.Completion}
}

func (u Usage) minus(v Usage) Usage {
	return Usage{u.Prompt - v.Prompt, u.Cached - v.Cached, u.Completion - v.Completion}
}

// Money is what tokens cost.
func (p Prices) Money(u Usage) float64 {
	cached := p.Prompt
	if p.Cached != nil {
		cached = *p.Cached
	}
	return (float64(u.Prompt-u.Cached)*p.Prompt + float64(u.Cached)*cached + float64(u.Completion)*p.Completion) / 1e6
}

// bill is an amount of tokens, of which some are paid at the price of batches.
type bill struct{ online, batch Usage }

func (b bill) usage() Usage { return b.online.plus(b.batch) }

func (p Prices) of(b bill) float64 {
	factor := p.BatchFactor
	if factor == 0 {
		factor = 1
	}
	return p.Money(b.online) + factor*p.Money(b.batch)
}

// allows says whether the budget has room for all of the bills together.
func (b Budget) allows(bills ...bill) bool {
	var all bill
	for _, one := range bills {
		all = bill{all.online.plus(one.online), all.batch.plus(one.batch)}
	}
	return (b.Tokens == 0 || all.usage().Total() <= b.Tokens) && (b.Money == 0 || b.Prices.of(all) <= b.Money)
}

// String is the limit that is set.
func (b Budget) String() string { return b.words(b.Tokens, b.Money) }

// amount is a bill in what the budget limits.
func (b Budget) amount(of bill) string { return b.words(of.usage().Total(), b.Prices.of(of)) }

func (b Budget) words(tokens int64, money float64) string {
	switch {
	case b.Money == 0:
		return fmt.Sprintf("%d tokens", tokens)
	case b.Tokens == 0:
		return fmt.Sprintf("%.6g of money", money)
	}
	return fmt.Sprintf("%.6g of money or %d tokens", money, tokens)
}

// estimator predicts what a request costs from what others did: prompts by how the endpoint's count compares with the
// caller's, answers by their length.
//
// A claim is counted at the mean, so that what is maybe paid is right for many. The budget has to hold for each answer,
// so what is in flight is counted at the most that it can cost.
type estimator struct {
	expected, counted float64 // prompt tokens, by the caller and by the endpoint
	ratio             float64 // the highest of a single request
	answers           float64
	completion        float64 // tokens of all answers
	longest           int64   // answer, above the limit too: not every endpoint keeps to it
}

// learn adds what an endpoint counted of a request whose prompt should have had a number of tokens.
func (e *estimator) learn(expected int64, u Usage) {
	e.answers++
	e.completion += float64(u.Completion)
	e.longest = max(e.longest, u.Completion)
	if expected > 0 && u.Prompt > 0 {
		e.expected += float64(expected)
		e.counted += float64(u.Prompt)
		e.ratio = max(e.ratio, float64(u.Prompt)/float64(expected))
	}
}

// mean is what a request should cost.
func (e *estimator) mean(r *Request) Usage {
	u := Usage{Prompt: int64(r.PromptTokens), Completion: int64(r.MaxTokens)}
	if e.expected > 0 {
		u.Prompt = int64(math.Ceil(float64(r.PromptTokens) * e.counted / e.expected))
	}
	if e.answers > 0 {
		u.Completion = int64(math.Ceil(e.completion / e.answers))
	}
	return u
}

// most is what a request can cost, by all that is known. It is no less than the mean.
func (e *estimator) most(r *Request) Usage {
	u := Usage{Prompt: int64(r.PromptTokens), Completion: max(int64(r.MaxTokens), e.longest)}
	if e.expected > 0 {
		u.Prompt = int64(math.Ceil(float64(r.PromptTokens) * e.ratio))
	}
	return u
}

// cost is what an answer cost. Without the endpoint's count it is estimated: the prompt as claimed, the answer at four
// bytes a token.
func cost(r reply.Reply, claimed Usage) (u Usage, estimated bool) {
	if r.Usage.Known {
		return Usage{int64(r.Usage.Prompt), int64(r.Usage.Cached), int64(r.Usage.Completion)}, false
	}
	return Usage{Prompt: claimed.Prompt, Completion: int64(len(r.Content)/4 + 1)}, true
}
