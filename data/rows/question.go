package rows

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/llavatrain/llavatrain/data/picture"
)

// Question is a line of the original's question files (llava/eval/model_vqa.py):
//
//	{"question_id": 1, "image": "path" or ["path", …], "text": "…"}
//
// The keys that it shares with rows mean the same: image or images, system or system_prompt.
type Question struct {
	ID     json.RawMessage // as it is written; nil if it is missing
	Images []picture.Image // may be none
	System string          // "" for the template's
	Text   string
	Unused []string // keys that are not read
}

// ParseQuestion reads a question with the rules for rows: every key once, null counts as absent, keys that would change
// what the question means are used or refused.
func ParseQuestion(text []byte) (Question, error) {
	const form = "it is not an object with question_id, image and text"
	if err := checkJSON(text); err != nil {
		return Question{}, fmt.Errorf("%s: %w", form, err)
	}
	text = bytes.TrimSpace(text)
	if text[0] != '{' {
		return Question{}, fmt.Errorf("%s, but %s", form, kindOf(text))
	}
	var q questionReader
	if err := eachKey(text, q.read); err != nil {
		return q.Question, err
	}
	q.Images, q.System = q.row.record.Images, q.row.system
	return q.Question, nil
}

// questionReader collects a question while its keys are read; row has those that it shares with rows.
type questionReader struct {
	Question
	row rowReader
}

func (q *questionReader) read(key string, value []byte) (err error) {
	if kindOf(value) == "null" {
		return nil
	}
	switch key {
	case "question_id":
		q.ID = value
	case "text":
		if q.Text, err = readString(value); err != nil {
			err = fmt.Errorf("text %w", err)
		}
	case "image", "images", "system", "system_prompt":
		return q.row.read(key, value)
	case "conversations", "messages":
		return fmt.Errorf("%s is a key of rows of data: a question has its words in text", key)
	default:
		return q.other(key, value)
	}
	return err
}

// other refuses a key that changes what the question means, and lists any other.
func (q *questionReader) other(key string, value []byte) error {
	if isEmpty(value) {
		return nil
	}
	if why, ok := unsupportedKeys[key]; ok {
		return fmt.Errorf("%s %s", key, why)
	}
	lower := strings.ToLower(key)
	if slices.Contains(imageNames, lower) {
		return fmt.Errorf("%s is not read, and without its image the question would be about the text alone: "+
			"call the key image", key)
	}
	if slices.Contains(questionKeys, lower) {
		return fmt.Errorf("%s is not read: write %s", key, lower)
	}
	q.Unused = append(q.Unused, key)
	return nil
}

// questionKeys are the keys of a question that are read.
var questionKeys = []string{"question_id", "image", "images", "text", "system", "system_prompt"}

// imageNames are other programs' names for the path of a question's image.
var imageNames = []string{"image_file", "image_files", "image_name", "image_path", "image_paths", "image_url",
	"image_urls", "img", "img_path", "imgs", "picture", "pictures"}
