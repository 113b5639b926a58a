package rule

import (
	"math"
	"strconv"
	"strings"
	"unicode"
)

// float reads a number as Python's float does: with white space around, underscores between digits, an exponent, digits
// of any script, inf and nan; not with thousands separated by commas, and not in hexadecimal.
func float(s string) (float64, bool) {
	var ascii strings.Builder
	before := rune(0)
	s = strip(s)
	for i, r := range s {
		switch {
		case r == '_':
			if next, _, _ := cutRune(s[i+1:]); !isDigit(before) || !isDigit(next) {
				return 0, false
			}
		case isDigit(r):
			ascii.WriteByte('0' + digitValue(r))
		case strings.ContainsRune("+-.eE", r) || unicode.IsLetter(r) && r < unicode.MaxASCII && r != 'x' && r != 'X' &&
			r != 'p' && r != 'P':
			ascii.WriteRune(r)
		default:
			return 0, false
		}
		before = r
	}
	x, err := strconv.ParseFloat(ascii.String(), 64)
	if err != nil && !math.IsInf(x, 0) { // a number too large is infinite
		return 0, false
	}
	return x, true
}

func cutRune(s string) (first rune, rest string, ok bool) {
	for i, r := range s {
		return r, s[i+len(string(r)):], true
	}
	return 0, "", false
}

// digitValue is the value of a decimal digit: the digits of a script follow each other from 0, in blocks of ten of the
// same category.
func digitValue(r rune) byte {
	for _, table := range unicode.Nd.R16 {
		if rune(table.Lo) <= r && r <= rune(table.Hi) {
			return byte((r - rune(table.Lo)) % 10)
		}
	}
	for _, table := range unicode.Nd.R32 {
		if rune(table.Lo) <= r && r <= rune(table.Hi) {
			return byte((r - rune(table.Lo)) % 10)
		}
	}
	return 0
}
