package phrase

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// span is a word or a punctuation mark: the bytes [start, end) of a text.
type span struct{ start, end int }

// prepare makes a caption easier to tag: straight apostrophes, and small letters where all are capitals, which would
// make every word a name.
func prepare(caption string) string {
	caption = apostrophes.Replace(caption)
	if strings.IndexFunc(caption, unicode.IsLower) < 0 {
		caption = strings.ToLower(caption)
	}
	return caption
}

var apostrophes = strings.NewReplacer("’", "'", "‘", "'", "ʼ", "'")

// split cuts a text into words and punctuation much as the Penn Treebank does, from which the tagger has learned: "the
// man's T-shirt." is "the", "man", "'s", "T-shirt" and ".".
func split(text string) (spans []span) {
	start := -1
	for i, r := range text {
		if !unicode.IsSpace(r) {
			if start < 0 {
				start = i
			}
		} else if start >= 0 {
			spans = cutField(spans, text, start, i)
			start = -1
		}
	}
	if start >= 0 {
		spans = cutField(spans, text, start, len(text))
	}
	return spans
}

const (
	opening = "\"'([{<`“*#$" // may stand directly before a word
	closing = "\"')]}>`”.,;:!?…*%"
	within  = ",;/()\"“”…—&" // part a word in two, unless numbers stand around it
)

// cutField cuts what stands between white space.
func cutField(spans []span, text string, start, end int) []span {
	for start < end {
		r, size := utf8.DecodeRuneInString(text[start:end])
		if !strings.ContainsRune(opening, r) || size == end-start || isClitic(text[start:end]) {
			break
		}
		spans = append(spans, span{start, start + size})
		start += size
	}
	last := end // of the word; closing punctuation follows
	for last > start {
		r, size := utf8.DecodeLastRuneInString(text[start:last])
		if !strings.ContainsRune(closing, r) || size == last-start {
			break
		}
		last -= size
	}
	spans = cutWord(spans, text, start, last)
	for last < end {
		_, size := utf8.DecodeRuneInString(text[last:end])
		spans = append(spans, span{last, last + size})
		last += size
	}
	return spans
}

// cutWord cuts a word at punctuation inside it and before its clitic.
func cutWord(spans []span, text string, start, end int) []span {
	for i, r := range text[start:end] {
		at := start + i
		size := utf8.RuneLen(r)
		if i == 0 || at+size == end || !strings.ContainsRune(within, r) ||
			isDigit(text[at-1]) && isDigit(text[at+size]) {
			continue
		}
		spans = cutWord(spans, text, start, at)
		spans = append(spans, span{at, at + size})
		return cutWord(spans, text, at+size, end)
	}
	word := text[start:end]
	for _, clitic := range clitics {
		at := end - len(clitic)
		if at > start && strings.EqualFold(word[at-start:], clitic) {
			return append(spans, span{start, at}, span{at, end})
		}
	}
	return append(spans, span{start, end})
}

var clitics = []string{"'s", "'m", "'d", "'re", "'ve", "'ll", "n't"}

func isClitic(word string) bool {
	for _, clitic := range clitics {
		if strings.EqualFold(word, clitic) {
			return true
		}
	}
	return false
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
