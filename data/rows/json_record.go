package rows

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"unicode"

	"github.com/llavatrain/llavatrain/data/picture"
)

// parseRecord reads one row and checks its form: every key once, types as documented, paths within the image folder.
// The keys are LLaVA's, or those of chat APIs and Hugging Face's data sets:
//
//	{"id": …, "image": "path" or ["path", …], "system": "…",
//	    "conversations": [{"from": "human", "value": "<image>\n…"}, {"from": "gpt", "value": "…"}, …]}
//	{"id": …, "images": ["path", …],
//	    "messages": [{"role": "user", "content": "<image>\n…" or [part, …]}, {"role": "assistant", …}, …]}
//
// readParts documents a part. An image may also be {"path": "…"}, as Hugging Face's tables have it. A key with null
// counts as absent, as do images that are empty. Keys that would change what the row means are used or refused, see
// unsupportedKeys and readTrained; others are listed in Record.Unused. Of a row that cannot be used it gives the id.
func parseRecord(text []byte) (Record, error) {
	if err := checkJSON(text); err != nil {
		return Record{}, err
	}
	text = bytes.TrimSpace(text)
	if text[0] != '{' {
		return Record{}, fmt.Errorf("it is %s; it must be an object", kindOf(text))
	}
	var row rowReader
	err := eachKey(text, row.read)
	if err == nil {
		err = row.finish()
	}
	if err != nil {
		return Record{ID: idOf(text)}, err
	}
	return row.record, nil
}

// idOf is the id of a row in valid JSON, wherever it stands.
func idOf(object []byte) string {
	for name, value := range members(object) {
		if string(name) == `"id"` {
			return readID(value)
		}
	}
	return ""
}

// rowReader collects a row while its keys are read, in any order.
type rowReader struct {
	record    Record
	imageKey  string // image or images, whichever the row has
	turnsKey  string // conversations or messages, whichever the row has
	systemKey string // system or system_prompt, whichever the row has
	system    string
	inParts   parted
}

func (r *rowReader) read(key string, value []byte) (err error) {
	if kindOf(value) == "null" {
		return nil
	}
	switch key {
	case "id":
		r.record.ID = readID(value)
	case "image", "images":
		if isEmpty(value) { // what tables of text and images hold in the rows of text
			return nil
		}
		if err := onlyOne(&r.imageKey, key); err != nil {
			return err
		}
		r.record.Images, err = readImages(key, value)
	case "conversations", "messages":
		if err := onlyOne(&r.turnsKey, key); err != nil {
			return err
		}
		r.record.Turns, err = readTurns(key, value, r)
	case "system", "system_prompt":
		if string(value) == `""` {
			return nil
		}
		if err := onlyOne(&r.systemKey, key); err != nil {
			return err
		}
		if r.system, err = readString(value); err != nil {
			err = fmt.Errorf("%s %w", key, err)
		}
	case "weight", "loss", "train":
		trained, err := readTrained(key, value)
		if err == nil && !trained {
			err = fmt.Errorf("%s is %s: a row that is not to be trained must be left out", key, value)
		}
		return err
	default:
		return r.unknown(key, key, value)
	}
	return err
}

// onlyOne records which of two names for the same thing a row has, and refuses the second.
func onlyOne(seen *string, key string) error {
	if *seen != "" {
		return fmt.Errorf("%s and %s are both present; a row has only one of them",
			min(*seen, key), max(*seen, key))
	}
	*seen = key
	return nil
}

// finish combines the row's system text and its turns, and the images of the row and those of its parts.
func (r *rowReader) finish() error {
	turns := r.record.Turns
	switch {
	case r.turnsKey == "":
		return errors.New("conversations (or messages) is missing")
	case len(r.inParts.images) == 0:
	case r.imageKey != "":
		return fmt.Errorf("%s and the parts of %s both have images; keep only one of the two",
			r.imageKey, r.turnsKey)
	case r.inParts.open > 0:
		return fmt.Errorf("%s has %d part(s) of type image without a path beside others with a path",
			r.turnsKey, r.inParts.open)
	default:
		r.record.Images = r.inParts.images
	}
	switch {
	case r.system == "":
	case len(turns) > 0 && turns[0].Role == "system":
		return fmt.Errorf("%s and a turn of the role system are both present; keep only one of the two",
			r.systemKey)
	default:
		r.record.Turns = append([]Turn{{Role: "system", Text: r.system}}, turns...)
	}
	return nil
}

// readID is the row's id. Nothing depends on it, so that of another type is passed over.
func readID(value []byte) string {
	if kindOf(value) == "a number" {
		return string(value)
	}
	id, err := readString(value)
	if err != nil {
		return ""
	}
	return id
}

func readImages(key string, value []byte) ([]picture.Image, error) {
	switch {
	case value[0] == '"' || value[0] == '{':
		image, err := readImage(value)
		if err != nil {
			return nil, fmt.Errorf("%s %w", key, err)
		}
		return []picture.Image{image}, nil
	case value[0] != '[':
		return nil, fmt.Errorf("%s is %s; it must be a path or a list of paths; "+
			"leave the key out in a row without an image", key, kindOf(value))
	}
	var images []picture.Image
	for element := range elements(value) {
		image, err := readImage(element)
		if err != nil {
			return nil, fmt.Errorf("%s[%d] %w", key, len(images), err)
		}
		images = append(images, image)
	}
	return images, nil
}

// readImage reads a path, a data: address, or Hugging Face's {"bytes": null, "path": "…"}.
func readImage(value []byte) (picture.Image, error) {
	if value[0] != '{' {
		return readLink(value)
	}
	members, err := readFields(value)
	switch {
	case err != nil:
		return picture.Image{}, err
	case members["bytes"] != nil:
		return picture.Image{}, errors.New("has bytes, which JSON cannot hold: give a path, or data:…;base64,…")
	case members["path"] == nil:
		return picture.Image{}, errors.New("has no path; it must be a path, or an object with one")
	}
	return readLink(members["path"])
}

// checkPath refuses paths that lead out of the image folder. An absolute path may lie in it: the folder decides.
func checkPath(path string) error {
	if !filepath.IsLocal(path) && !filepath.IsAbs(path) {
		return fmt.Errorf("is %q; it must be a path within the image folder", path)
	}
	return nil
}

func readTurns(key string, value []byte, row *rowReader) ([]Turn, error) {
	if value[0] != '[' {
		return nil, fmt.Errorf("%s is %s; it must be a list of turns", key, kindOf(value))
	}
	var turns []Turn
	for element := range elements(value) {
		if element[0] != '{' {
			return nil, fmt.Errorf("%s[%d] is %s; it must be an object", key, len(turns), kindOf(element))
		}
		turn, err := readTurn(element, row)
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

// turnReader collects a turn while its keys are read.
type turnReader struct {
	turn       Turn
	speakerKey string // from or role, whichever the turn has
	textKey    string // value or content, whichever the turn has
	trainedKey string // the key that says that it is trained, if one does
}

// readTurn's errors start with the key at fault.
func readTurn(object []byte, row *rowReader) (Turn, error) {
	var t turnReader
	err := eachKey(object, func(key string, value []byte) error { return t.read(key, value, row) })
	if err != nil {
		return t.turn, err
	}
	return t.finish()
}

func (t *turnReader) read(key string, value []byte, row *rowReader) (err error) {
	if kindOf(value) == "null" {
		return nil
	}
	switch key {
	case "from", "role":
		if err := onlyOne(&t.speakerKey, key); err != nil {
			return err
		}
		t.turn.Role, err = readString(value)
	case "value", "content":
		if err := onlyOne(&t.textKey, key); err != nil {
			return err
		}
		t.turn.Text, err = readContent(value, &row.inParts)
	case "weight", "loss", "train":
		trained, err := readTrained(key, value)
		if trained {
			t.trainedKey = key
		} else {
			t.turn.Untrained = true
		}
		return err
	default:
		return row.unknown(key, row.turnsKey+"."+key, value)
	}
	if err != nil {
		err = fmt.Errorf("%s %w", key, err)
	}
	return err
}

func (t *turnReader) finish() (Turn, error) {
	names := [2]string{"from", "value"}
	if t.speakerKey == "role" || t.textKey == "content" {
		names = [2]string{"role", "content"}
	}
	role, known := roles[t.turn.Role]
	switch {
	case t.speakerKey == "":
		return t.turn, fmt.Errorf("%s is missing or null", names[0])
	case t.textKey == "":
		return t.turn, fmt.Errorf("%s is missing or null", names[1])
	case !known:
		return t.turn, fmt.Errorf("%s is %q; it must be human or user, gpt or assistant, or system",
			t.speakerKey, t.turn.Role)
	case role != "gpt" && t.trainedKey != "":
		return t.turn, fmt.Errorf("%s marks a turn of %s to be trained; only answers are: remove the key",
			t.trainedKey, t.turn.Role)
	}
	t.turn.Role = role
	t.turn.Untrained = t.turn.Untrained && role == "gpt"
	return t.turn, nil
}

// IsSpace is Python's str.isspace, which the original strips and splits by.
func IsSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }

// ImageMark is the image placeholder in the text of a row.
const ImageMark = "<image>"
