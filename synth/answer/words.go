package answer

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// words are those of a text: runs of letters and digits, with apostrophes inside, in simple lower case.
type words struct {
	joined string  // with a space between two words
	starts []int32 // of each word in joined, and where a further word would start
}

func wordsOf(text string) words {
	var joined strings.Builder
	joined.Grow(len(text) + 1)
	w := words{starts: make([]int32, 1, len(text)/5+2)}
	inside := false // a word
	for at, r := range text {
		switch {
		case unicode.IsLetter(r) || unicode.IsDigit(r):
			joined.WriteRune(unicode.ToLower(r))
			inside = true
			continue
		case !inside:
			continue
		case r == '\'':
			if next, _ := utf8.DecodeRuneInString(text[at+1:]); unicode.IsLetter(next) || unicode.IsDigit(next) {
				joined.WriteByte('\'')
				continue
			}
		}
		joined.WriteByte(' ')
		w.starts = append(w.starts, int32(joined.Len()))
		inside = false
	}
	if inside {
		joined.WriteByte(' ')
		w.starts = append(w.starts, int32(joined.Len()))
	}
	w.joined = joined.String()
	return w
}

func (w words) count() int { return len(w.starts) - 1 }

// run is the text of n words from number i on.
func (w words) run(i, n int) string { return w.joined[w.starts[i] : w.starts[i+n]-1] }

// runs yields every n words in a row.
func (w words) runs(n int) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for i := 0; i+n <= w.count() && yield(w.run(i, n)); i++ {
		}
	}
}
