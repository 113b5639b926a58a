package page

import (
	"bytes"
	"fmt"
	"io"
	"unicode"
	"unicode/utf8"
)

// visibleWriter replaces characters that act on the text around them without being seen by their numbers, like
// "[U+202E]": controls but tab and line feed, marks of direction, soft hyphens, tags and other format characters. What
// is not UTF-8 becomes U+FFFD. The joiners U+200C and U+200D stay, because Persian, Indic scripts and emoji need them;
// carriage returns go.
//
// It sees the whole page, so that no text can be forgotten; markup has none of these characters.
type visibleWriter struct {
	out  io.Writer
	rest []byte // the beginning of a character that the last call ended in
}

// Write takes part of the page. A character may be parted between calls; one that is never completed is lost, and a
// page ends with markup.
func (w *visibleWriter) Write(p []byte) (int, error) {
	text := p
	if len(w.rest) > 0 {
		text = append(w.rest, p...)
		w.rest = nil
	}
	start := 0 // of what is passed on as it is
	for at := 0; at < len(text); {
		if text[at] < utf8.RuneSelf && text[at] >= ' ' && text[at] != 0x7f {
			at++
			continue
		}
		if !utf8.FullRune(text[at:]) {
			w.rest = bytes.Clone(text[at:])
			text = text[:at]
			break
		}
		r, size := utf8.DecodeRune(text[at:])
		if instead, hidden := shown(r, size); hidden {
			if err := w.pass(text[start:at], instead); err != nil {
				return 0, err
			}
			start = at + size
		}
		at += size
	}
	if err := w.pass(text[start:], ""); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (w *visibleWriter) pass(text []byte, then string) error {
	if _, err := w.out.Write(text); err != nil {
		return err
	}
	_, err := io.WriteString(w.out, then)
	return err
}

// shown says what stands instead of a character, if it is one that cannot be seen.
func shown(r rune, size int) (instead string, hidden bool) {
	switch {
	case r == utf8.RuneError && size == 1:
		return "\uFFFD", true
	case r == '\t', r == '\n', r == '\u200c', r == '\u200d':
		return "", false
	case r == '\r':
		return "", true
	case unicode.Is(unicode.Prepended_Concatenation_Mark, r): // format characters that are drawn, such as Arabic signs
		return "", false
	case unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Noncharacter_Code_Point),
		0xe0100 <= r && r <= 0xe01ef: // selectors of variants, which can carry hidden bytes
		return fmt.Sprintf("[U+%04X]", r), true
	}
	return "", false
}
