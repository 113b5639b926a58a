package tokenizer

import (
	"slices"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// unorderedMarks are the combining marks added after Unicode 9, whose tables Hugging Face's NFC has: there they are
// ordinary characters.
var unorderedMarks = &unicode.RangeTable{
	R16: []unicode.Range16{
		{0x7fd, 0x7fd, 1}, {0x898, 0x89f, 1}, {0x8ca, 0x8d3, 1}, {0x9fe, 0x9fe, 1}, {0xc3c, 0xc3c, 1},
		{0xd3b, 0xd3c, 1},
		{0xeba, 0xeba, 1}, {0x1715, 0x1715, 1}, {0x1abf, 0x1ace, 1}, {0x1df6, 0x1dfa, 1}, {0xa82c, 0xa82c, 1},
	},
	R32: []unicode.Range32{
		{0x10d24, 0x10d27, 1}, {0x10eab, 0x10eac, 1}, {0x10efd, 0x10eff, 1}, {0x10f46, 0x10f50, 1},
		{0x10f82, 0x10f85, 1},
		{0x11070, 0x11070, 1}, {0x1133b, 0x1133b, 1}, {0x1145e, 0x1145e, 1}, {0x11839, 0x1183a, 1},
		{0x1193d, 0x1193e, 1},
		{0x11943, 0x11943, 1}, {0x119e0, 0x119e0, 1}, {0x11a34, 0x11a34, 1}, {0x11a47, 0x11a47, 1},
		{0x11a99, 0x11a99, 1},
		{0x11d42, 0x11d42, 1}, {0x11d44, 0x11d45, 1}, {0x11d97, 0x11d97, 1}, {0x11f41, 0x11f42, 1},
		{0x16ff0, 0x16ff1, 1},
		{0x1e08f, 0x1e08f, 1}, {0x1e130, 0x1e136, 1}, {0x1e2ae, 0x1e2ae, 1}, {0x1e2ec, 0x1e2ef, 1},
		{0x1e4ec, 0x1e4ef, 1},
	},
}

// mark is a character of a text, with its canonical combining class (0: it starts a sequence) and the byte where its
// sequence starts.
type mark struct {
	text  string
	order uint8
	at    int
}

// composed is text in Unicode's normalization form C (Unicode Standard Annex 15) as Hugging Face makes it.
// (norm.NFC.String itself would split sequences of more than 30 marks.)
func composed(text string) aligned {
	if norm.NFC.IsNormalString(text) {
		return aligned{text: text}
	}
	var out aligner
	for _, m := range compose(decompose(text)) {
		out.add(m.text, m.at)
	}
	return out.done(len(text))
}

// decompose decomposes characters and puts the marks of each sequence in order.
func decompose(text string) []mark {
	var marks []mark
	sequence := 0 // where the last sequence starts in marks
	add := func(char string, at int) {
		m := mark{char, orderOf(char), at}
		if m.order == 0 || len(marks) == 0 {
			sortMarks(marks[sequence:])
			sequence = len(marks)
		} else {
			m.at = marks[sequence].at
		}
		marks = append(marks, m)
	}
	for i := 0; i < len(text); {
		_, width := utf8.DecodeRuneInString(text[i:])
		char := text[i : i+width]
		if parts := norm.NFD.PropertiesString(char).Decomposition(); parts != nil && char != newerComposite {
			for _, part := range string(parts) {
				add(string(part), i)
			}
		} else {
			add(char, i)
		}
		i += width
	}
	sortMarks(marks[sequence:])
	return marks
}

// sortMarks is stable, as the standard requires.
func sortMarks(marks []mark) {
	slices.SortStableFunc(marks, func(a, b mark) int { return int(a.order) - int(b.order) })
}

func orderOf(char string) uint8 {
	if r, _ := utf8.DecodeRuneInString(char); unicode.Is(unorderedMarks, r) {
		return 0
	}
	return norm.NFC.PropertiesString(char).CCC()
}

// compose combines each mark with the character that starts its sequence, unless a mark between them blocks it.
func compose(marks []mark) []mark {
	out := marks[:0]
	starter, last := -1, uint8(0) // last is the class of the last mark after the starter, 0 if there is none
	for _, m := range marks {
		if starter >= 0 && (last == 0 || last < m.order) {
			if joined := primary(out[starter].text, m.text); joined != "" {
				out[starter].text = joined
				continue
			}
		}
		if m.order == 0 {
			starter = len(out)
		}
		last = m.order
		out = append(out, m)
	}
	return out
}

// newerComposite was added after Unicode 9.
const newerComposite = "\U00011938"

// primary returns the one character that two compose to, "" if there is none.
func primary(a, b string) string {
	if norm.NFC.PropertiesString(b).BoundaryBefore() {
		return ""
	}
	joined := norm.NFC.String(a + b)
	if utf8.RuneCountInString(joined) != 1 || joined == newerComposite {
		return ""
	}
	return joined
}
