package benchmarks

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// Joined is which answer belongs to which question, and what belongs to nothing.
type Joined struct {
	Answers []*Answer // of each question; nil: it has none

	Missing   int // questions without an answer
	Strangers int // answers without a question
	Doubled   int // answers to a question that has one; the last counts

	missing, stranger, doubled string // the first of each
}

// Join finds the question of each answer: by its id; where several have that id, as MME's and TextVQA's do, by its
// prompt too; and of equal ones by their order. The order of the answers does not matter otherwise.
func (s *Set) Join(answers *Answers) *Joined {
	j := &Joined{Answers: make([]*Answer, len(s.Questions))}
	of := map[string][]int{}
	for i := range s.Questions {
		id := s.Questions[i].ID.text
		of[id] = append(of[id], i)
	}
	for i := range answers.List {
		a := &answers.List[i]
		at, known := s.find(of[a.ID.text], a.Prompt, j)
		switch {
		case !known:
			j.Strangers++
			j.stranger = first(j.stranger, a)
			continue
		case j.Answers[at] != nil:
			j.Doubled++
			j.doubled = first(j.doubled, a)
		}
		j.Answers[at] = a
	}
	for i, a := range j.Answers {
		if a == nil && s.Wanted(i) {
			j.Missing++
			j.missing = cmp.Or(j.missing, s.Questions[i].ID.text)
		}
	}
	return j
}

func first(said string, a *Answer) string {
	if said != "" {
		return said
	}
	return fmt.Sprintf("question_id %.60s in line %d", a.ID, a.line)
}

// find is the question, of those with an answer's id, that the answer belongs to: the first without an answer of those
// with its prompt, else the last of these.
func (s *Set) find(candidates []int, prompt string, j *Joined) (at int, known bool) {
	if len(candidates) == 1 {
		return candidates[0], true
	}
	wanted := s.keyOf(prompt)
	for _, i := range candidates {
		if s.keyOf(s.Questions[i].Prompt) != wanted {
			continue
		}
		if at, known = i, true; j.Answers[i] == nil {
			return at, true
		}
	}
	return at, known
}

func (s *Set) keyOf(prompt string) string {
	if s.promptKey == nil {
		return strings.TrimSpace(prompt)
	}
	return s.promptKey(prompt)
}

// Fault is what is wrong with a join, nil if every question has its one answer. path is that of the answer file.
func (j *Joined) Fault(path string) error { return j.fault(path, false) }

// fault is what is wrong with a join, nil if every question has its one answer. allowMissing lets questions have none.
func (j *Joined) fault(path string, allowMissing bool) error {
	var parts []string
	say := func(n int, one, many, first string) {
		if n == 1 {
			parts = append(parts, fmt.Sprintf("1 %s (%s)", one, first))
		} else if n > 1 {
			parts = append(parts, fmt.Sprintf("%d %s (the first: %s)", n, many, first))
		}
	}
	say(j.Strangers, "answer has no question", "answers have no question", j.stranger)
	say(j.Doubled, "question is answered twice", "answers are to questions that have one", j.doubled)
	if !allowMissing {
		say(j.Missing, "question has no answer", "questions have no answer", "question_id "+j.missing)
	}
	if parts == nil {
		return nil
	}
	return failure.Inputf("answers: %s: %s; is it the answer file of this split and release? --partial takes what "+
		"belongs together", path, strings.Join(parts, ", "))
}
