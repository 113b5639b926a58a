package rows

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"regexp"
	"unicode/utf8"
)

// checkJSON checks the syntax of a row. NaN and infinities, which Python's json writes and reads, pass: a key that is
// used refuses them by name.
func checkJSON(text []byte) error {
	if !utf8.Valid(text) {
		return errors.New("text is not UTF-8")
	}
	if json.Valid(text) {
		return nil
	}
	return json.Unmarshal(stringOrNonFinite.ReplaceAllFunc(text, quoted), new(json.RawMessage)) // says where
}

var stringOrNonFinite = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|-?Infinity|NaN`)

// quoted makes a string of the same length of NaN and infinities.
func quoted(value []byte) []byte {
	if !nonFinite(value) {
		return value
	}
	text := bytes.Clone(value)
	text[0], text[len(text)-1] = '"', '"'
	return text
}

func nonFinite(value []byte) bool {
	return value[0] == 'N' || value[0] == 'I' || bytes.HasPrefix(value, []byte("-I"))
}

// eachKey visits the members of an object. Like the functions below it expects valid JSON.
func eachKey(object []byte, visit func(key string, value []byte) error) error {
	seen := map[string]bool{}
	for name, value := range members(object) {
		key, err := readString(name)
		if err != nil {
			return err
		}
		if seen[key] {
			return fmt.Errorf("%q appears twice", key)
		}
		seen[key] = true
		if err := visit(key, value); err != nil {
			return err
		}
	}
	return nil
}

// isEmpty reports whether a value says nothing: null, an empty text, or a list or an object of nothing else, as tables
// have for rows without them.
func isEmpty(value []byte) bool {
	switch value[0] {
	case 'n':
		return true
	case '"':
		return len(value) == 2
	case '[':
		for element := range elements(value) {
			if !isEmpty(element) {
				return false
			}
		}
		return true
	case '{':
		for _, member := range members(value) {
			if !isEmpty(member) {
				return false
			}
		}
		return true
	}
	return false
}

// readString is the text of a JSON string.
func readString(value []byte) (string, error) {
	if value[0] != '"' {
		return "", fmt.Errorf("is %s; it must be a string", kindOf(value))
	}
	if !bytes.Contains(value, []byte{'\\'}) {
		return string(value[1 : len(value)-1]), nil
	}
	var s string
	err := json.Unmarshal(value, &s)
	return s, err
}

// members returns the names and values of an object, as raw JSON.
func members(object []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		var name []byte
		for element := range elements(object) {
			if name == nil {
				name = element
				continue
			}
			if !yield(name, element) {
				return
			}
			name = nil
		}
	}
}

// elements returns the values of a list, or the names and values of an object, as raw JSON.
func elements(list []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		const between = " \t\r\n,:"
		rest := bytes.TrimLeft(list[1:len(list)-1], between)
		for len(rest) > 0 {
			end := valueEnd(rest)
			if !yield(rest[:end]) {
				return
			}
			rest = bytes.TrimLeft(rest[end:], between)
		}
	}
}

// valueEnd is the length of the JSON value that text starts with.
func valueEnd(text []byte) int {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			i += stringEnd(text[i:]) - 1
		case '{', '[':
			depth++
			continue
		case '}', ']':
			depth--
		default:
			if depth == 0 {
				return i + scalarEnd(text[i:])
			}
			continue
		}
		if depth == 0 {
			return i + 1
		}
	}
	return len(text)
}

// stringEnd is the length of the JSON string that text starts with, quotes included.
func stringEnd(text []byte) int {
	end := 1
	for {
		end += bytes.IndexByte(text[end:], '"') + 1
		body := text[1 : end-1]
		if (len(body)-len(bytes.TrimRight(body, `\`)))%2 == 0 {
			return end
		}
	}
}

func scalarEnd(text []byte) int {
	if end := bytes.IndexAny(text, " \t\r\n,]}"); end >= 0 {
		return end
	}
	return len(text)
}

// kindOf describes what kind of JSON value it is.
func kindOf(value []byte) string {
	if nonFinite(value) {
		return "not a finite number"
	}
	switch value[0] {
	case '"':
		return "a string"
	case '{':
		return "an object"
	case '[':
		return "a list"
	case 'n':
		return "null"
	case 't', 'f':
		return "true or false"
	}
	return "a number"
}
