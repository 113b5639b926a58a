package benchmarks

import (
	"maps"
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/benchmarks/rule"
)

// Questions whose options are ranked neither list them nor say how to answer, in every form of list.
func TestRankedQuestions(t *testing.T) {
	for _, c := range []struct{ name, folder, rule string }{{"seed", "seed", ""}, {"mmbench_en", "mmbench_en", ""},
		{"mmbench_en", "mmbench_en", "lmms"}, {"ai2d", "hub/ai2d", ""}} {
		set := opened(t, c.name, recorded(t, c.folder), c.rule, ToScore)
		before := opened(t, c.name, recorded(t, c.folder), c.rule, ToScore)
		if err := set.Ranked(); err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		for i := range set.Questions {
			q := &set.Questions[i]
			if q.Text == "" || !strings.HasPrefix(before.Questions[i].Text, q.Text) || len(q.Choices()) < 2 ||
				strings.Contains(q.Text, lettered(q.options)) || strings.HasSuffix(q.Text, ":") ||
				strings.Contains(q.Prompt, lettered(q.options)) {
				t.Errorf("%s: question %s is %q, prompt %q", c.name, q.ID, q.Text, q.Prompt)
			}
		}
	}
	set := opened(t, "chartqa", recorded(t, "chartqa"), "", ToScore)
	if err := set.Ranked(); err == nil || !strings.Contains(err.Error(), "question 0 has no list of options to rank") {
		t.Errorf("error is %v", err)
	}
}

// The least loss is the answer, the first of equals, and rules read it.
func TestRankingIsALetter(t *testing.T) {
	set := opened(t, "seed", recorded(t, "seed"), "", ToScore)
	q := &set.Questions[0]
	for _, c := range []struct {
		losses []float64
		want   string
	}{{[]float64{3, 1, 2, 4}, "B"}, {[]float64{1, 1, 2, 1}, "A"}, {[]float64{3, 2, 2, 1.5}, "D"}} {
		a := NewRanking(q, c.losses, nil, "m", Conditions{Ranked: true})
		if a.Text != c.want || len(a.Losses) != 4 || a.ID != q.ID {
			t.Errorf("losses %v make %+v", c.losses, a)
		}
		if m := set.Rule.mark(q, a.Text); m.Parsed != c.want || (m.Score == 1) != (q.letter == c.want) {
			t.Errorf("%s is marked %+v, and %s is right", a.Text, m, q.letter)
		}
	}
}

// acc_norm ranks by the sum of losses over the characters of the options, and is there only if all of that is known.
func TestRankingByCharacters(t *testing.T) {
	q := &Question{key: key{letter: "B", options: rule.Options([]string{"a", "très long", "of eight"})}}
	for _, c := range []struct {
		losses []float64
		tokens []int
		want   any
	}{
		{[]float64{1, 2, 3}, []int{2, 4, 4}, 1.0},   // 2, 8/9, 12/8
		{[]float64{1, 2, 1}, []int{2, 4, 4}, 0.0},   // 2, 8/9, 4/8
		{[]float64{0.5, 9, 9}, []int{1, 1, 1}, 0.0}, // 0.5, 1, 9/8
		{[]float64{1.1, 9, 9}, []int{1, 1, 1}, 1.0}, // 1.1, 1, 9/8: characters are counted, not bytes
		{[]float64{1, 2, 3}, nil, nil}, {nil, nil, nil}, {[]float64{1}, []int{1}, nil},
	} {
		var got any
		if score := q.byCharacters(&Answer{Losses: c.losses, Tokens: c.tokens}); score != nil {
			got = *score
		}
		if got != c.want {
			t.Errorf("%v over %v: %v, want %v", c.losses, c.tokens, got, c.want)
		}
	}
}

// A result of ranked options has acc_norm beside the rule's figures, which it changes in nothing.
func TestResultOfARanking(t *testing.T) {
	set := opened(t, "seed", recorded(t, "seed"), "", ToScore)
	answers, plain := &Answers{}, &Answers{}
	right := 0
	for i := range set.Questions {
		q := &set.Questions[i]
		losses, tokens := make([]float64, len(q.options)), make([]int, len(q.options))
		for k, option := range q.options {
			losses[k], tokens[k] = float64(1+(i+k)%3), 1+len(option.Text)/4
		}
		a := NewRanking(q, losses, tokens, "m", Conditions{Ranked: true})
		answers.List = append(answers.List, a)
		plain.List = append(plain.List, NewAnswer(q, a.Text, "m", Conditions{}))
		right += int(*q.byCharacters(&a))
	}
	got, _, err := set.Score(answers, "", ScoreOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want, _, err := set.Score(plain, "", ScoreOptions{})
	if err != nil {
		t.Fatal(err)
	}
	norm := 100 * float64(right) / float64(len(set.Questions))
	near(t, "acc_norm", got.Metrics["acc_norm"], norm, 1e-9)
	delete(got.Metrics, "acc_norm")
	if !maps.Equal(got.Metrics, want.Metrics) || got.Figure != want.Figure {
		t.Errorf("beside acc_norm %v, without a ranking %v", got.Metrics, want.Metrics)
	}
}
