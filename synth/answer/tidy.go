package answer

import (
	"regexp"
	"strings"
	"unicode"
)

var lineEnds = strings.NewReplacer("\r\n", "\n", "\r", "\n")

// tidy drops what cannot be seen: zero-width and control characters but tab, white space at the ends of lines and at
// the start, blank lines at both ends and beyond one in a row. Line ends become LF.
func tidy(text string) string {
	text = strings.Map(visible, lineEnds.Replace(text))
	var tidied strings.Builder
	tidied.Grow(len(text))
	blank := false
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimRightFunc(line, unicode.IsSpace)
		switch {
		case line == "":
			blank = true
			continue
		case tidied.Len() == 0:
			line = strings.TrimLeftFunc(line, unicode.IsSpace)
		case blank:
			tidied.WriteString("\n\n")
		default:
			tidied.WriteByte('\n')
		}
		tidied.WriteString(line)
		blank = false
	}
	return tidied.String()
}

func visible(r rune) rune {
	switch {
	case r == '\t', r == '\n':
		return r
	case r >= '\u200b' && r <= '\u200d', r == '\u2060', r == '\ufeff', r == '\u00ad', unicode.IsControl(r):
		return -1
	}
	return r
}

// thoughts are the tags that models put around what they think before they answer.
var thoughts = []struct{ opening, closing *regexp.Regexp }{
	{regexp.MustCompile(`(?i)^<think>`), regexp.MustCompile(`(?i)</think>`)},
	{regexp.MustCompile(`(?i)^<thinking>`), regexp.MustCompile(`(?i)</thinking>`)},
	{regexp.MustCompile(`(?i)^<reasoning>`), regexp.MustCompile(`(?i)</reasoning>`)},
}

var (
	openingFence = regexp.MustCompile("^```+[ \t]*[\\w+#.-]*$")
	closingFence = regexp.MustCompile("^[ \t]*```+$")
)

// unwrap tidies a text, and takes thoughts from its start and a fence from around it. The result is not nil if nothing
// can be left to read.
func (a *reading) unwrap(text string) (string, *Result) {
	text = tidy(text)
	for _, tag := range thoughts {
		opening := tag.opening.FindStringIndex(text)
		if opening == nil {
			continue
		}
		closing := tag.closing.FindStringIndex(text)
		if closing == nil {
			return "", &Result{Outcome: Retry, Reason: truncated}
		}
		text = tidy(text[closing[1]:])
		a.repaired(thinking)
		break
	}
	first, rest, _ := strings.Cut(text, "\n")
	last := strings.LastIndexByte(rest, '\n') + 1
	if openingFence.MatchString(first) && closingFence.MatchString(rest[last:]) {
		text = tidy(rest[:last])
		a.repaired(fence)
	}
	if text == "" {
		nothing := a.retry(empty)
		return "", &nothing
	}
	return text, nil
}
