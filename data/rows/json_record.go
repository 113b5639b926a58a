package rows

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"unicode"
	"unicode/utf8"

	"github.com/llavatrain/llavatrain/data/picture"
)

// parseRecord reads one row and checks its form: every key once, types as documented, paths within the image folder.
// Unknown keys are ignored. The keys are LLaVA's, or those of chat APIs and Hugging Face's data sets:
//
//	{"id": …, "image": "path" or ["path", …],
//	    "conversations": [{"from": "human", "value": "<image>\n…"}, {"from": "gpt", "value": "…"}, …]}
//	{"id": …, "images": ["path", …],
//	    "messages": [{"role": "user", "content": "<image>\n…" or [part, …]}, {"role": "assistant", …}, …]}
//
// readParts documents a part.
func parseRecord(text []byte) (Record, error) {
	if !utf8.Valid(text) {
		return Record{}, errors.New("text is not UTF-8")
	}
	if !json.Valid(text) {
		return Record{}, json.Unmarshal(text, new(json.RawMessage)) // says where
	}
	text = bytes.TrimSpace(text)
	if text[0] != '{' {
		return Record{}, fmt.Errorf("it is %s; it must be an object", kindOf(text))
	}
	var row rowReader
	err := eachKey(text, row.read)
	if err != nil {
		return row.record, err
	}
	return row.finish()
}

// rowReader collects a row while its keys are read, in any order.
type rowReader struct {
	record   Record
	imageKey string // image or images, whichever the row has
	turnsKey string // conversations or messages, whichever the row has
	inParts  parted
}

func (r *rowReader) read(key string, value []byte) (err error) {
	switch key {
	case "id":
		r.record.ID, err = readID(value)
	case "image", "images":
		if r.imageKey != "" {
			return errors.New("image and images are both present; a row has only one of them")
		}
		r.imageKey = key
		r.record.Images, err = readImages(key, value)
	case "conversations", "messages":
		if r.turnsKey != "" {
			return errors.New("conversations and messages are both present; a row has only one of them")
		}
		r.turnsKey = key
		r.record.Turns, err = readTurns(key, value, &r.inParts)
	}
	return err
}

// finish combines the images of the row and those of its parts.
func (r *rowReader) finish() (Record, error) {
	switch {
	case r.turnsKey == "":
		return r.record, errors.New("conversations (or messages) is missing")
	case len(r.inParts.images) == 0:
	case r.imageKey != "" && len(r.record.Images) > 0:
		return r.record, fmt.Errorf("%s and the parts of %s both have images; keep only one of the two",
			r.imageKey, r.turnsKey)
	case r.inParts.open > 0:
		return r.record, fmt.Errorf("%s has %d part(s) of type image without a path beside others with a path",
			r.turnsKey, r.inParts.open)
	default:
		r.record.Images = r.inParts.images
	}
	return r.record, nil
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

func readImages(key string, value []byte) ([]picture.Image, error) {
	if value[0] == '"' {
		path, err := readImage(value)
		if err != nil {
			return nil, fmt.Errorf("%s %w", key, err)
		}
		return []picture.Image{{Path: path}}, nil
	}
	if value[0] != '[' {
		return nil, fmt.Errorf("%s is %s; it must be a path or a list of paths; "+
			"leave the key out in a row without an image", key, kindOf(value))
	}
	var images []picture.Image
	for element := range elements(value) {
		path, err := readImage(element)
		if err != nil {
			return nil, fmt.Errorf("%s[%d] %w", key, len(images), err)
		}
		images = append(images, picture.Image{Path: path})
	}
	return images, nil
}

func readImage(value []byte) (string, error) {
	path, err := readString(value)
	if err == nil {
		err = checkPath(path)
	}
	return path, err
}

// checkPath refuses paths that lead out of the image folder.
func checkPath(path string) error {
	if !filepath.IsLocal(path) {
		return fmt.Errorf("is %q; it must be a path within the image folder", path)
	}
	return nil
}

func readTurns(key string, value []byte, images *parted) ([]Turn, error) {
	if value[0] != '[' {
		return nil, fmt.Errorf("%s is %s; it must be a list of turns", key, kindOf(value))
	}
	var turns []Turn
	for element := range elements(value) {
		if element[0] != '{' {
			return nil, fmt.Errorf("%s[%d] is %s; it must be an object", key, len(turns), kindOf(element))
		}
		turn, err := readTurn(element, images)
		if err != nil {
			return nil, fmt.Errorf("%s[%d].%w", key, len(turns), err)
		}
		turns = append(turns, turn)
	}
	return turns, nil
}

// roles maps the names that data sets use for speakers.
var roles = map[string]string{
	"human": "human", "user": "human",
	"gpt": "gpt", "assistant": "gpt", "chatgpt": "gpt", "model": "gpt",
	"system": "system",
}

// readTurn's errors start with the key at fault.
func readTurn(object []byte, images *parted) (Turn, error) {
	var turn Turn
	speaker, text := "", ""
	err := eachKey(object, func(key string, value []byte) (err error) {
		switch key {
		case "from", "role":
			if speaker != "" {
				return errors.New("from and role are both present")
			}
			speaker = key
			turn.Role, err = readString(value)
		case "value", "content":
			if text != "" {
				return errors.New("value and content are both present")
			}
			text = key
			turn.Text, err = readContent(value, images)
		}
		if err != nil {
			err = fmt.Errorf("%s %w", key, err)
		}
		return err
	})
	names := [2]string{"from", "value"}
	if speaker == "role" || text == "content" {
		names = [2]string{"role", "content"}
	}
	role, known := roles[turn.Role]
	switch {
	case err != nil:
		return turn, err
	case speaker == "":
		return turn, fmt.Errorf("%s is missing", names[0])
	case text == "":
		return turn, fmt.Errorf("%s is missing", names[1])
	case !known:
		return turn, fmt.Errorf("%s is %q; it must be human or user, gpt or assistant, or system", speaker, turn.Role)
	}
	turn.Role = role
	return turn, nil
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

// IsSpace is Python's str.isspace, which the original strips and splits by.
func IsSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }

// ImageMark is the image placeholder in the text of a row.
const ImageMark = "<image>"
