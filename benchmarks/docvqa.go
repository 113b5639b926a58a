package benchmarks

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/llavatrain/llavatrain/benchmarks/figure"
	"github.com/llavatrain/llavatrain/benchmarks/files"
	"github.com/llavatrain/llavatrain/benchmarks/rule"
)

// DocVQA (Mathew et al. 2021), val; the labels of test are hidden.
var docVQA = &Benchmark{
	Name: "docvqa", Title: "DocVQA", Hub: "lmms-lab/DocVQA", Limit: 32,
	Files: []string{"DocVQA/validation-*.parquet", "DocVQA/test-*.parquet"},
	Rules: []Rule{
		{Name: "lmms", What: "ANLS, the best over the answers", mark: bySimilarity(rule.ANLS), figures: anls},
		{Name: "vlmeval", What: "ANLS, the prediction measured with the white space around it",
			mark: bySimilarity(rule.ANLSOfVLMEval), figures: anls},
	},
	Upload: "a JSON list of question ids and answers",
	read:   readDocVQA,
	submit: func(s *submission) error {
		var list []any
		for i, q := range s.Questions {
			if a := s.Answers[i]; a != nil {
				list = append(list, members{{"questionId", q.cells[0]}, {"answer", strings.TrimSpace(a.Text)}})
			}
		}
		return s.json(list)
	},
}

func bySimilarity(similarity func(string, []string) float64) func(*Question, string) Mark {
	return func(q *Question, answer string) Mark {
		return Mark{Score: similarity(answer, q.answers), Parsed: answer}
	}
}

func anls(rows []Row) []figure.Figure { return []figure.Figure{accuracy("anls", rows)} }

func readDocVQA(r *reading) error {
	split, pattern, columns := "val", "DocVQA/validation-*.parquet", []string{"questionId", "question", "answers"}
	if r.purpose == ToSubmit {
		split, pattern, columns = "test", "DocVQA/test-*.parquet", columns[:2]
		r.Labelled = false
	}
	if err := r.open(split, pattern); err != nil {
		return err
	}
	type label struct {
		ID       string `json:"questionId"`
		Question string
		Answers  []string
	}
	return files.EachRow(r.hub, columns, func(row int, l label) error {
		id, err := strconv.Atoi(l.ID)
		if err != nil {
			return fmt.Errorf("questionId is %.20q; want a number", l.ID)
		}
		q := Question{ID: numberID(row), Text: l.Question + shortAnswer, images: r.held(row, "image")}
		q.answers, q.cells = l.Answers, []any{id}
		r.add(q)
		return nil
	})
}
