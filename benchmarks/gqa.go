package benchmarks

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/llavatrain/llavatrain/benchmarks/figure"
	"github.com/llavatrain/llavatrain/benchmarks/files"
	"github.com/llavatrain/llavatrain/benchmarks/rule"
	"github.com/llavatrain/llavatrain/data/picture"
)

// GQA (Hudson and Manning 2019), testdev balanced.
var gqa = &Benchmark{
	Name: "gqa", Title: "GQA", Hub: "lmms-lab/GQA", Limit: 128, pictures: "data/images",
	Files: []string{gqaQuestions, gqaLabels},
	Rules: []Rule{
		{Name: "original", What: "equality in lower case, of balanced questions",
			mark:    equal(rule.Plain, func(label string) string { return label }),
			figures: byOpenness, counts: func(r *Row) bool { return r.tag("balanced") == "yes" }},
		{Name: "lmms", What: "equality in lower case without punctuation",
			mark: equal(rule.PlainOfLMMS, rule.PlainOfLMMS)},
		{Name: "vlmeval", What: "equality in lower case",
			mark: equal(rule.Fold, rule.Fold)},
	},
	Upload: "a JSON list, in the order of the answers",
	read:   readGQA,
	submit: func(s *submission) error {
		var list []any
		for _, a := range s.inOrder() {
			list = append(list, members{{"questionId", a.ID}, {"prediction", rule.Plain(a.Text)}})
		}
		return s.json(list)
	},
}

const (
	gqaQuestions = "llava_gqa_testdev_balanced.jsonl"
	gqaLabels    = "testdev_balanced_questions.json"
)

// equal marks an answer that equals the label after each was rewritten.
func equal(answer, label func(string) string) func(*Question, string) Mark {
	return func(q *Question, text string) Mark {
		parsed := answer(text)
		return Mark{Score: float64(count(parsed == label(q.answers[0]))), Parsed: parsed}
	}
}

// byOpenness are the figures of GQA's evaluator.
func byOpenness(rows []Row) []figure.Figure {
	return []figure.Figure{accuracy("accuracy", rows), accuracy("binary", among(rows, "answer_type", "binary")),
		accuracy("open", among(rows, "answer_type", "open"))}
}

// gqaLabel is an entry of GQA's question files, and a row of the hub's set.
type gqaLabel struct {
	ID       string
	Question string
	Answer   string
	Image    string `json:"imageId"`
	Balanced bool   `json:"isBalanced"`
	Types    struct{ Structural, Semantic string }
	Semantic json.RawMessage
}

func (l gqaLabel) key() key {
	kind, balanced := "binary", "no"
	if l.Types.Structural == "query" {
		kind = "open"
	}
	if l.Balanced {
		balanced = "yes"
	}
	tags := []Tag{{"balanced", balanced}, {"answer_type", kind}, {"structural", l.Types.Structural},
		{"semantic", l.Types.Semantic}, {"words", strconv.Itoa(len(strings.Fields(l.Question)))}}
	if steps := l.steps(); steps > 0 {
		tags = append(tags, Tag{"steps", strconv.Itoa(steps)})
	}
	return key{answers: []string{l.Answer}, tags: tags}
}

// steps is the number of steps of the question's program that look at the picture, as GQA's evaluator counts them; 0 if
// the program is not known.
func (l gqaLabel) steps() (n int) {
	var program []struct{ Operation, Argument string }
	json.Unmarshal(l.Semantic, &program)
	for _, step := range program {
		text := step.Operation + ": " + step.Argument
		if !strings.Contains(text, "exist") && !strings.Contains(text, "query: name") &&
			!strings.Contains(text, "choose name") {
			n++
		}
	}
	return n
}

func readGQA(r *reading) error {
	if !r.Has(gqaQuestions) {
		return readGQAHub(r)
	}
	r.Split = "testdev"
	if err := r.llava(gqaQuestions); err != nil {
		return err
	}
	if !r.labels(gqaLabels) {
		r.Labelled = false
		return nil
	}
	labels, err := files.Document[map[string]gqaLabel](r.Folder, gqaLabels)
	if err != nil {
		return err
	}
	without := 0
	for i := range r.Questions {
		label, ok := labels[r.Questions[i].ID.text]
		r.Questions[i].key = label.key()
		without += count(!ok)
	}
	return otherRelease(gqaQuestions, gqaLabels, without, len(labels)-len(r.Questions)+without)
}

// readGQAHub reads the hub's set, whose pictures are a second table.
func readGQAHub(r *reading) error {
	if err := r.open("testdev", "testdev_balanced_instructions/testdev-*.parquet"); err != nil {
		return err
	}
	questions := r.hub
	err := files.EachRow(questions, []string{"id", "question", "answer", "imageId", "isBalanced", "types"},
		func(row int, l gqaLabel) error {
			r.add(Question{ID: textID(l.ID), Text: l.Question + shortAnswer, key: l.key(), Image: l.Image})
			return nil
		})
	if err != nil {
		return err
	}
	questions.Close()
	r.hub = nil
	pictures, err := r.OpenHub("testdev_balanced_images/testdev-*.parquet")
	if err != nil {
		return nil // the questions can be scored without
	}
	r.hub = pictures
	at := map[string]int{}
	err = files.EachRow(pictures, []string{"id"}, func(row int, p struct{ ID string }) error {
		at[p.ID] = row
		return nil
	})
	for i := range r.Questions {
		q := &r.Questions[i]
		row, ok := at[q.Image]
		q.images = func() ([]picture.Image, error) {
			if !ok {
				return nil, picture.BadRow("GQA's table of pictures has no %q", q.Image)
			}
			return pictures.Images(row, "image")
		}
	}
	return err
}
