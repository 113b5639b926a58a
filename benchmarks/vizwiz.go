package benchmarks

import (
	"github.com/llavatrain/llavatrain/benchmarks/files"
	"github.com/llavatrain/llavatrain/benchmarks/rule"
)

// VizWiz (Gurari et al. 2018). LLaVA's figure is of test, by the server; val has labels. "unanswerable" is an answer
// like any other.
var vizwiz = &Benchmark{
	Name: "vizwiz", Title: "VizWiz-VQA", Hub: "lmms-lab/VizWiz-VQA", Limit: 128, pictures: "test",
	Files: []string{vizwizTest, vizwizVal},
	Rules: []Rule{{Name: "lmms", What: "accuracy of VQA, both sides normalised as in M4C; of val",
		mark: byConsensus(rule.M4C)}},
	Upload: "a JSON list of pictures and answers",
	read:   readVizWiz,
	submit: func(s *submission) error {
		var list []any
		for i, q := range s.Questions {
			if a := s.Answers[i]; a != nil {
				list = append(list, members{{"image", q.Image}, {"answer", rule.M4C(a.Text)}})
			}
		}
		return s.json(list)
	},
}

const (
	vizwizTest = "llava_test.jsonl"
	vizwizVal  = "val.json"
)

func readVizWiz(r *reading) error {
	switch {
	case r.labels(vizwizVal):
		return readVizWizVal(r)
	case r.Has(vizwizTest) || r.purpose == ToSubmit:
		r.Split, r.Labelled = "test", false
		return r.llava(vizwizTest)
	}
	if err := r.open("val", "data/val-*.parquet"); err != nil {
		return err
	}
	type label struct {
		ID       ID `json:"question_id"`
		Question string
		Answers  []string
	}
	return files.EachRow(r.hub, []string{"question_id", "question", "answers"}, func(row int, l label) error {
		r.add(Question{ID: l.ID, Text: vizwizText(l.Question), key: key{answers: l.Answers},
			images: r.held(row, "image")})
		return nil
	})
}

// readVizWizVal reads the site's file. Its questions have no ids: they count from 0.
func readVizWizVal(r *reading) error {
	r.Split, r.PictureFolder = "val", r.Path+"/val"
	list, err := files.Document[[]struct {
		Image, Question string
		Answers         []struct{ Answer string }
	}](r.Folder, vizwizVal)
	if err != nil {
		return err
	}
	for i, l := range list {
		var people []string
		for _, a := range l.Answers {
			people = append(people, a.Answer)
		}
		r.add(Question{ID: numberID(i), Text: vizwizText(l.Question), Image: l.Image, key: key{answers: people}})
	}
	return nil
}

func vizwizText(question string) string { return rule.Sentence(question) + unanswerable + shortAnswer }
