package tokenizer

import "strings"

// aligned is a rewritten text. Byte i of it corresponds to byte at[i] of the original; at[len(text)] is the original's
// length. A nil at means that nothing was rewritten.
type aligned struct {
	text string
	at   []int
}

func (a aligned) origin(i int) int {
	if a.at == nil {
		return i
	}
	return a.at[i]
}

// aligner builds an aligned text.
type aligner struct {
	text []byte
	at   []int
}

// add appends text that corresponds to byte at of the original.
func (a *aligner) add(text string, at int) {
	a.text = append(a.text, text...)
	for range len(text) {
		a.at = append(a.at, at)
	}
}

// done ends the text; the original has length bytes.
func (a *aligner) done(length int) aligned { return aligned{string(a.text), append(a.at, length)} }

// markSpaces is text with ▁ for each space and, if prefix is set, one before it.
func markSpaces(text string, prefix bool) aligned {
	size := len(text) + 2*strings.Count(text, " ") + len(space)
	a := aligner{make([]byte, 0, size), make([]int, 0, size+1)}
	if prefix {
		a.add(space, 0)
	}
	for i := range len(text) {
		if text[i] == ' ' {
			a.add(space, i)
			continue
		}
		a.text, a.at = append(a.text, text[i]), append(a.at, i)
	}
	return a.done(len(text))
}
