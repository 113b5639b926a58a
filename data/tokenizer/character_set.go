package tokenizer

import (
	"cmp"
	"slices"
	"unicode"
	"unicode/utf8"
)

// characterSet is a set of characters that is quick to ask.
type characterSet struct {
	low    [256]bool  // the members below U+0100
	ranges runeRanges // all members
}

// runeRanges are the members of a set of characters. Those of a characterSet are in order, with gaps between them.
type runeRanges []runeRange

type runeRange struct{ first, last rune }

func newCharacterSet(members runeRanges) *characterSet {
	s := &characterSet{ranges: members.ordered()}
	for r := range s.low {
		s.low[r] = s.ranges.has(rune(r))
	}
	return s
}

func (s *characterSet) has(r rune) bool {
	if uint32(r) < uint32(len(s.low)) {
		return s.low[r]
	}
	return s.ranges.has(r)
}

// has needs ranges in order.
func (r runeRanges) has(char rune) bool {
	_, found := slices.BinarySearchFunc(r, char, func(in runeRange, char rune) int {
		switch {
		case in.last < char:
			return -1
		case in.first > char:
			return 1
		}
		return 0
	})
	return found
}

// ordered sorts ranges and joins those that touch.
func (r runeRanges) ordered() runeRanges {
	sorted := slices.SortedFunc(slices.Values(r), func(a, b runeRange) int { return cmp.Compare(a.first, b.first) })
	var out runeRanges
	for _, next := range sorted {
		if n := len(out); n > 0 && next.first <= out[n-1].last+1 {
			out[n-1].last = max(out[n-1].last, next.last)
		} else {
			out = append(out, next)
		}
	}
	return out
}

// others are the characters that are not in r.
func (r runeRanges) others() runeRanges {
	var out runeRanges
	next := rune(0)
	for _, in := range r.ordered() {
		if in.first > next {
			out = append(out, runeRange{next, in.first - 1})
		}
		next = in.last + 1
	}
	if next <= utf8.MaxRune {
		out = append(out, runeRange{next, utf8.MaxRune})
	}
	return out
}

// without are the characters of r that are not in others.
func (r runeRanges) without(others runeRanges) runeRanges {
	return slices.Concat(r.others(), others).others()
}

// tableRanges are the characters of Unicode tables.
func tableRanges(tables ...*unicode.RangeTable) (out runeRanges) {
	add := func(first, last, stride rune) {
		if stride == 1 {
			out = append(out, runeRange{first, last})
			return
		}
		for r := first; r <= last; r += stride {
			out = append(out, runeRange{r, r})
		}
	}
	for _, t := range tables {
		for _, r := range t.R16 {
			add(rune(r.Lo), rune(r.Hi), rune(r.Stride))
		}
		for _, r := range t.R32 {
			add(rune(r.Lo), rune(r.Hi), rune(r.Stride))
		}
	}
	return out
}
