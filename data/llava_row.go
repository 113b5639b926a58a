package data

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"unicode/utf8"
)

// parseRecord reads one row of LLaVA's JSON and checks its form: every key once, the types as documented, paths that stay within the
// image folder. Keys that it does not know are passed over.
func parseRecord(text []byte) (Record, error) {
	var r Record
	if !utf8.Valid(text) {
		return r, errors.New("text is not UTF-8")
	}
	if !json.Valid(text) {
		return r, json.Unmarshal(text, new(json.RawMessage)) // says where
	}
	text = bytes.TrimSpace(text)
	if text[0] != '{' {
		return r, fmt.Errorf("it is %s; it must be an object", kindOf(text))
	}
	turns := false
	err := eachKey(text, func(key string, value []byte) (err error) {
		switch key {
		case "id":
			r.ID, err = readID(value)
		case "image":
			r.Images, err = readImages(value)
		case "conversations":
			turns = true
			r.Turns, err = readTurns(value)
		}
		return err
	})
	if err == nil && !turns {
		err = errors.New("conversations is missing")
	}
	return r, err
}

func readID(value []byte) (string, error) {
	switch kindOf(value) {
	case "a number":
		return string(value), nil
	case "a string":
		return readString(value)
	}
	return "", fmt.Errorf("id is %s; it must be a string or a number", kindOf(value))
}

func readImages(value []byte) ([]string, error) {
	if value[0] == '"' {
		path, err := readImage(value)
		if err != nil {
			return nil, fmt.Errorf("image %w", err)
		}
		return []string{path}, nil
	}
	if value[0] != '[' {
		return nil, fmt.Errorf("image is %s; it must be a path or a list of paths, and a row without an image has no such key", kindOf(value))
	}
	var paths []string
	for element := range elements(value) {
		path, err := readImage(element)
		if err != nil {
			return nil, fmt.Errorf("image[%d] %w", len(paths), err)
		}
		paths = append(paths, path)
	}
	return paths, nil
}

func readImage(value []byte) (string, error) {
	path, err := readString(value)
	if err == nil && !filepath.IsLocal(path) {
		err = fmt.Errorf("is %q; it must be a path within the image folder", path)
	}
	return path, err
}

func readTurns(value []byte) ([]Turn, error) {
	if value[0] != '[' {
		return nil, fmt.Errorf("conversations is %s; it must be a list of turns", kindOf(value))
	}
	var turns []Turn
	for element := range elements(value) {
		if element[0] != '{' {
			return nil, fmt.Errorf("conversations[%d] is %s; it must be an object", len(turns), kindOf(element))
		}
		turn, err := readTurn(element)
		if err != nil {
			return nil, fmt.Errorf("conversations[%d].%w", len(turns), err)
		}
		turns = append(turns, turn)
	}
	return turns, nil
}

// readTurn's errors start with the key at fault.
func readTurn(object []byte) (Turn, error) {
	var turn Turn
	role, text := false, false
	err := eachKey(object, func(key string, value []byte) (err error) {
		switch key {
		case "from":
			role = true
			turn.Role, err = readString(value)
		case "value":
			text = true
			turn.Text, err = readString(value)
		}
		if err != nil {
			err = fmt.Errorf("%s %w", key, err)
		}
		return err
	})
	switch {
	case err != nil:
		return turn, err
	case !role:
		return turn, errors.New("from is missing")
	case !text:
		return turn, errors.New("value is missing")
	case turn.Role != "human" && turn.Role != "gpt":
		return turn, fmt.Errorf("from is %q; LLaVA's roles are human and gpt", turn.Role)
	}
	return turn, nil
}

// eachKey visits the members of an object. Like the functions below it is for JSON that is known to be valid.
func eachKey(object []byte, visit func(key string, value []byte) error) error {
	seen := map[string]bool{}
	for name, value := range members(object) {
		key, err := readString(name)
		if err != nil {
			return err
		}
		if seen[key] {
			return fmt.Errorf("%q comes twice", key)
		}
		seen[key] = true
		if err := visit(key, value); err != nil {
			return err
		}
	}
	return nil
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

// members is the names and values of an object, as they are written.
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

// elements is the values of a list, or the names and values of an object, as they are written.
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

// kindOf names what a JSON value is.
func kindOf(value []byte) string {
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
