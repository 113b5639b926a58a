package answer

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/data/rows"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// question is a line of a question file. Its ID is a string or a number.
type question struct {
	rows.Question
	index, line int // among the questions, from 0; in the file, from 1
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
	if text, err = rows.PlainText(text); err != nil {
		return nil, fmt.Errorf("questions: %s: %w", path, err)
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

// unreadKeys says which keys of the questions are not read, and how many questions have each; "" if there are none.
func unreadKeys(questions []question) string {
	counts := map[string]int{}
	for _, q := range questions {
		for _, key := range q.Unused {
			counts[key]++
		}
	}
	var said []string
	for _, key := range slices.Sorted(maps.Keys(counts)) {
		said = append(said, fmt.Sprintf("%s (%d)", key, counts[key]))
	}
	return strings.Join(said, ", ")
}

func (q *question) parse(line []byte) (err error) {
	if q.Question, err = rows.ParseQuestion(line); err != nil {
		return err
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
// counts for one question with that id, in order.
func unanswered(questions []question, path string) (rest []question, err error) {
	ids, err := answered(path)
	if err != nil {
		return nil, err
	}
	given := map[string]int{}
	for _, id := range ids {
		given[id]++
	}
	for _, q := range questions {
		if given[string(q.ID)]--; given[string(q.ID)] < 0 {
			rest = append(rest, q)
		}
	}
	return rest, nil
}

// Mend prepares an answer file, which need not exist, for more answers: a last line that a crash left incomplete is cut
// off. It says how many answers there are. A file of anything else is refused and not changed.
func Mend(path string) (answers int, err error) {
	ids, err := answered(path)
	return len(ids), err
}

// answered mends an answer file, and lists the ids of the questions that it answers.
func answered(path string) (ids []string, err error) {
	defer failure.MarkInput(&err)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("answers: %w", err)
	}
	number := 0
	for line := range bytes.Lines(text) {
		number++
		id, err := answeredID(line)
		if err != nil {
			return nil, fmt.Errorf("answers: %s line %d: %w; give another --out", path, number, err)
		}
		if id != "" {
			ids = append(ids, id)
		}
	}
	return ids, checkpoints.TruncateJSONL(path, func([]byte) bool { return true })
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
