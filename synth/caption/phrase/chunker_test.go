package phrase

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFind(t *testing.T) {
	for _, c := range []struct{ caption, want string }{
		{"A small dog is running between two wooden fences.", "A small dog|two wooden fences"},
		{"A man’s hat lies on an old chair", "A man's hat|an old chair"},
		{"TWO CATS ON A SOFA", "two cats|a sofa"},
		{"several boats, a lighthouse and some gulls", "several boats|a lighthouse|some gulls"},
		{"running", ""},
		{"", ""},
		{" \t\n", ""},
	} {
		if diff := cmp.Diff(c.want, strings.Join(Open().Find(c.caption), "|")); diff != "" {
			t.Errorf("%q: -want +got\n%s", c.caption, diff)
		}
	}
}

func TestFindInGoroutines(t *testing.T) {
	var all []string
	for _, k := range knownSentences(t) {
		all = append(all, k.Caption)
	}
	alone := make([][]string, len(all))
	for i, caption := range all {
		alone[i] = Open().Find(caption)
	}
	var group sync.WaitGroup
	for worker := range 4 {
		group.Go(func() {
			for i := range all {
				i = (i + worker*len(all)/4) % len(all)
				if got := Open().Find(all[i]); !slices.Equal(got, alone[i]) {
					t.Errorf("%q: %q, alone %q", all[i], got, alone[i])
				}
			}
		})
	}
	group.Wait()
}

func FuzzFind(f *testing.F) {
	for _, seed := range []string{"A man's T-shirt.", "the 3-year-old’s “toy”", "\xff-\xff", "0 *-1 -LRB-", "'s n't '",
		"É"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, caption string) {
		checkSplit(t, caption)
		rest := prepare(caption)
		for _, phrase := range Open().Find(caption) {
			_, after, ok := strings.Cut(rest, phrase)
			if !ok || phrase == "" {
				t.Fatalf("the phrase %q is not in the rest %q of %q", phrase, rest, caption)
			}
			rest = after
		}
	})
}

func BenchmarkFind(b *testing.B) {
	known := knownSentences(b)
	Open().Find("a cat")
	for i := 0; b.Loop(); i++ {
		Open().Find(known[i%len(known)].Caption)
	}
}
