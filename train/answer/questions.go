package answer

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// question is a line of the original's question files (llava/eval/model_vqa.py). It may have no image, or a list.
type question struct {
	ID     json.RawMessage `json:"question_id"` // a string or a number
	Images imageList       `json:"image"`
	Text   string          `json:"text"`

	index, line int // among the questions, from 0; in the file, from 1
}

// imageList is one path or a list of them; null and "" are none.
type imageList []string

func (l *imageList) UnmarshalJSON(text []byte) error {
	var one string
	if json.Unmarshal(text, &one) != nil {
		var all []string
		if json.Unmarshal(text, &all) != nil || slices.Contains(all, "") {
			return fmt.Errorf("image is %s; it must be a path or a list of paths", text)
		}
		*l = all
		return nil
	}
	if *l = nil; one != "" {
		*l = imageList{one}
	}
	return nil
}

// questionAnswer is a line of the original's answer files.
type questionAnswer struct {
	ID       json.RawMessage `json:"question_id"`
	Prompt   string          `json:"prompt"`
	Text     string          `json:"text"`
	AnswerID string          `json:"answer_id"` // a hash of the other fields; the original's is random
	ModelID  string          `json:"model_id"`
	Metadata struct{}        `json:"metadata"`
}

func newQuestionAnswer(q question, text, modelID string) questionAnswer {
	a := questionAnswer{ID: q.ID, Prompt: q.Text, Text: text, ModelID: modelID}
	all, _ := json.Marshal(a) // of strings: it cannot fail
	sum := sha256.Sum256(all)
	a.AnswerID = hex.EncodeToString(sum[:11])
	return a
}

// readQuestions reads a question file.
func readQuestions(path string) (questions []question, err error) {
	defer failure.MarkInput(&err)
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("questions: %w", err)
	}
	number := 0
	for line := range bytes.Lines(text) {
		number++
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		q := question{index: len(questions), line: number}
		if err := q.parse(line); err != nil {
			return nil, fmt.Errorf("questions: %s line %d: %w", path, number, err)
		}
		questions = append(questions, q)
	}
	if len(questions) == 0 {
		return nil, fmt.Errorf("questions: %s has no questions", path)
	}
	return questions, nil
}

func (q *question) parse(line []byte) error {
	if err := json.Unmarshal(line, q); err != nil {
		return fmt.Errorf(`it is not an object with question_id, image and text: %w`, err)
	}
	if q.Text == "" {
		return errors.New("text is missing or empty")
	}
	id, err := questionID(q.ID)
	q.ID = json.RawMessage(id)
	return err
}

// questionID returns an id in the one spelling that answers have, by which they are matched with questions.
func questionID(raw json.RawMessage) (string, error) {
	switch {
	case len(raw) == 0:
		return "", errors.New("question_id is missing")
	case raw[0] == '"':
		var text string
		if err := json.Unmarshal(raw, &text); err != nil {
			return "", fmt.Errorf("question_id: %w", err)
		}
		spelled, err := json.Marshal(text)
		return string(spelled), err
	case raw[0] == '-' || '0' <= raw[0] && raw[0] <= '9':
		return string(raw), nil
	}
	return "", errors.New("question_id must be a string or a number")
}

// unanswered leaves out the questions that a file already has answers to. An id may occur several times: each answer
// counts for one question with that id, in order. A last line that a crash left incomplete is cut off; a file of
// anything else is refused and not changed.
func unanswered(questions []question, path string) (rest []question, err error) {
	defer failure.MarkInput(&err)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return questions, nil
	}
	if err != nil {
		return nil, fmt.Errorf("answers: %w", err)
	}
	given, number := map[string]int{}, 0
	for line := range bytes.Lines(text) {
		number++
		id, err := answeredID(line)
		if err != nil {
			return nil, fmt.Errorf("answers: %s line %d: %w; give another --out", path, number, err)
		}
		given[id]++
	}
	if err := checkpoints.TruncateJSONL(path, func([]byte) bool { return true }); err != nil {
		return nil, err
	}
	for _, q := range questions {
		if given[string(q.ID)]--; given[string(q.ID)] < 0 {
			rest = append(rest, q)
		}
	}
	return rest, nil
}

// answeredID is the id of the question that a line answers, "" for the beginning of an unfinished line.
func answeredID(line []byte) (string, error) {
	const beginning = `{"question_id":` // of every line that is written here
	if !bytes.HasSuffix(line, []byte("\n")) {
		if n := min(len(line), len(beginning)); string(line[:n]) != beginning[:n] {
			return "", errors.New("it is not an answer file")
		}
		return "", nil
	}
	var a struct {
		ID     json.RawMessage `json:"question_id"`
		Prompt *string         `json:"prompt"`
	}
	if err := json.Unmarshal(line, &a); err != nil || a.Prompt == nil {
		return "", errors.New("it is not an answer with question_id and prompt")
	}
	return questionID(a.ID)
}
