package benchmarks

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// Row is a question with its answer, and what the rule makes of it.
type Row struct {
	ID       ID      `json:"question_id"`
	Image    string  `json:"image,omitempty"`
	Prompt   string  `json:"prompt"` // of the answer, as its file has it
	Answer   string  `json:"answer"`
	Missing  bool    `json:"missing,omitempty"`
	Parsed   string  `json:"parsed"`
	Unparsed bool    `json:"unparsed,omitempty"`
	Label    string  `json:"label"` // the right letter, or a right answer, or yes or no
	Score    float64 `json:"score"`
	// ByCharacters is the score if options are ranked by their losses over the characters of their texts; nil: they
	// were not ranked.
	ByCharacters *float64 `json:"score_by_characters,omitempty"`

	Reference float64 `json:"reference,omitempty"` // a judge's score of the other answer
	Reply     string  `json:"reply,omitempty"`     // a judge's
	Fault     string  `json:"fault,omitempty"`     // why the judge did not reply
	Category  string  `json:"category,omitempty"`
	Group     string  `json:"group,omitempty"`
	Choices   int     `json:"choices,omitempty"`
	Tags      []Tag   `json:"tags,omitempty"`

	at int // its place among the rows
}

// tag is the value of the tag of that name, "" if the row has none.
func (r *Row) tag(name string) string {
	for _, tag := range r.Tags {
		if tag.Name == name {
			return tag.Value
		}
	}
	return ""
}

// ScoreOptions say how answers are scored.
type ScoreOptions struct {
	Partial bool // score what belongs together, whatever is missing or doubled
	// Replies are a judge's, of each question of the set; nil where the rule needs none. Judge is who gave them.
	Replies []Reply
	Judge   string
}

// Reply is what a judge said about an answer; Fault is why it said nothing.
type Reply struct{ Text, Fault string }

// Score marks the answers by the set's rule. path is that of the answer file, for messages.
func (s *Set) Score(answers *Answers, path string, o ScoreOptions) (*Result, []Row, error) {
	switch {
	case !s.Labelled:
		return nil, nil, failure.Inputf("the labels of %s, split %s, are not public: `llavatrain benchmark submit "+
			"%s` writes what its server takes", s.Benchmark.Name, s.Split, s.Benchmark.Name)
	case s.Rule.Judged && o.Replies == nil:
		return nil, nil, failure.Inputf("rule %s of %s scores by a judge's replies: `llavatrain benchmark judge %s` "+
			"asks for them, and --replies names their file", s.Rule.Name, s.Benchmark.Name, s.Benchmark.Name)
	}
	j := s.Join(answers)
	if err := j.fault(path, s.Rule.forgives); err != nil && !o.Partial {
		return nil, nil, err
	}
	r := &Result{Benchmark: s.Benchmark.Name, Rule: s.Rule.Name, Split: s.Split, Questions: len(s.Questions),
		Missing: j.Missing, Strangers: j.Strangers, Doubled: j.Doubled, Torn: answers.Torn, Files: s.Sources,
		Answers: answers.Source}
	var rows []Row
	for i, a := range j.Answers {
		if a == nil && !s.Rule.forgives {
			continue
		}
		row := s.row(i, a, o.Replies)
		row.at = len(rows)
		r.count(a, row)
		rows = append(rows, row)
	}
	if r.Answered == 0 {
		return nil, nil, failure.Inputf("answers: %s: none of its %d answers belongs to a question of %s", path,
			len(answers.List), s.Benchmark.Name)
	}
	if s.Rule.Judged {
		r.Judge = o.Judge
	}
	r.Prompts = promptHash(rows)
	r.compute(s.Rule, rows)
	return r, rows, nil
}

// row marks an answer; nil is a missing one.
func (s *Set) row(i int, a *Answer, replies []Reply) Row {
	q := &s.Questions[i]
	row := Row{ID: q.ID, Image: q.Image, Prompt: q.Prompt, Label: q.label(), Category: q.Category, Group: q.group,
		Choices: len(q.options), Tags: slices.Clone(q.tags)}
	if a == nil {
		row.Missing = true
		return row
	}
	row.Prompt, row.Answer = a.Prompt, a.Text
	var m Mark
	switch {
	case s.Rule.Judged:
		row.Reply, row.Fault = replies[i].Text, replies[i].Fault
		m = s.Rule.reply(q, replies[i].Text)
	default:
		m = s.Rule.mark(q, a.Text)
	}
	row.ByCharacters = q.byCharacters(a)
	row.Score, row.Parsed, row.Unparsed, row.Reference = m.Score, m.Parsed, m.Unparsed, m.Reference
	return row
}

// label is the right answer, for people who read rows.
func (q *Question) label() string {
	switch {
	case q.letter != "":
		return q.letter
	case len(q.answers) > 0:
		return commonest(q.answers)
	}
	return ""
}

// commonest is the answer that most people gave, the first of equals.
func commonest(answers []string) (most string) {
	counts, best := map[string]int{}, 0
	for _, a := range answers {
		counts[a]++
	}
	for _, a := range answers {
		if counts[a] > best {
			most, best = a, counts[a]
		}
	}
	return most
}

// promptHash tells whether two runs were asked the same.
func promptHash(rows []Row) string {
	sum := sha256.New()
	for _, row := range rows {
		line, _ := json.Marshal([]string{row.ID.text, row.Prompt}) // of strings: it cannot fail
		sum.Write(line)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// Readable says whether the set's rule can read a judge's reply about a question.
func (s *Set) Readable(question int, reply string) bool {
	return !s.Rule.reply(&s.Questions[question], reply).Unparsed
}
