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
		size := rapid.IntRange(1, 5000)
		r := &Request{PromptTokens: size.Draw(t, "prompt"), MaxTokens: size.Draw(t, "limit")}
		if u := e.mean(r); u.Prompt != int64(r.PromptTokens) || u.Completion != int64(r.MaxTokens) || e.most(r) != u {
			t.Fatalf("knowing nothing: %+v, %+v", u, e.most(r))
		}
		token := rapid.Int64Range(0, 5000)
		for range rapid.IntRange(1, 20).Draw(t, "answers") {
			used := Usage{Prompt: token.Draw(t, "counted"), Completion: token.Draw(t, "answer")}
			e.learn(token.Draw(t, "expected"), used)
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
	r := request("k0")
	usual, most := int64(r.PromptTokens+30), Usage{Prompt: int64(r.PromptTokens), Completion: int64(r.MaxTokens)}
	cached, prices := 0.05, Prices{Prompt: 0.5, Completion: 2}
	faults := []chattest.Behaviour{chattest.Lost, chattest.Half, chattest.Down, chattest.LimitMS, chattest.NoUsage}
	n := 0
	faulty := func(chattest.Call) chattest.Behaviour {
		if n++; n%4 == 0 {
			return faults[n/4%len(faults)]
		}
		return chattest.Answer
	}
	for name, c := range map[string]struct {
		budget Budget
		script func(chattest.Call) chattest.Behaviour
		least  int // answers
	}{
		"tokens": {Budget{Tokens: 40 * usual}, nil, 30},
		"faults": {Budget{Tokens: 40 * usual}, faulty, 20},
		"one":    {Budget{Tokens: most.Total() + 20}, nil, 1},
		"none":   {Budget{Tokens: most.Total() - 20}, nil, 0},
		"money":  {Budget{Money: 0.005, Prices: prices}, nil, 20},
		"cached": {Budget{Money: 0.005, Prices: Prices{Prompt: 0.5, Completion: 2, Cached: &cached}}, nil, 30},
		"both":   {Budget{Money: 1, Tokens: 20 * usual, Prices: prices}, nil, 10},
	} {
		t.Run(name, func(t *testing.T) {
			e, folder := &chattest.Endpoint{Script: c.script}, t.TempDir()
			virtual(t, e, nil, func(t *testing.T, s Settings) {
				s.Budget = c.budget
				_, err := runKeys(t, folder, s, ask(keys(1000)))
				wantError(t, err, failure.ErrRemote, "the budget of", "raise it")
				before := len(e.Calls())
				summary, err := runKeys(t, folder, s, ask(keys(1000)))
				wantError(t, err, failure.ErrRemote, "the budget of")
				if prompt, answers := e.Paid(); int64(prompt+answers) > c.budget.Tokens && c.budget.Tokens > 0 {
					t.Errorf("the endpoint was paid %d tokens", prompt+answers)
				}
				checkSpent(t, c.budget, summary, most)
				// A second run knows from the ledger what the first has spent.
				if summary.Answers < c.least || len(e.Calls()) > before+1 {
					t.Errorf("%d answers; the second run sent %d", summary.Answers, len(e.Calls())-before)
				}
				goesOn(t, e, folder, s)
			})
		})
	}
}

// checkSpent: a budget is kept, and what is left of it would not suffice for another request.
func checkSpent(t *testing.T, b Budget, s Summary, most Usage) {
	t.Helper()
	used, limit := float64(s.Spent.Total()+s.MaybePaid.Total()), float64(b.Tokens)
	next := float64(most.Total())
	if b.Tokens == 0 {
		used, limit, next = s.Spent.Money+s.MaybePaid.Money, b.Money, b.Prices.Money(most)
	}
	if used > limit || limit-used > next*1.1 { // the longest key has more tokens
		t.Errorf("used %v of %v; another request may cost %v", used, limit, next)
	}
}

// goesOn: without the limit a run goes on where it stopped.
func goesOn(t *testing.T, e *chattest.Endpoint, folder string, s Settings) {
	t.Helper()
	e.Script, s.Budget = nil, Budget{}
	looked, err := Look(folder, s)
	must(t, err)
	answers, before := looked.Summary().Answers, len(e.Calls())
	must(t, looked.Close())
	summary, err := runKeys(t, folder, s, ask(keys(answers+3)))
	must(t, err)
	if summary.Answers < answers+3 || len(e.Calls()) != before+summary.Answers-answers {
		t.Errorf("%d answers after %d, %d requests", summary.Answers, answers, len(e.Calls())-before)
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
