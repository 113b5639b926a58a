package tokenizer

import "unicode/utf8"

// expression is a regular expression that a pre-tokenizer splits text by. It does what Oniguruma does, which Hugging
// Face's library uses: alternatives are tried in order, and repetitions take as much as they can. (Go's regexp has
// neither lookahead nor possessive repetitions.)
type expression struct {
	start   *step
	letters bool
	next    nextRune
}

// nextRune returns the character at byte i of a text and its length.
type nextRune func(text string, i int) (r rune, width int)

// step is a part of an expression, which is a chain of them.
type step struct {
	kind       stepKind
	set        *characterSet // nil for branchStep and lineEndStep
	min, max   int           // repetitions; for branchStep, min 0 makes it optional
	possessive bool          // gives nothing back
	branches   []*step       // each goes on to next by itself
	next       *step         // nil at the end
	inner      [][]*step     // what branches are made of
}

type stepKind byte

const (
	repeatStep   stepKind = iota // min to max characters of set
	branchStep                   // the first of branches that matches
	aheadStep                    // a character of set follows
	notAheadStep                 // no character of set follows
	lineEndStep                  // a line break follows, or nothing
)

// unlimited is the max of a repetition without an end.
const unlimited = 1 << 30

// word is the length of the first piece of text: the match at its start, or the text before the first match.
func (e *expression) word(text string) int {
	if end := e.match(e.start, text, 0); end > 0 {
		return end
	}
	_, at := e.next(text, 0)
	for at < len(text) {
		if e.match(e.start, text, at) > at {
			return at
		}
		_, width := e.next(text, at)
		at += width
	}
	return at
}

// match returns where the match of s and what follows it ends, if it starts at byte at; -1 if there is none.
func (e *expression) match(s *step, text string, at int) int {
	for ; s != nil; s = s.next {
		switch s.kind {
		case branchStep:
			for _, b := range s.branches {
				if end := e.match(b, text, at); end >= 0 {
					return end
				}
			}
			return -1
		case repeatStep:
			count, end := e.repeat(s, text, at)
			switch {
			case count < s.min:
				return -1
			case count > s.min && s.next != nil && !s.possessive:
				return e.giveBack(s, text, count, end)
			}
			at = end
		case lineEndStep:
			if at < len(text) && (e.letters || text[at] != '\n') { // no letter is a line break
				return -1
			}
		default:
			if e.follows(s.set, text, at) != (s.kind == aheadStep) {
				return -1
			}
		}
	}
	return at
}

// repeat takes as many characters as s can.
func (e *expression) repeat(s *step, text string, at int) (count, end int) {
	for count < s.max && at < len(text) {
		r, width := e.next(text, at)
		if !s.set.has(r) {
			break
		}
		at += width
		count++
	}
	return count, at
}

// giveBack matches what follows s, which took count characters up to byte end, or fewer.
func (e *expression) giveBack(s *step, text string, count, end int) int {
	for {
		if end := e.match(s.next, text, end); end >= 0 {
			return end
		}
		if count == s.min {
			return -1
		}
		end = e.before(text, end)
		count--
	}
}

// before is where the character that ends at byte end starts.
func (e *expression) before(text string, end int) int {
	if e.letters {
		return end - 1
	}
	_, width := utf8.DecodeLastRuneInString(text[:end])
	return end - width
}

func (e *expression) follows(set *characterSet, text string, at int) bool {
	if at == len(text) {
		return false
	}
	r, _ := e.next(text, at)
	return set.has(r)
}

// reader reads characters or, for text behind the pre-tokenizer ByteLevel, the letters that it writes for bytes.
func reader(letters bool) nextRune {
	if letters {
		return func(text string, i int) (rune, int) { return letterOfByte[text[i]], 1 }
	}
	return func(text string, i int) (rune, int) {
		if c := text[i]; c < utf8.RuneSelf {
			return rune(c), 1
		}
		return utf8.DecodeRuneInString(text[i:])
	}
}

// coversAll reports whether a match starts at each character of any text, by alternatives that need that character
// alone.
func (e *expression) coversAll() bool {
	var covered runeRanges
	for _, alternative := range e.start.inner {
		covered = append(covered, single(alternative)...)
	}
	return len(covered.others()) == 0
}

// single is a set of characters each of which steps match alone, whatever follows.
func single(steps []*step) (needed runeRanges) {
	var taken runeRanges // by possessive repetitions before it
	found := false
	for _, s := range steps {
		switch {
		case s.kind == branchStep && s.min == 0:
		case s.kind != repeatStep || s.min > 1 || s.min == 1 && found:
			return nil
		case s.min == 1:
			needed, found = s.set.ranges.without(taken), true
		case s.possessive && !found:
			taken = append(taken, s.set.ranges...)
		}
	}
	return needed
}
