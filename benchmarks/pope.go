package benchmarks

import (
	"strings"

	"github.com/llavatrain/llavatrain/benchmarks/figure"
	"github.com/llavatrain/llavatrain/benchmarks/files"
	"github.com/llavatrain/llavatrain/benchmarks/rule"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// POPE (Li et al. 2023): is an object in the picture? The paper's figure of LLaVA is the mean of three F1.
var pope = &Benchmark{
	Name: "pope", Title: "POPE", Hub: "lmms-lab/POPE", Limit: 128, pictures: "val2014",
	Files: []string{popeQuestions, "coco/coco_pope_adversarial.json", "coco/coco_pope_popular.json",
		"coco/coco_pope_random.json"},
	Rules: []Rule{
		{Name: "original", What: "No, no or not in the first sentence is no, all else yes; mean F1 of three categories",
			mark: yesNo(rule.POPE), figures: popeFigures},
		{Name: "lmms", What: "yes and no alone, all else wrong; one F1",
			mark: yesNo(rule.Exact), figures: func(rows []Row) []figure.Figure {
				return append([]figure.Figure{ratio("f1", rows, f1)}, closed("", rows)...)
			}},
	},
	read: readPOPE,
}

const popeQuestions = "llava_pope_test.jsonl"

var popeCategories = []string{"adversarial", "popular", "random"}

// yesNo marks an answer to a closed question.
func yesNo(read func(string) rule.YesNo) func(*Question, string) Mark {
	return func(q *Question, answer string) Mark {
		said := read(answer)
		return letterMark(string(said), q.letter, said == rule.Unclear)
	}
}

func popeFigures(rows []Row) []figure.Figure {
	var terms []figure.Part
	var list []figure.Figure
	for _, category := range popeCategories {
		some := inCategory(rows, category)
		terms = append(terms, figure.Part{Weight: 100.0 / 3, Terms: termsOf(rows, func(r *Row) (float64, float64) {
			if r.Category != category {
				return 0, 0
			}
			return f1(r)
		})})
		list = append(append(list, ratio(category+"_f1", some, f1)), closed(category+"_", some)...)
	}
	return append([]figure.Figure{figure.New("f1", terms...)}, list...)
}

func inCategory(rows []Row, category string) (some []Row) {
	for _, row := range rows {
		if row.Category == category {
			some = append(some, row)
		}
	}
	return some
}

// closed are figures of closed questions, where yes is the positive answer.
func closed(prefix string, rows []Row) []figure.Figure {
	return []figure.Figure{
		accuracy(prefix+"accuracy", rows),
		ratio(prefix+"precision", rows, func(r *Row) (float64, float64) { return hit(r), said(r) }),
		ratio(prefix+"recall", rows, func(r *Row) (float64, float64) { return hit(r), found(r) }),
		mean(prefix+"yes_ratio", rows, said),
	}
}

func said(r *Row) float64 { return float64(count(r.Parsed == string(rule.Yes))) }
func is(r *Row) float64   { return float64(count(r.Label == string(rule.Yes))) }

// found is a positive question that was answered: neither program counts an unclear answer as a false negative.
func found(r *Row) float64 { return is(r) * float64(count(!r.Unparsed)) }
func hit(r *Row) float64   { return said(r) * is(r) }

// f1 is 2 TP over 2 TP + FP + FN.
func f1(r *Row) (float64, float64) { return 2 * hit(r), said(r) + found(r) }

// ratio is a ratio of two sums over rows, in percent.
func ratio(name string, rows []Row, terms func(*Row) (over, under float64)) figure.Figure {
	return figure.New(name, figure.Part{Weight: 100, Terms: termsOf(rows, terms)})
}

func termsOf(rows []Row, terms func(*Row) (over, under float64)) *figure.Terms {
	t := &figure.Terms{}
	for i := range rows {
		over, under := terms(&rows[i])
		t.Add(rows[i].at, over, under)
	}
	return t
}

type popeLabel struct{ Image, Text, Label string }

func readPOPE(r *reading) error {
	if !r.Has(popeQuestions) {
		return readPOPEHub(r)
	}
	r.Split = "test"
	if err := r.llava(popeQuestions); err != nil {
		return err
	}
	for _, category := range popeCategories {
		if err := r.popeCategory(category); err != nil {
			return err
		}
	}
	return nil
}

// popeCategory gives the questions of a category their labels. LLaVA's script takes those of the same line; the
// releases have other lines, so that a perfect model would get half of them right. Here picture and object have to be
// the same.
func (r *reading) popeCategory(category string) error {
	name := "coco/coco_pope_" + category + ".json"
	labels, total := map[[2]string][]string{}, 0
	err := files.EachLine(r.Folder, name, func(l popeLabel) error {
		if l.Label != "yes" && l.Label != "no" {
			return failure.Inputf("label is %.20q; want yes or no", l.Label)
		}
		at := [2]string{l.Image, object(l.Text)}
		labels[at] = append(labels[at], l.Label)
		total++
		return nil
	})
	if err != nil {
		return err
	}
	without := 0
	for i := range r.Questions {
		q := &r.Questions[i]
		if q.Category != category {
			continue
		}
		at := [2]string{q.Image, object(q.Text)}
		if len(labels[at]) == 0 {
			without++
			continue
		}
		q.letter, labels[at] = labels[at][0], labels[at][1:]
		total--
	}
	return otherRelease(popeQuestions+" ("+category+")", name, without, total)
}

// object is the object that a question is about. The releases differ in the words around it: "a umbrella", "imange".
func object(text string) string {
	text, _, _ = strings.Cut(text, "\n")
	text = strings.TrimPrefix(strings.ToLower(strings.TrimSpace(text)), "is there ")
	text = strings.TrimPrefix(strings.TrimPrefix(text, "a "), "an ")
	text, _, _ = strings.Cut(text, " in the im")
	return text
}

func readPOPEHub(r *reading) error {
	if err := r.open("test", "data/test-*.parquet"); err != nil {
		return err
	}
	type label struct{ ID, Question, Answer, Category string }
	return files.EachRow(r.hub, []string{"id", "question", "answer", "category"}, func(row int, l label) error {
		r.add(Question{ID: textID(l.ID), Text: strings.TrimSpace(l.Question) + shortAnswer, Category: l.Category,
			key: key{letter: strings.ToLower(strings.TrimSpace(l.Answer))}, images: r.held(row, "image")})
		return nil
	})
}
