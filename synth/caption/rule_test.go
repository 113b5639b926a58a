package caption

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// plainRule is the rule in the simplest words, for captions whose phrases are normal forms. It returns the places of
// the kept ones.
func plainRule(captions []recordedCaption, r Rule) []int {
	where := map[string][]int{}
	for i, c := range captions {
		for _, phrase := range slices.Compact(slices.Sorted(slices.Values(c.Phrases))) {
			if phrase != "" {
				where[phrase] = append(where[phrase], i)
			}
		}
	}
	var order []string
	for phrase, places := range where {
		if len(places) >= r.Min {
			order = append(order, phrase)
		}
	}
	slices.SortFunc(order, func(a, b string) int {
		return cmp.Or(cmp.Compare(len(where[a]), len(where[b])), strings.Compare(a, b))
	})
	kept := map[int]bool{}
	for _, phrase := range order {
		places := where[phrase]
		if len(places) > r.Cap {
			rank := func(i int) string {
				sum := sha256.Sum256(fmt.Appendf(nil, "%d\x00%s\x00%s", r.Seed, phrase, captions[i].ID))
				return fmt.Sprintf("%020d %s", binary.BigEndian.Uint64(sum[:8]), captions[i].ID)
			}
			places = slices.Clone(places)
			slices.SortStableFunc(places, func(a, b int) int { return strings.Compare(rank(a), rank(b)) })
			places = slices.Sorted(slices.Values(places[:r.Cap]))
		}
		for _, i := range places {
			if r.Limit > 0 && len(kept) == r.Limit && !kept[i] {
				return sortedKeys(kept)
			}
			kept[i] = true
		}
	}
	return sortedKeys(kept)
}

func sortedKeys(set map[int]bool) []int {
	keys := []int{}
	for key := range set {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

func drawCaptions(t *rapid.T) []recordedCaption {
	words := rapid.SliceOfN(rapid.SampledFrom(strings.Fields("cat dog cow red-ball pot cup sky tree")), 0, 4)
	captions := make([]recordedCaption, rapid.IntRange(0, 40).Draw(t, "captions"))
	for i := range captions {
		id := fmt.Sprint(rapid.IntRange(0, 30).Draw(t, "id")) // some twice
		captions[i] = recordedCaption{ID: id, Phrases: words.Draw(t, "phrases")}
	}
	return captions
}

func drawRule(t *rapid.T) Rule {
	return Rule{Seed: rapid.Uint64Range(0, 3).Draw(t, "seed"), Min: rapid.IntRange(1, 5).Draw(t, "min"),
		Cap: rapid.IntRange(1, 8).Draw(t, "cap"), Limit: rapid.IntRange(0, 20).Draw(t, "limit")}
}

func keptPlaces(c *choice) []int {
	places := []int{}
	for i, kept := range c.kept {
		if kept {
			places = append(places, i)
		}
	}
	return places
}

func TestRule(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		captions, rule := drawCaptions(t), drawRule(t)
		c := indexOf(captions).group().choose(rule)
		if diff := gocmp.Diff(plainRule(captions, rule), keptPlaces(c)); diff != "" {
			t.Fatalf("-want +got\n%s", diff)
		}
		if c.count != len(keptPlaces(c)) {
			t.Fatalf("counted %d of %d", c.count, len(keptPlaces(c)))
		}
	})
}

// The order in which phrases become known, as by many workers, changes nothing.
func TestOrderOfWork(t *testing.T) {
	_, path := recordedFilter(t)
	captions := recordedCaptions(t, path)
	for _, rule := range []Rule{{Seed: 42, Min: 3, Cap: 100}, {Seed: 42, Min: 3, Cap: 10, Limit: 3000}} {
		want := indexOf(captions).group().choose(rule).keptIDs()
		for seed := range uint64(3) {
			random := rand.New(rand.NewPCG(seed, 0))
			x := newIndex()
			for _, c := range captions {
				x.ids.add(c.ID)
			}
			for _, i := range random.Perm(len(captions)) {
				forms := normalForms(slices.Clone(captions[i].Phrases))
				random.Shuffle(len(forms), func(i, j int) { forms[i], forms[j] = forms[j], forms[i] })
				x.addPhrases(uint32(i), forms)
			}
			if got := x.group().choose(rule).keptIDs(); !slices.Equal(got, want) {
				t.Errorf("%+v, order %d: %d captions kept, want %d", rule, seed, len(got), len(want))
			}
		}
	}
}

// What users may rely on when they change a number.
func TestRuleIsMonotone(t *testing.T) {
	contains := func(t *rapid.T, all, some []int, what string) {
		for _, i := range some {
			if !slices.Contains(all, i) {
				t.Fatalf("%s: caption %d is gone", what, i)
			}
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		captions, rule := drawCaptions(t), drawRule(t)
		rule.Limit = 0
		x := indexOf(captions).group()
		kept := keptPlaces(x.choose(rule))

		more := rule
		more.Cap += rapid.IntRange(1, 5).Draw(t, "more cap")
		contains(t, keptPlaces(x.choose(more)), kept, "a larger cap")

		more = rule
		more.Min = rapid.IntRange(1, rule.Min).Draw(t, "less min")
		contains(t, keptPlaces(x.choose(more)), kept, "a smaller min")

		limited, wider := rule, rule
		limited.Limit = rapid.IntRange(1, 10).Draw(t, "limit")
		wider.Limit = limited.Limit + rapid.IntRange(0, 10).Draw(t, "more limit")
		few, many := keptPlaces(x.choose(limited)), keptPlaces(x.choose(wider))
		contains(t, many, few, "a larger limit")
		contains(t, kept, many, "no limit")
		if len(few) != min(limited.Limit, len(kept)) {
			t.Fatalf("limit %d keeps %d of %d", limited.Limit, len(few), len(kept))
		}
	})
}

// Every phrase in Min captions is in min(n, Cap) kept ones or more.
func TestEveryPhraseIsKept(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		captions, rule := drawCaptions(t), drawRule(t)
		rule.Limit = 0
		c := indexOf(captions).group().choose(rule)
		for _, phrase := range c.order {
			if count := c.tell(phrase); count.Kept < min(count.Captions, rule.Cap) {
				t.Fatalf("%+v with %+v", count, rule)
			}
		}
	})
}

func TestRefusedRules(t *testing.T) {
	for _, r := range []Rule{{Min: 0, Cap: 1}, {Min: 1, Cap: 0}, {Min: 1, Cap: 1, Limit: -1}} {
		if err := r.check(); !errors.Is(err, failure.ErrInput) {
			t.Errorf("%+v: error %v", r, err)
		}
	}
	if err := (Rule{Min: 1, Cap: 1}).check(); err != nil {
		t.Error(err)
	}
}
