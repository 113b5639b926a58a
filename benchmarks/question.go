package benchmarks

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/llavatrain/llavatrain/benchmarks/files"
	"github.com/llavatrain/llavatrain/benchmarks/rule"
	"github.com/llavatrain/llavatrain/data/picture"
)

// Endings of questions, which say the form of the answer (LLaVA's evaluation files).
const (
	shortAnswer  = "\nAnswer the question using a single word or phrase."
	letterAnswer = "\nAnswer with the option's letter from the given choices directly."
	unanswerable = "\nWhen the provided information is insufficient, respond with 'Unanswerable'."
)

// imageMark stands in questions where a picture goes.
const imageMark = "<image>"

// Set is the questions of a benchmark.
type Set struct {
	Benchmark     *Benchmark
	Rule          *Rule
	Split         string
	Labelled      bool // the labels are public
	Questions     []Question
	Sources       []files.Source // the files that were read
	PictureFolder string         // where the pictures are that have a path

	hub *files.Hub // nil: none was opened

	// promptKey is what tells prompts of questions with the same id apart; nil: the whole prompt.
	promptKey func(prompt string) string
	expected  map[string]bool // ids that must be answered; nil: all
}

// Wanted says whether the figure, or the server, is of question i too, and does not only take its answer.
func (s *Set) Wanted(i int) bool { return s.expected == nil || s.expected[s.Questions[i].ID.text] }

// Close closes the files that pictures are read from.
func (s *Set) Close() error {
	if s.hub == nil {
		return nil
	}
	return s.hub.Close()
}

// Question is a question of a benchmark.
type Question struct {
	ID       ID
	Text     string // what the model is asked, with <image> where a picture goes, if not at the beginning
	Prompt   string // how the answer file has it
	Image    string // the path or name of its first picture, "" for none
	Category string

	key
	images func() ([]picture.Image, error) // nil: Image is a path, or ""
}

// key is what an answer is judged by.
type key struct {
	answers []string      // of people, or all that are right
	options []rule.Option // of a question with choices
	letter  string        // the right one, or yes or no
	group   string        // questions that count together; "": on its own
	round   int           // how far the options are rotated
	tags    []Tag
	judge   map[string]string // what a judge is told, by name
	cells   []any             // of the sheet that is submitted
}

// Tag is a property by which figures are listed.
type Tag struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Images are the question's pictures, in the order of their places in the text. Those with a path are below the set's
// PictureFolder; the others are held by the set's files, and read now.
func (q *Question) Images() ([]picture.Image, error) {
	switch {
	case q.images != nil:
		return q.images()
	case q.Image != "":
		return []picture.Image{{Path: q.Image}}, nil
	}
	return nil, nil
}

// Held says that the set's files hold the question's pictures, which takes time to read; the others have a path.
func (q *Question) Held() bool { return q.images != nil }

// About names the question's pictures: questions of the same name have the same. "" says that nothing is known.
func (q *Question) About() string { return cmp.Or(q.Image, q.group) }

// Judged is what a judge is told about the question, by name.
func (q *Question) Judged(name string) string { return q.judge[name] }

// ID is the id of a question: a string or a number in JSON. Which of both it is matters only where it is written: files
// of the same benchmark differ in it.
type ID struct {
	text   string
	number bool
}

// Text and number ids.
func textID(s string) ID { return ID{text: s} }
func numberID(n int) ID  { return ID{fmt.Sprint(n), true} }

// String is the id without quotes.
func (id ID) String() string { return id.text }

// MarshalJSON writes the id as it was read.
func (id ID) MarshalJSON() ([]byte, error) {
	if id.number {
		return []byte(id.text), nil
	}
	return json.Marshal(id.text)
}

// UnmarshalJSON reads a string or a number.
func (id *ID) UnmarshalJSON(value []byte) error {
	switch {
	case value[0] == '"':
		*id = ID{}
		return json.Unmarshal(value, &id.text)
	case value[0] == '-' || '0' <= value[0] && value[0] <= '9':
		*id = ID{string(value), true}
		return nil
	}
	return errors.New("question_id must be a string or a number")
}

// asked is a line of LLaVA's question files.
type asked struct {
	ID       ID `json:"question_id"`
	Image    string
	Text     string
	Category string
}

// llava reads a question file of LLaVA's.
func (r *reading) llava(name string) error {
	return files.EachLine(r.Folder, name, func(line asked) error {
		if line.ID.text == "" {
			return errors.New("question_id is missing: a line has question_id, image and text")
		}
		if line.Text == "" {
			return errors.New("text is missing or empty")
		}
		r.Questions = append(r.Questions, Question{ID: line.ID, Text: line.Text, Prompt: line.Text, Image: line.Image,
			Category: line.Category})
		return nil
	})
}

// add adds a question whose prompt is its text.
func (r *reading) add(q Question) {
	if q.Prompt == "" {
		q.Prompt = q.Text
	}
	r.Questions = append(r.Questions, q)
}

// held makes the pictures of a question those in the columns of a row of the hub's set.
func (r *reading) held(row int, columns ...string) func() ([]picture.Image, error) {
	hub := r.hub
	return func() ([]picture.Image, error) { return hub.Images(row, columns...) }
}

// lettered is the lines of options, "A. cat", each with a line break before.
func lettered(options []rule.Option) string {
	var b strings.Builder
	for _, option := range options {
		b.WriteString("\n" + option.Letter + ". " + option.Text)
	}
	return b.String()
}

// letterOf is the letter of option n, counted from 0, of a question.
func letterOf(n, options int) (string, error) {
	if n < 0 || n >= options || n >= 26 {
		return "", fmt.Errorf("its answer is option %d, and it has %d", n, options)
	}
	return rule.Letters(26)[n : n+1], nil
}
