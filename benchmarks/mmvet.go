package benchmarks

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/llavatrain/llavatrain/benchmarks/files"
	"github.com/llavatrain/llavatrain/benchmarks/rule"
)

// MM-Vet (Yu et al. 2023): a judge scores answers from 0 to 1.
var mmVet = &Benchmark{
	Name: "mmvet", Title: "MM-Vet", Hub: "lmms-lab/MMVet", Limit: 1024, pictures: "images",
	Files: []string{vetQuestions, vetLabels},
	Rules: []Rule{{Name: "original", What: "the reply's first word, a number from 0 to 1; 0 where it is none",
		Judged: true,
		reply: func(_ *Question, reply string) Mark {
			score, ok := rule.Correctness(reply)
			if !ok {
				return Mark{Unparsed: true}
			}
			return Mark{Score: score, Parsed: strconv.FormatFloat(score, 'g', -1, 64)}
		}}},
	Upload: "a JSON object of answers, as MM-Vet's evaluator and its online judge read it",
	read:   readMMVet,
	submit: func(s *submission) error {
		var list members
		for i, q := range s.Questions {
			if a := s.Answers[i]; a != nil {
				list = append(list, member{vetID(q.ID), a.Text})
			}
		}
		return s.indented(list)
	},
}

const (
	vetQuestions = "llava-mm-vet.jsonl"
	vetLabels    = "mm-vet.json"
	vetPrefix    = "v1_"
)

// vetID is MM-Vet's own id: LLaVA's files have only its number.
func vetID(id ID) string { return vetPrefix + strings.TrimPrefix(id.text, vetPrefix) }

type vetLabel struct {
	Picture    string `json:"imagename"`
	Question   string
	Answer     string
	Capability any // a list, or words with commas between
}

func (l vetLabel) key() (k key) {
	var words []string
	switch c := l.Capability.(type) {
	case string:
		words = strings.Split(c, ",")
	case []any:
		for _, word := range c {
			words = append(words, fmt.Sprint(word))
		}
	}
	slices.Sort(words)
	for _, word := range words {
		k.tags = append(k.tags, Tag{"capability", strings.TrimSpace(word)})
	}
	k.tags = append(k.tags, Tag{"capabilities", strings.Join(words, "+")})
	k.answers = []string{l.Answer}
	k.judge = map[string]string{"question": l.Question, "answer": l.Answer}
	return k
}

func readMMVet(r *reading) error {
	if !r.Has(vetQuestions) && !r.Has(vetLabels) {
		return readMMVetHub(r)
	}
	r.Split = "test"
	if err := r.llava(vetQuestions); err != nil {
		return err
	}
	labels, err := files.Document[map[string]vetLabel](r.Folder, vetLabels)
	if err != nil {
		return err
	}
	without := 0
	for i := range r.Questions {
		q := &r.Questions[i]
		label, ok := labels[vetID(q.ID)]
		q.key = label.key()
		without += count(!ok)
	}
	return otherRelease(vetQuestions, vetLabels, without, len(labels)-len(r.Questions)+without)
}

func readMMVetHub(r *reading) error {
	if err := r.open("test", "data/test-*.parquet"); err != nil {
		return err
	}
	type label struct {
		ID string `json:"question_id"`
		vetLabel
	}
	columns := []string{"question_id", "question", "answer", "capability"}
	return files.EachRow(r.hub, columns, func(row int, l label) error {
		r.add(Question{ID: textID(l.ID), Text: l.Question, key: l.key(), images: r.held(row, "image")})
		return nil
	})
}
