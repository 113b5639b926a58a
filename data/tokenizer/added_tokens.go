package tokenizer

import (
	"cmp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// specialToken is text that becomes one id wherever it appears.
type specialToken struct {
	text    string
	id      int32
	control bool // a control token such as </s>, not just an added word

	lstrip, rstrip bool // also takes the white space before or after it
	singleWord     bool // not a token next to a letter or a digit
	normalized     bool // searched for after the normalizer, not before it
}

// addedTokens finds tokens in text: the leftmost, and the longest of those that start there.
type addedTokens struct {
	tokens []specialToken // longest first
	starts [256]bool      // the bytes that tokens start with
}

func newAddedTokens(tokens []specialToken) *addedTokens {
	a := &addedTokens{tokens: slices.Clone(tokens)}
	slices.SortFunc(a.tokens, func(x, y specialToken) int {
		return cmp.Or(len(y.text)-len(x.text), strings.Compare(x.text, y.text))
	})
	for _, s := range tokens {
		a.starts[s.text[0]] = true
	}
	return a
}

// next finds the first token of text from byte at on, and the bytes [start, end) that it takes; start is len(text) if
// there is none. A token that begins where literal says so is text; nil says so nowhere.
func (a *addedTokens) next(text string, at int, literal func(at int) bool) (start, end int, token specialToken) {
	for i := at; i < len(text); {
		start, token := a.find(text, i)
		end := start + len(token.text)
		if start < len(text) && literal != nil && literal(start) {
			i = start + 1
			continue
		}
		i = end
		if token.singleWord && insideWord(text, start, end) {
			continue
		}
		if token.lstrip {
			start = at + len(strings.TrimRightFunc(text[at:start], unicode.IsSpace))
		}
		if token.rstrip {
			end = len(text) - len(strings.TrimLeftFunc(text[end:], unicode.IsSpace))
		}
		return start, end, token
	}
	return len(text), len(text), specialToken{}
}

// find is next without checking conditions and without the white space.
func (a *addedTokens) find(text string, at int) (int, specialToken) {
	for i := at; i < len(text); i++ {
		if !a.starts[text[i]] {
			continue
		}
		for _, s := range a.tokens {
			if strings.HasPrefix(text[i:], s.text) {
				return i, s
			}
		}
	}
	return len(text), specialToken{}
}

func insideWord(text string, start, end int) bool {
	before, _ := utf8.DecodeLastRuneInString(text[:start])
	after, _ := utf8.DecodeRuneInString(text[end:])
	return start > 0 && isWord(before) || end < len(text) && isWord(after)
}
