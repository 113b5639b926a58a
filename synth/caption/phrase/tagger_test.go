package phrase

import (
	"testing"

	"github.com/jdkato/prose/tag"
)

func TestTaggerHasAllWeights(t *testing.T) {
	source, ours := tag.NewPerceptronTagger(), loadTagger()
	if len(ours.rows) != len(source.Weights()) {
		t.Errorf("%d rows, want %d: two features have the same hash", len(ours.rows), len(source.Weights()))
	}
	if len(ours.names) > maxTags || len(ours.names) < 2 {
		t.Errorf("%d tags, want 2 to %d", len(ours.names), maxTags)
	}
	for name, weights := range source.Weights() {
		row := ours.rows[hash(hashStart, name)]
		for _, v := range ours.votes[row.start:row.end] {
			if want := weights[ours.names[v.tag]]; float64(v.weight)/1000 != want {
				t.Fatalf("%s, %s: %d thousandths, want %g", name, ours.names[v.tag], v.weight, want)
			}
		}
		if int(row.end-row.start) != len(weights) {
			t.Fatalf("%s has %d weights, want %d", name, row.end-row.start, len(weights))
		}
	}
}

// Where no two scores are equal, our tags are prose's.
func TestTagsAreThoseOfProse(t *testing.T) {
	source, ours := tag.NewPerceptronTagger(), loadTagger()
	captions := []string{"In 1998 the 3-year-old dogs' owner didn't eat 12 apples", "café à São Paulo — naïve «words»"}
	for _, k := range knownSentences(t) {
		captions = append(captions, k.Caption)
	}
	for _, caption := range captions {
		words := texts(caption, split(caption))
		tokens := ours.tag(words)
		for i, want := range source.Tag(words) {
			if got := ours.names[tokens[i].tag]; got != want.Tag {
				t.Errorf("%q: %q is %s, want %s", caption, want.Text, got, want.Tag)
			}
		}
	}
}

func TestChoose(t *testing.T) {
	for _, c := range []struct {
		scores []int32
		want   token
	}{
		{[]int32{3, 1, 2}, token{tag: 0, second: 2, margin: 1}},
		{[]int32{1, 3, 2}, token{tag: 1, second: 2, margin: 1}},
		{[]int32{-5, -5, -5}, token{tag: 0, second: 1}},
		{[]int32{0, 7, 7}, token{tag: 1, second: 2}},
		{[]int32{1, 2, 3, 4}, token{tag: 3, second: 2, margin: 1}},
	} {
		var got token
		if got.choose(c.scores); got != c.want {
			t.Errorf("%v: %+v, want %+v", c.scores, got, c.want)
		}
	}
}

func BenchmarkTag(b *testing.B) {
	known, t := knownSentences(b), loadTagger()
	for i := 0; b.Loop(); i++ {
		caption := known[i%len(known)].Caption
		t.tag(texts(caption, split(caption)))
	}
}
