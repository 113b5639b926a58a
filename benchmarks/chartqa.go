package benchmarks

import (
	"strings"

	"github.com/llavatrain/llavatrain/benchmarks/figure"
	"github.com/llavatrain/llavatrain/benchmarks/files"
	"github.com/llavatrain/llavatrain/benchmarks/rule"
)

// ChartQA (Masry et al. 2022), test: questions of people, and augmented ones.
var chartQA = &Benchmark{
	Name: "chartqa", Title: "ChartQA", Hub: "lmms-lab/ChartQA", Limit: 16,
	Files: []string{"data/test-*.parquet"},
	Rules: []Rule{{Name: "lmms", What: "relaxed accuracy: numbers within a twentieth, other text equal",
		mark: func(q *Question, answer string) Mark {
			return Mark{Score: float64(count(rule.Relaxed(answer, q.answers[0]))), Parsed: answer}
		},
		figures: func(rows []Row) []figure.Figure {
			return []figure.Figure{accuracy("accuracy", rows), accuracy("human", among(rows, "type", "human")),
				accuracy("augmented", among(rows, "type", "augmented"))}
		}}},
	read: readChartQA,
}

func readChartQA(r *reading) error {
	if err := r.open("test", "data/test-*.parquet"); err != nil {
		return err
	}
	type label struct{ Type, Question, Answer string }
	return files.EachRow(r.hub, []string{"type", "question", "answer"}, func(row int, l label) error {
		q := Question{ID: numberID(row), Text: l.Question + "\nAnswer the question with a single word.",
			images: r.held(row, "image")}
		q.answers, q.tags = []string{l.Answer}, []Tag{{"type", strings.TrimSuffix(l.Type, "_test")}}
		r.add(q)
		return nil
	})
}
