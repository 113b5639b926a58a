package rule

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// PythonList reads a list of strings as Python writes it, such as ['No', "it's"]: MMMU's table has its options so.
func PythonList(s string) (texts []string, err error) {
	s = strip(s)
	inner, ok := strings.CutPrefix(s, "[")
	if !ok || !strings.HasSuffix(inner, "]") {
		return nil, fmt.Errorf("it is not a list: %.40q", s)
	}
	rest := strip(inner[:len(inner)-1])
	for rest != "" {
		var text string
		if text, rest, err = pythonString(rest); err != nil {
			return nil, err
		}
		texts = append(texts, text)
		rest = strip(rest)
		if after, comma := strings.CutPrefix(rest, ","); comma {
			rest = strip(after)
		} else if rest != "" {
			return nil, fmt.Errorf("no comma before %.40q", rest)
		}
	}
	return texts, nil
}

var escapes = map[byte]string{'n': "\n", 't': "\t", 'r': "\r", '\\': "\\", '\'': "'", '"': "\"", '\n': ""}

// pythonString reads the string that s begins with.
func pythonString(s string) (text, rest string, err error) {
	quote := s[0]
	if quote != '\'' && quote != '"' {
		return "", "", fmt.Errorf("no quote before %.40q", s)
	}
	var out strings.Builder
	for i := 1; i < len(s); {
		switch {
		case s[i] == quote:
			return out.String(), s[i+1:], nil
		case s[i] == '\\' && i+1 < len(s):
			n, err := unescape(&out, s[i:])
			if err != nil {
				return "", "", err
			}
			i += n
		default:
			_, n := utf8.DecodeRuneInString(s[i:])
			out.WriteString(s[i : i+n])
			i += n
		}
	}
	return "", "", fmt.Errorf("the string %.40q does not end", s)
}

// unescape writes what the escape that s begins with stands for, and returns its length. An unknown one stands for
// itself.
func unescape(out *strings.Builder, s string) (int, error) {
	if is, ok := escapes[s[1]]; ok {
		out.WriteString(is)
		return 2, nil
	}
	for mark, length := range map[byte]int{'x': 2, 'u': 4, 'U': 8} {
		if s[1] != mark {
			continue
		}
		var r rune
		if _, err := fmt.Sscanf(s[2:min(len(s), 2+length)], "%x", &r); err != nil || len(s) < 2+length {
			return 0, fmt.Errorf("the escape %.10q is incomplete", s)
		}
		out.WriteRune(r)
		return 2 + length, nil
	}
	out.WriteByte('\\')
	return 1, nil
}
