package benchmarks

import (
	"strings"
	"testing"
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
		a := NewRanking(q, c.losses, "m", Conditions{Ranked: true})
		if a.Text != c.want || len(a.Losses) != 4 || a.ID != q.ID {
			t.Errorf("losses %v make %+v", c.losses, a)
		}
		if m := set.Rule.mark(q, a.Text); m.Parsed != c.want || (m.Score == 1) != (q.letter == c.want) {
			t.Errorf("%s is marked %+v, and %s is right", a.Text, m, q.letter)
		}
	}
}
