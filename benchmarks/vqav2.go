package benchmarks

import (
	"fmt"
	"path/filepath"

	"github.com/llavatrain/llavatrain/benchmarks/figure"
	"github.com/llavatrain/llavatrain/benchmarks/files"
	"github.com/llavatrain/llavatrain/benchmarks/rule"
)

// VQAv2 (Goyal et al. 2017). LLaVA's figure is of test-dev, by the server, whose upload has to answer all of test2015.
var vqav2 = &Benchmark{
	Name: "vqav2", Title: "VQAv2", Hub: "lmms-lab/VQAv2", Limit: 128, pictures: "test2015",
	Files: []string{vqaTest, vqaTestDev, vqaAnnotations, vqaQuestions},
	Rules: []Rule{
		{Name: "original", What: "accuracy of VQA, both sides normalised as in M4C",
			mark: byConsensus(rule.M4C), figures: byAnswerType},
		{Name: "official", What: "VQA's evaluator, which normalises only where people disagree",
			mark: func(q *Question, answer string) Mark {
				return Mark{Score: rule.OfficialConsensus(answer, q.answers), Parsed: rule.Official(answer)}
			}, figures: byAnswerType},
		{Name: "lmms", What: "accuracy of VQA, both sides normalised as by VQA's evaluator",
			mark: byConsensus(rule.Official), figures: byAnswerType},
	},
	Upload: "a JSON list of all questions of test2015, with empty answers where there are none",
	read:   readVQAv2,
	submit: submitVQAv2,
}

const (
	vqaTest        = "llava_vqav2_mscoco_test2015.jsonl"
	vqaTestDev     = "llava_vqav2_mscoco_test-dev2015.jsonl"
	vqaAnnotations = "v2_mscoco_val2014_annotations.json"
	vqaQuestions   = "v2_OpenEnded_mscoco_val2014_questions.json"
)

// byConsensus marks by the accuracy of VQA.
func byConsensus(normal func(string) string) func(*Question, string) Mark {
	return func(q *Question, answer string) Mark {
		return Mark{Score: rule.NormalConsensus(answer, q.answers, normal), Parsed: normal(answer)}
	}
}

func byAnswerType(rows []Row) []figure.Figure {
	list := []figure.Figure{accuracy("accuracy", rows)}
	for _, kind := range []struct{ name, tag string }{{"yes_no", "yes/no"}, {"number", "number"}, {"other", "other"}} {
		list = append(list, accuracy(kind.name, among(rows, "answer_type", kind.tag)))
	}
	return list
}

// vqaLabel is an entry of VQA's annotations, and a row of the hub's set.
type vqaLabel struct {
	ID           int `json:"question_id"`
	Question     string
	Answers      []struct{ Answer string }
	AnswerType   string `json:"answer_type"`
	QuestionType string `json:"question_type"`
}

func (l vqaLabel) key() (k key) {
	for _, a := range l.Answers {
		k.answers = append(k.answers, a.Answer)
	}
	k.tags = []Tag{{"answer_type", l.AnswerType}, {"question_type", l.QuestionType}}
	return k
}

func readVQAv2(r *reading) error {
	switch {
	case r.labels(vqaAnnotations):
		return readVQAv2Site(r)
	case r.Has(vqaTest) || r.purpose == ToSubmit:
		r.Split, r.Labelled = "test2015", false
		if err := r.llava(vqaTest); err != nil {
			return err
		}
		if !r.Has(vqaTestDev) {
			return nil
		}
		r.expected = map[string]bool{} // the figure is of test-dev, whatever the upload holds
		return files.EachLine(r.Folder, vqaTestDev, func(line asked) error {
			r.expected[line.ID.text] = true
			return nil
		})
	}
	if err := r.open("val", "data/validation-*.parquet"); err != nil {
		return err
	}
	return files.EachRow(r.hub, []string{"question_id", "question", "answers", "answer_type", "question_type"},
		func(row int, l vqaLabel) error {
			r.add(Question{ID: numberID(l.ID), Text: l.Question + shortAnswer, key: l.key(),
				images: r.held(row, "image")})
			return nil
		})
}

func readVQAv2Site(r *reading) error {
	r.Split, r.PictureFolder = "val", filepath.Join(r.Path, "val2014")
	questions, err := files.Document[struct {
		Questions []struct {
			ID       int `json:"question_id"`
			Image    int `json:"image_id"`
			Question string
		}
	}](r.Folder, vqaQuestions)
	if err != nil {
		return err
	}
	annotations, err := files.Document[struct{ Annotations []vqaLabel }](r.Folder, vqaAnnotations)
	if err != nil {
		return err
	}
	labels := map[int]vqaLabel{}
	for _, l := range annotations.Annotations {
		labels[l.ID] = l
	}
	without, asked := 0, map[int]bool{}
	for _, q := range questions.Questions {
		label, ok := labels[q.ID]
		if !ok {
			without++
			continue
		}
		asked[q.ID] = true
		r.add(Question{ID: numberID(q.ID), Text: q.Question + shortAnswer, key: label.key(),
			Image: fmt.Sprintf("COCO_val2014_%012d.jpg", q.Image)})
	}
	return otherRelease(vqaQuestions, vqaAnnotations, without, len(labels)-len(asked))
}

// submitVQAv2 writes an answer for every question of test2015.
func submitVQAv2(s *submission) error {
	var list []any
	for i, q := range s.Questions {
		text := ""
		if a := s.Answers[i]; a != nil {
			text = rule.M4C(a.Text)
		}
		list = append(list, members{{"question_id", q.ID}, {"answer", text}})
	}
	return s.json(list)
}
