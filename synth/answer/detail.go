package answer

import (
	"strings"
	"unicode"
)

// detail reads a description.
func (a *reading) detail(text string) Result {
	if unpacked, ok := jsonText(text); ok {
		text = tidy(unpacked)
		a.repaired(inJSON)
	}
	text = a.bare(text)
	if lists().refusal.MatchString(text) {
		return reject(refusal)
	}
	if asks(text) {
		return Result{Outcome: Retry, Reason: shape} // even if it is cut: it was not going to be a description
	}
	if a.cut {
		text = wholeSentences(text)
		a.repaired(cutOff)
	}
	description := check(text)
	switch {
	case text == "":
		return a.retry(empty)
	case a.cut && description.count() < shortestDetails:
		return a.retry(truncated)
	case text[0] == '{' || text[0] == '[':
		return Result{Outcome: Retry, Reason: shape}
	}
	if reason := a.filters.faultIn(description); reason != "" {
		return reject(reason)
	}
	if reason := length(description, shortestDetails); reason != "" {
		return reject(reason)
	}
	return a.accept(Turn{Answer: text})
}

// bare takes from a description what models put in front of it and around it.
func (a *reading) bare(text string) string {
	if first, rest, more := strings.Cut(text, "\n"); more && lists().chatter.MatchString(first) {
		text = tidy(rest)
		a.repaired(preamble)
	}
	if label := lists().label.FindStringIndex(text); label != nil {
		text = tidy(text[label[1]:])
		a.repaired(labelled)
	}
	if inside, ok := unquoted(text); ok {
		text = tidy(inside)
		a.repaired(quotes)
	}
	return text
}

// unquoted takes one pair of quotes from around a text that has none inside.
func unquoted(text string) (string, bool) {
	for _, pair := range [][2]string{{`"`, `"`}, {"“", "”"}} {
		inside, opens := strings.CutPrefix(text, pair[0])
		inside, closes := strings.CutSuffix(inside, pair[1])
		if opens && closes {
			return inside, !strings.ContainsAny(inside, `"“”`)
		}
	}
	return text, false
}

// asks says whether a text holds questions.
func asks(text string) bool {
	for line := range strings.SplitSeq(text, "\n") {
		if name, _ := markerOf(line); name%2 == 1 {
			return true
		}
	}
	_, pairs := jsonHalves(text)
	return pairs
}

// wholeSentences cuts a text after the last sentence that ends in it, with its closing quotes and brackets. A full stop
// within a word ends none.
func wholeSentences(text string) string {
	for end := len(text); end > 0; end = strings.LastIndexFunc(text[:end], unicode.IsSpace) {
		words := strings.TrimRight(text[:end], `"'”’»)]`)
		if words != "" && strings.IndexByte(".!?", words[len(words)-1]) >= 0 {
			return text[:end]
		}
	}
	return ""
}
