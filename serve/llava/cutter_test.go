package llava

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestCutter(t *testing.T) {
	for _, test := range []struct {
		name    string
		stops   []string
		texts   []string // what the worker has said so far, each time
		want    string
		stopped bool
	}{
		{"plain", nil, []string{"a", "a b", "a b"}, "a b", false},
		{"space before", nil, []string{" ", " a", " a "}, "a ", false},
		{"a stop text in one piece", []string{"###"}, []string{"a", "a###b"}, "a", true},
		{"in three pieces", []string{"###"}, []string{"a#", "a##", "a###"}, "a", true},
		{"taken back by the worker", []string{"###"}, []string{"a#", "a##", "a"}, "a", true},
		{"not a stop text after all", []string{"###"}, []string{"a#", "a##", "a##b"}, "a##b", false},
		{"kept back at the end", []string{"###"}, []string{"a##"}, "a##", false},
		{"the first of two", []string{"xy", "b"}, []string{"abxy"}, "a", true},
		{"another text", nil, []string{"abc", "xyz"}, "abc", true},
		{"empty", []string{""}, []string{"a"}, "a", false},
	} {
		c, got, stopped := cutter{stops: test.stops}, "", false
		for _, text := range test.texts {
			piece, end := c.take(text)
			got += piece
			if stopped = end; end {
				break
			}
		}
		if !stopped {
			got += c.rest()
		}
		if got != test.want || stopped != test.stopped {
			t.Errorf("%s: %q, %v", test.name, got, stopped)
		}
	}
}

// TestCutterPieces: however an answer is cut, what is sent is the text before the first stop text.
func TestCutterPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[ab][abc]{0,20}`).Draw(t, "text")
		stops := rapid.SliceOfN(rapid.StringMatching(`[abc]{1,4}`), 1, 3).Draw(t, "stops")
		want := text
		for end := 0; end <= len(text) && want == text; end++ { // as if it came byte by byte
			for _, stop := range stops {
				if before, ok := strings.CutSuffix(text[:end], stop); ok && len(before) < len(want) {
					want = before
				}
			}
		}
		c, got, stopped := cutter{stops: stops}, "", false
		for at := 0; at < len(text) && !stopped; {
			at += rapid.IntRange(1, len(text)-at).Draw(t, "piece")
			var piece string
			piece, stopped = c.take(text[:at])
			got += piece
			if !strings.HasPrefix(want, got) {
				t.Fatalf("%q was sent of %q", got, want)
			}
		}
		if !stopped {
			got += c.rest()
		}
		if got != want {
			t.Errorf("%q for %q", got, want)
		}
	})
}

// TestSent has sizes by the original's Conversation.process_image.
func TestSent(t *testing.T) {
	for _, test := range [][4]int{
		{1344, 1344, 1344, 1344}, {1345, 1345, 672, 672}, {4000, 3000, 896, 672}, {3000, 4000, 672, 896},
		{4000, 400, 1340, 134}, {100, 5000, 26, 1300}, {1344, 5000, 361, 1343}, {5000, 1, 1344, 1},
		{9000, 3, 1344, 1},
	} {
		if w, h := sent(test[0], test[1]); w != test[2] || h != test[3] {
			t.Errorf("%d x %d: %d x %d, not %d x %d", test[0], test[1], w, h, test[2], test[3])
		}
	}
}
