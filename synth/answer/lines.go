package answer

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// A text with markers is read line by line.
type lineKind uint8

const (
	plain     lineKind = iota
	blank              // no text
	separator          // ===
	ruler              // --- and the like
	fenced             // ```
	marked             // begins a question or an answer
)

type line struct {
	kind     lineKind
	question bool   // of a marked one
	text     string // of a marked one the rest
}

// markedHalves reads questions and answers that begin with markers, and drops what stands around them. The result is
// not nil if the text is in no such form.
func (a *reading) markedHalves(text string) ([]half, *Result) {
	lines, family := linesOf(text)
	if family < 0 {
		failed := a.retry(shape)
		if lists().refusal.MatchString(text) {
			failed = reject(refusal)
		}
		return nil, &failed
	}
	if family > 0 {
		a.repaired(otherMarkers)
	}
	lines = a.afterPreamble(lines)
	lines, separated, ok := a.beforeTrailer(lines)
	if !ok {
		failed := a.retry(shape)
		return nil, &failed
	}
	halves := halvesIn(withoutRulers(lines))
	if a.cut {
		halves = a.whole(halves, separated)
	}
	return halves, nil
}

// linesOf splits a text into lines by the first family of names that it has both markers of, and says which that is: -1
// if there is none.
func linesOf(text string) ([]line, int) {
	names := make([]int8, 0, strings.Count(text, "\n")+1) // of each line, the group of its marker; 0: it has none
	has := [2*families + 1]bool{}
	for text := range strings.SplitSeq(text, "\n") {
		name, _ := markerOf(text)
		names, has[name] = append(names, int8(name)), true
	}
	family := 0
	for ; !has[2*family+1] || !has[2*family+2]; family++ {
		if family == families-1 {
			return nil, -1
		}
	}
	lines := make([]line, 0, len(names))
	for text := range strings.SplitSeq(text, "\n") {
		switch name := int(names[len(lines)]); name {
		case 2*family + 1, 2*family + 2:
			_, rest := markerOf(text)
			lines = append(lines, line{marked, name == 2*family+1, rest})
		default:
			lines = append(lines, line{kind: kindOf(text), text: text})
		}
	}
	return lines, family
}

// markerOf finds a marker, and what follows it in its line. It returns the number of its name in markerNames, or 0.
func markerOf(text string) (name int, rest string) {
	if strings.IndexByte(text, ':') < 0 && !strings.Contains(text, "：") {
		return 0, "" // as nearly all lines; the pattern takes longer to see it
	}
	found := lists().marker.FindStringSubmatchIndex(text)
	if found == nil {
		return 0, ""
	}
	for name = 1; found[2*name] < 0; {
		name++
	}
	return name, text[found[2*(2*families+1)]:]
}

func kindOf(text string) lineKind {
	text = strings.TrimLeftFunc(text, unicode.IsSpace)
	if text == "" {
		return blank
	}
	alike := len(text) >= 3 && strings.Trim(text, text[:1]) == "" // characters
	switch first := text[0]; {
	case first == '=' && alike:
		return separator
	case (first == '-' || first == '*' || first == '_') && alike:
		return ruler
	case openingFence.MatchString(text):
		return fenced
	}
	return plain
}

// afterPreamble drops what stands before the first marker.
func (a *reading) afterPreamble(lines []line) []line {
	for i, l := range lines {
		switch l.kind {
		case marked:
			return lines[i:]
		case fenced:
			a.repaired(fence)
		case plain:
			a.repaired(preamble)
		}
	}
	return nil
}

// longestTrailer is the length in characters up to which text after the end is taken for a farewell.
const longestTrailer = 200

// beforeTrailer drops what stands after a separator that follows the last marker, and says whether there is such a
// separator. It returns false if that is too much to be dropped: it may be what was asked for.
func (a *reading) beforeTrailer(lines []line) (before []line, separated, ok bool) {
	first := -1
	for i, l := range lines {
		switch l.kind {
		case marked:
			first = -1
		case separator:
			if first < 0 {
				first = i
			}
		}
	}
	lines = a.beforeClosing(lines)
	if first < 0 || first >= len(lines) {
		return lines, first >= 0, true
	}
	characters := 0
	for _, l := range lines[first:] {
		if l.kind != separator {
			characters += utf8.RuneCountInString(l.text) + 1
		}
	}
	if !a.cut {
		if characters-1 > longestTrailer {
			return nil, true, false
		}
		a.repaired(trailer)
	}
	return a.beforeClosing(lines[:first]), true, true
}

// beforeClosing drops a fence at the end, and what says nothing around it.
func (a *reading) beforeClosing(lines []line) []line {
	closed := false
	for n := len(lines); n > 0; n-- {
		switch kind := lines[n-1].kind; {
		case kind == blank, kind == separator, kind == ruler:
		case kind == fenced && !closed:
			closed = true
			a.repaired(fence)
		default:
			return lines[:n]
		}
	}
	return nil
}

// withoutRulers turns lines that part turns, and would be taken for text, into blank ones. Within an answer a ruler is
// part of it.
func withoutRulers(lines []line) []line {
	between := true // what follows is a marker or the end
	for i := len(lines) - 1; i >= 0; i-- {
		switch lines[i].kind {
		case marked:
			between = true
		case ruler:
			if between {
				lines[i].kind = blank
			}
		case plain, fenced:
			between = false
		}
	}
	return lines
}

// halvesIn collects the text of each marker. A separator vanishes: it may also underline a heading.
func halvesIn(lines []line) (halves []half) {
	for len(lines) > 0 {
		n := 1
		for n < len(lines) && lines[n].kind != marked {
			n++
		}
		var text strings.Builder
		text.WriteString(lines[0].text)
		for _, l := range lines[1:n] {
			switch l.kind {
			case separator:
			case blank:
				text.WriteByte('\n')
			default:
				text.WriteString("\n" + l.text)
			}
		}
		halves = append(halves, half{lines[0].question, tidy(text.String())})
		lines = lines[n:]
	}
	return halves
}

// whole drops the last question or pair of a text that was cut, unless a separator shows that it is whole.
func (a *reading) whole(halves []half, separated bool) []half {
	a.repaired(cutOff)
	last := len(halves) - 1
	if last < 0 || !halves[last].question && separated {
		return halves
	}
	if !halves[last].question && last > 0 && halves[last-1].question {
		last--
	}
	return halves[:last]
}
