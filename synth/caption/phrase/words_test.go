package phrase

import (
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
)

func TestSplit(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"A man's T-shirt.", "A|man|'s|T-shirt|."},
		{"a cat, a dog and (perhaps) \"Bob\"!", "a|cat|,|a|dog|and|(|perhaps|)|\"|Bob|\"|!"},
		{"They can't, won't", "They|ca|n't|,|wo|n't"},
		{"the boys' toys", "the|boys|'|toys"},
		{"a man 's hat", "a|man|'s|hat"},
		{"black/white,blue", "black|/|white|,|blue"},
		{"1,000 at 10:30, 1/2", "1,000|at|10:30|,|1/2"},
		{"a cat...", "a|cat|.|.|."},
		{"…", "…"},
		{"\u2003 a\u00a0b\n", "a|b"},
		{"\xff,\xff", "\xff|,|\xff"},
		{"", ""},
	} {
		if diff := cmp.Diff(c.want, strings.Join(texts(c.text, split(c.text)), "|")); diff != "" {
			t.Errorf("%q: -want +got\n%s", c.text, diff)
		}
	}
}

// checkSplit checks that words cover all of a text but white space, in order.
func checkSplit(t *testing.T, text string) {
	end := 0
	for _, s := range append(split(text), span{len(text), len(text)}) {
		if s.start < end || strings.ContainsFunc(text[end:s.start], func(r rune) bool { return !unicode.IsSpace(r) }) {
			t.Fatalf("%q: %q is in no word, or in two", text, text[min(end, s.start):s.start])
		}
		word := text[s.start:s.end]
		if s.start < len(text) && (word == "" || strings.ContainsFunc(word, unicode.IsSpace)) {
			t.Fatalf("%q: %q is no word", text, word)
		}
		end = s.end
	}
}

func TestPrepare(t *testing.T) {
	for caption, want := range map[string]string{
		"A man’s hat":  "A man's hat",
		"A MAN’S HAT.": "a man's hat.",
		"A TV":         "a tv",
		"a TV":         "a TV",
		"42":           "42",
	} {
		if got := prepare(caption); got != want {
			t.Errorf("prepare(%q) is %q, want %q", caption, got, want)
		}
	}
}
