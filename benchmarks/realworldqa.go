package benchmarks

import (
	"strings"

	"github.com/llavatrain/llavatrain/benchmarks/files"
	"github.com/llavatrain/llavatrain/benchmarks/rule"
)

// RealWorldQA (xAI 2024), test. Questions say themselves how to answer.
var realWorldQA = &Benchmark{
	Name: "realworldqa", Title: "RealWorldQA", Hub: "lmms-lab/RealWorldQA", Limit: 16,
	Files: []string{"data/test-*.parquet"},
	Rules: []Rule{{Name: "lmms",
		What: "the letter of the best form; other answers are equal but for case and last periods",
		mark: func(q *Question, answer string) Mark {
			if len(q.letter) == 1 && 'A' <= q.letter[0] && q.letter[0] <= 'D' {
				return byForm(q, answer)
			}
			parsed := strings.TrimRight(rule.Fold(answer), ".")
			return Mark{Score: float64(count(parsed == rule.Fold(q.letter))), Parsed: parsed}
		}}},
	read: readRealWorldQA,
}

func readRealWorldQA(r *reading) error {
	if err := r.open("test", "data/test-*.parquet"); err != nil {
		return err
	}
	type label struct{ Question, Answer string }
	return files.EachRow(r.hub, []string{"question", "answer"}, func(row int, l label) error {
		r.add(Question{ID: numberID(row), Text: l.Question, images: r.held(row, "image"),
			key: key{letter: strings.TrimSpace(l.Answer)}})
		return nil
	})
}
