package benchmarks

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"path/filepath"

	"github.com/llavatrain/llavatrain/benchmarks/files"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// Answer is a line of LLaVA's answer files. MMBench's also have the round, and the options with the letters that
// these have in the first.
type Answer struct {
	ID       ID         `json:"question_id"`
	Round    *int       `json:"round_id,omitempty"`
	Prompt   string     `json:"prompt"`
	Text     string     `json:"text"`
	Options  []string   `json:"options,omitempty"`
	Letters  []string   `json:"option_char,omitempty"`
	Losses   []float64  `json:"losses,omitempty"` // of the options that were ranked: each one's mean over its tokens
	Tokens   []int      `json:"tokens,omitempty"` // of each of them, with the end of the answer
	AnswerID string     `json:"answer_id"`        // of ours a hash of the other fields; the original's is random
	ModelID  string     `json:"model_id"`
	Metadata Conditions `json:"metadata"`

	line int // in its file
}

// Conditions are what a model answered under. LLaVA leaves them empty; what is there goes into the result.
type Conditions struct {
	Step        int      `json:"step,omitempty"` // of the checkpoint
	Template    string   `json:"template,omitempty"`
	Image       string   `json:"image,omitempty"` // how pictures are fitted: pad, tiles and so on
	MaxTokens   int      `json:"max_tokens,omitempty"`
	Temperature *float64 `json:"temperature,omitempty"`
	Dtype       string   `json:"dtype,omitempty"`
	Ranked      bool     `json:"ranked,omitempty"` // the options were ranked by their losses
	Cut         bool     `json:"cut,omitempty"`    // this answer ended at MaxTokens
}

// Same says whether two answers were given under the same conditions, wherever each of them ended.
func (c Conditions) Same(o Conditions) bool {
	if c.Temperature != nil && o.Temperature != nil && *c.Temperature == *o.Temperature {
		o.Temperature = c.Temperature
	}
	o.Cut = c.Cut
	return c == o
}

// NewAnswer is the answer of a model to a question, for the answer file: a JSON object a line.
func NewAnswer(q *Question, text, model string, under Conditions) Answer {
	return newAnswer(q, Answer{Text: text, ModelID: model, Metadata: under})
}

func newAnswer(q *Question, a Answer) Answer {
	a.ID, a.Prompt = q.ID, q.Prompt
	if q.group != "" {
		a.Round = &q.round
		for i, option := range q.options {
			a.Options = append(a.Options, option.Text)
			a.Letters = append(a.Letters, q.options[(i+q.round)%len(q.options)].Letter) // before the rotation
		}
	}
	all, _ := json.Marshal(a) // of losses that are numbers: else the answer cannot be written either
	sum := sha256.Sum256(all)
	a.AnswerID = hex.EncodeToString(sum[:11])
	return a
}

// Answers is an answer file.
type Answers struct {
	Source files.Source
	List   []Answer
	Torn   bool // its last line is cut off, and is not in the list
}

// ReadAnswers reads an answer file. A last line that is cut off is an error unless partial.
func ReadAnswers(path string, partial bool) (*Answers, error) {
	text, hash, err := files.Text(path)
	if err != nil {
		return nil, failure.Inputf("answers: %w", err)
	}
	read := &Answers{Source: files.Source{Name: filepath.Base(path), Hash: hash}}
	for _, line := range files.Lines(text) {
		if line.Torn {
			if !partial {
				return nil, failure.Inputf("answers: %s line %d is cut off: the run that wrote it did not end; let "+
					"it end, or leave the line out with --partial", path, line.Number)
			}
			read.Torn = true
			continue
		}
		answer, err := readAnswer(line)
		if err != nil {
			return nil, failure.Inputf("answers: %s line %d: %w", path, line.Number, err)
		}
		read.List = append(read.List, answer)
	}
	if len(read.List) == 0 {
		return nil, failure.Inputf("answers: %s has no answers", path)
	}
	return read, nil
}

func readAnswer(line files.Line) (Answer, error) {
	var a struct {
		Answer
		Text     *string         `json:"text"`
		Metadata json.RawMessage `json:"metadata"`
	}
	err := files.Decode(line.Text, &a)
	switch {
	case err != nil:
		return Answer{}, err
	case a.ID.text == "":
		return Answer{}, errors.New("question_id is missing: an answer has question_id, prompt and text")
	case a.Text == nil:
		return Answer{}, errors.New("text is missing: an answer has question_id, prompt and text")
	}
	a.Answer.Text, a.line = *a.Text, line.Number
	json.Unmarshal(a.Metadata, &a.Answer.Metadata) // other programs put anything there
	return a.Answer, nil
}
