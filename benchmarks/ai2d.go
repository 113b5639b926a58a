package benchmarks

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/llavatrain/llavatrain/benchmarks/files"
	"github.com/llavatrain/llavatrain/benchmarks/rule"
)

// AI2D (Kembhavi et al. 2016), test.
var ai2d = &Benchmark{
	Name: "ai2d", Title: "AI2D", Hub: "lmms-lab/ai2d", Limit: 16,
	Files: []string{"data/test-*.parquet"},
	Rules: []Rule{
		{Name: "lmms", What: "a capital with a period, or the letter alone",
			mark: func(q *Question, answer string) Mark {
				letter := strings.ToUpper(rule.AI2D(answer))
				return letterMark(letter, q.letter, !isOption(letter, q))
			}},
		{Name: "vlmeval", What: "VLMEvalKit's exact matching: a letter or the text of an option",
			mark: inferred},
	},
	read: readAI2D,
}

// inferred marks by VLMEvalKit's exact matching.
func inferred(q *Question, answer string) Mark {
	letter := rule.InferredLetter(answer, q.options)
	return letterMark(letter, q.letter, letter == "")
}

func readAI2D(r *reading) error {
	if err := r.open("test", "data/test-*.parquet"); err != nil {
		return err
	}
	type label struct {
		Question string
		Options  []string
		Answer   string
	}
	return files.EachRow(r.hub, []string{"question", "options", "answer"}, func(row int, l label) error {
		n, err := strconv.Atoi(l.Answer)
		if err != nil {
			return fmt.Errorf("answer is %.20q; want the number of an option", l.Answer)
		}
		q := Question{ID: numberID(row), images: r.held(row, "image")}
		q.options = rule.Options(l.Options)
		if q.letter, err = letterOf(n, len(l.Options)); err != nil {
			return err
		}
		q.Text = l.Question + lettered(q.options) + letterAnswer
		r.add(q)
		return nil
	})
}
