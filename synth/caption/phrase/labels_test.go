package phrase

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// score is what best maximises.
func score(words []scores, c *chain, path []label) (sum int64) {
	a, b := labels, labels
	for i, l := range path {
		sum += int64(words[i][l]) + int64(c[a][b][l])
		a, b = b, l
	}
	return sum
}

// valid says whether every phrase begins.
func valid(path []label) bool {
	before := apart
	for _, l := range path {
		if l == continues && before == apart {
			return false
		}
		before = l
	}
	return true
}

func TestBestIsTheBestOfAll(t *testing.T) {
	weight := rapid.Int32Range(-50, 50)
	rapid.Check(t, func(t *rapid.T) {
		words := make([]scores, rapid.IntRange(0, 6).Draw(t, "words"))
		var c chain
		for i := range words {
			for l := range labels {
				words[i][l] = weight.Draw(t, "weight")
			}
		}
		for a := range c {
			for b := range c[a] {
				for l := range labels {
					c[a][b][l] = weight.Draw(t, "chain")
				}
			}
		}
		got := best(words, &c)
		if len(got) != len(words) || !valid(got) {
			t.Fatalf("%v is no path of %d words", got, len(words))
		}
		path := make([]label, len(words))
		for number := range pow3(len(words)) {
			for i, rest := 0, number; i < len(path); i, rest = i+1, rest/3 {
				path[i] = label(rest % 3)
			}
			if valid(path) && score(words, &c, path) > score(words, &c, got) {
				t.Fatalf("%v scores %d, %v scores more", got, score(words, &c, got), path)
			}
		}
	})
}

func pow3(n int) int {
	p := 1
	for range n {
		p *= 3
	}
	return p
}

func TestPhrasesOfLabels(t *testing.T) {
	const text = "a red  ball, two men"
	path := []label{begins, continues, continues, apart, begins, begins}
	if got := phrases(text, split(text), path); !slices.Equal(got, []string{"a red  ball", "two", "men"}) {
		t.Errorf("%q", got)
	}
}
