package chat

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/synth/chat/chattest"
)

func TestMoney(t *testing.T) {
	half, none := 0.5, 0.0
	u := Usage{Prompt: 3_000_000, Cached: 2_000_000, Completion: 500_000}
	for _, c := range []struct {
		prices        Prices
		online, batch float64
	}{
		{Prices{}, 0, 0},
		{Prices{Prompt: 1, Completion: 4}, 5, 5},
		{Prices{Prompt: 1, Completion: 4, Cached: &half}, 4, 4},
		{Prices{Prompt: 1, Completion: 4, Cached: &none, BatchFactor: 0.5}, 3, 1.5},
	} {
		if got := c.prices.of(bill{online: u}); got != c.online || got != c.prices.Money(u) {
			t.Errorf("%+v: %v, want %v", c.prices, got, c.online)
		}
		if got := c.prices.of(bill{batch: u}); got != c.batch {
			t.Errorf("%+v: %v by batch, want %v", c.prices, got, c.batch)
		}
	}
}

// The most is no less than the mean, and neither is less than what was learned of a request that is like all others.
func TestEstimator(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var e estimator
		r := &Request{PromptTokens: rapid.IntRange(1, 5000).Draw(t, "prompt"), MaxTokens: rapid.IntRange(1, 5000).Draw(t, "limit")}
		if u := e.mean(r); u.Prompt != int64(r.PromptTokens) || u.Completion != int64(r.MaxTokens) || e.most(r) != u {
			t.Fatalf("knowing nothing: %+v, %+v", u, e.most(r))
		}
		token := rapid.Int64Range(0, 5000)
		for range rapid.IntRange(1, 20).Draw(t, "answers") {
			e.learn(token.Draw(t, "expected"), Usage{Prompt: token.Draw(t, "counted"), Completion: token.Draw(t, "answer")})
		}
		mean, most := e.mean(r), e.most(r)
		if mean.Prompt > most.Prompt || mean.Completion > most.Completion || most.Completion < int64(r.MaxTokens) {
			t.Fatalf("mean %+v, most %+v", mean, most)
		}
	})
	var e estimator
	e.learn(100, Usage{Prompt: 150, Completion: 30})
	e.learn(300, Usage{Prompt: 350, Completion: 50})
	e.learn(0, Usage{Prompt: 9, Completion: 70}) // not counted by the endpoint
	r := &Request{PromptTokens: 200, MaxTokens: 60}
	if diff := cmp.Diff([]Usage{{250, 0, 50}, {300, 0, 70}}, []Usage{e.mean(r), e.most(r)}); diff != "" {
		t.Errorf("mean and most (-want +got):\n%s", diff)
	}
}

// No request is sent that could exceed the budget, whatever goes wrong; what is left when a run ends would not suffice
// for another.
func TestBudgetIsKept(t *testing.T) {
	one := request("k0")
	prompt, _ := chattest.Tokens(string(one.Messages), "k0")
	cached := 0.05
	for name, budget := range map[string]Budget{
		"tokens":     {Tokens: 40 * int64(prompt+30)},
		"one":        {Tokens: int64(prompt) + 220},
		"none":       {Tokens: int64(prompt) + 100},
		"money":      {Money: 0.005, Prices: Prices{Prompt: 0.5, Completion: 2}},
		"cached":     {Money: 0.005, Prices: Prices{Prompt: 0.5, Completion: 2, Cached: &cached}},
		"both":       {Money: 1, Tokens: 20 * int64(prompt+30), Prices: Prices{Prompt: 0.5, Completion: 2}},
		"the faults": {Tokens: 40 * int64(prompt+30)},
	} {
		t.Run(name, func(t *testing.T) {
			e, folder := &chattest.Endpoint{}, t.TempDir()
			faults := []chattest.Behaviour{chattest.Lost, chattest.Half, chattest.Down, chattest.LimitMS, chattest.NoUsage}
			if name == "the faults" {
				n := 0
				e.Script = func(chattest.Call) chattest.Behaviour {
					if n++; n%4 == 0 {
						return faults[n/4%len(faults)]
					}
					return chattest.Answer
				}
			}
			virtual(t, e, nil, func(t *testing.T, s Settings) {
				s.Budget = budget
				for run := range 2 { // the second knows from the ledger that nothing is left
					before := len(e.Calls())
					summary, err := runKeys(t, folder, s, ask(keys(1000)))
					wantError(t, err, failure.ErrRemote, "the budget of", "raise it")
					if run > 0 && len(e.Calls()) > before+1 {
						t.Errorf("the second run sent %d", len(e.Calls())-before)
					}
					total := func(u Usage) float64 { return float64(u.Total()) }
					used, limit, most := total(summary.Spent.Usage)+total(summary.MaybePaid.Usage), float64(budget.Tokens), float64(prompt+200)
					if budget.Tokens == 0 {
						used, limit = summary.Spent.Money+summary.MaybePaid.Money, budget.Money
						most = budget.Prices.Money(Usage{Prompt: int64(prompt), Completion: 200})
					}
					if used > limit || limit-used > most*1.1 {
						t.Errorf("used %v of %v; another request may cost %v", used, limit, most)
					}
				}
				p, c := e.Paid()
				if limit := budget.Tokens; limit > 0 && int64(p+c) > limit {
					t.Errorf("the endpoint was paid %d tokens of %d", p+c, limit)
				}
				// More of it goes on where it stopped.
				looked, err := Look(folder, s)
				must(t, err)
				answers, before := looked.Summary().Answers, len(e.Calls())
				must(t, looked.Close())
				e.Script = nil
				s.Budget.Tokens, s.Budget.Money = 0, 0
				s.Concurrency = 1
				who := ask(keys(answers + 3))
				summary, err := runKeys(t, folder, s, who)
				must(t, err)
				// Some of those before were left over.
				if summary.Answers < answers+3 || len(e.Calls()) != before+summary.Answers-answers || name != "none" && answers == 0 {
					t.Errorf("%d answers after %d, %d requests", summary.Answers, answers, len(e.Calls())-before)
				}
			})
		})
	}
}

// What was maybe paid counts as it was claimed: at the limit while nothing is known, then at the mean.
func TestMaybePaid(t *testing.T) {
	e, folder := &chattest.Endpoint{Script: script(chattest.Lost, chattest.Answer, chattest.Half)}, t.TempDir()
	virtual(t, e, nil, func(t *testing.T, s Settings) {
		s.Concurrency = 1
		s.Budget.Prices = Prices{Prompt: 1, Completion: 10}
		who := ask(keys(2))
		summary, err := runKeys(t, folder, s, who)
		must(t, err)
		r := request("k0")
		must(t, r.check())
		want := Usage{Prompt: 2 * int64(r.PromptTokens), Completion: int64(r.MaxTokens) + firstAnswer(e.Calls())}
		if diff := cmp.Diff(Cost{want, s.Budget.Prices.Money(want)}, summary.MaybePaid); diff != "" {
			t.Errorf("maybe paid (-want +got):\n%s", diff)
		}
	})
}

// firstAnswer is the length of the first answer that arrived.
func firstAnswer(calls []chattest.Call) int64 {
	for _, c := range calls {
		if c.Whole {
			return int64(c.Completion)
		}
	}
	return 0
}
