package benchmarks

import (
	"regexp"
	"strings"

	"github.com/llavatrain/llavatrain/benchmarks/figure"
	"github.com/llavatrain/llavatrain/benchmarks/files"
	"github.com/llavatrain/llavatrain/benchmarks/rule"
)

// MMStar (Chen et al. 2024), val. lmms-eval's average is that of the means of the 18 kinds of questions.
var mmstar = &Benchmark{
	Name: "mmstar", Title: "MMStar", Hub: "Lin-Chen/MMStar", Limit: 1024,
	Files: []string{"mmstar.parquet"},
	Rules: []Rule{
		{Name: "lmms", What: "the letter of the best form; mean over kinds of questions", mark: byForm,
			figures: meanOfKinds},
		{Name: "vlmeval", What: "VLMEvalKit's exact matching; mean over questions", mark: inferred},
	},
	read: readMMStar,
}

func meanOfKinds(rows []Row) []figure.Figure {
	kinds := map[string]*figure.Terms{}
	var order []*figure.Terms
	for _, row := range rows {
		kind := row.tag("l2_category")
		if kinds[kind] == nil {
			kinds[kind] = &figure.Terms{}
			order = append(order, kinds[kind])
		}
		kinds[kind].Add(row.at, row.Score, 1)
	}
	return []figure.Figure{figure.Mean("accuracy", 100, order), accuracy("rows", rows)}
}

func readMMStar(r *reading) error {
	if err := r.open("val", "mmstar.parquet", "*.parquet"); err != nil {
		return err
	}
	type label struct {
		Index                      int
		Question, Answer, Category string
		Kind                       string `json:"l2_category"`
		Choices                    []string
	}
	columns := []string{"index", "question", "answer", "category", "l2_category"}
	return files.EachRow(r.hub, columns, func(row int, l label) error {
		if l.Choices == nil {
			l.Choices = starOptions(l.Question)
		}
		q := Question{ID: numberID(row), Text: l.Question + strings.TrimSuffix(letterAnswer, "."),
			images: r.held(row, "image")}
		q.options, q.letter = rule.Options(l.Choices), l.Answer
		q.tags = []Tag{{"category", l.Category}, {"l2_category", l.Kind}}
		r.add(q)
		return nil
	})
}

var starOption = regexp.MustCompile(`(?:^|, )([A-D]): `)

// starOptions are the options that a question ends with: "Options: A: x, B: y". Options may hold commas.
func starOptions(question string) (texts []string) {
	at := strings.LastIndex(question, "Options: ")
	if at < 0 {
		return nil
	}
	list := strings.TrimSpace(question[at+len("Options: "):])
	places := starOption.FindAllStringSubmatchIndex(list, -1)
	for i, place := range places {
		end := len(list)
		if i+1 < len(places) {
			end = places[i+1][0]
		}
		texts = append(texts, strings.TrimSpace(list[place[1]:end]))
	}
	return texts
}
