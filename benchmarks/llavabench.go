package benchmarks

import (
	"slices"
	"strings"

	"github.com/llavatrain/llavatrain/benchmarks/figure"
	"github.com/llavatrain/llavatrain/benchmarks/files"
	"github.com/llavatrain/llavatrain/benchmarks/rule"
)

// LLaVA-Bench (In-the-Wild): a judge scores the answer and one of GPT-4, which saw a description of the picture, from 1
// to 10. The figure is the ratio of the means, in percent; mean_reference and mean_model are the means times ten.
var llavaBench = &Benchmark{
	Name: "llavabench", Title: "LLaVA-Bench (In-the-Wild)", Hub: "lmms-lab/llava-bench-in-the-wild", Limit: 1024,
	pictures: "images",
	Files:    []string{wildQuestions, wildContext, wildReference},
	Rules: []Rule{
		{Name: "original", What: "two numbers alone in the first line; a reply without them scores -1 and -1",
			Judged: true,
			reply:  pairOf(rule.Pair), figures: wildFigures},
		{Name: "lmms", What: "the first two numbers of the first line; a reply without them scores -1 and -1",
			Judged: true,
			reply:  pairOf(rule.PairOfLMMS), figures: wildFigures},
		{Name: "readable", What: "the first two numbers of the first line; replies without them are left out, and " +
			"the original's figure stands beside",
			Judged: true, reply: pairOf(rule.PairOfLMMS), figures: readableFigures},
	},
	read: readLLaVABench,
}

const (
	wildQuestions = "questions.jsonl"
	wildContext   = "context.jsonl"
	wildReference = "answers_gpt4.jsonl"
)

// unread is the score that both answers get of a reply that cannot be read.
const unread = -1

func pairOf(read func(string) (float64, float64, bool)) func(*Question, string) Mark {
	return func(_ *Question, reply string) Mark {
		reference, model, ok := read(reply)
		if !ok {
			return Mark{Score: unread, Reference: unread, Unparsed: true}
		}
		line, _, _ := strings.Cut(reply, "\n")
		return Mark{Score: model, Reference: reference, Parsed: line}
	}
}

func wildFigures(rows []Row) []figure.Figure {
	relative := func(r *Row) (float64, float64) { return r.Score, r.Reference }
	list := []figure.Figure{ratio("all", rows, relative)}
	for _, category := range []string{"conv", "detail", "complex"} {
		list = append(list, ratio(category, inCategory(rows, category), relative))
	}
	return append(list, wildMean("mean_reference", rows, func(r *Row) float64 { return r.Reference }),
		wildMean("mean_model", rows, func(r *Row) float64 { return r.Score }))
}

// wildMean is a mean of scores times ten.
func wildMean(name string, rows []Row, value func(*Row) float64) figure.Figure {
	return figure.New(name, figure.Part{Weight: 10, Terms: termsOf(rows, func(r *Row) (float64, float64) {
		return value(r), 1
	})})
}

// readableFigures leaves out what cannot be read, and adds the figure by the original's rule for the same replies.
func readableFigures(rows []Row) []figure.Figure {
	original := slices.Clone(rows)
	for i := range original {
		m := pairOf(rule.Pair)(nil, original[i].Reply)
		original[i].Score, original[i].Reference = m.Score, m.Reference
	}
	before := wildFigures(original)[0]
	before.Name = "all_by_original"
	return append(wildFigures(slices.DeleteFunc(slices.Clone(rows), func(r Row) bool { return r.Unparsed })), before)
}

func readLLaVABench(r *reading) error {
	if !r.Has(wildQuestions) {
		return readLLaVABenchHub(r)
	}
	r.Split = "test"
	if err := r.llava(wildQuestions); err != nil {
		return err
	}
	context := map[string]string{}
	err := files.EachLine(r.Folder, wildContext, func(l struct {
		Image   string
		Caption any
	}) error {
		context[l.Image] = captionLines(l.Caption)
		return nil
	})
	if err != nil {
		return err
	}
	references := map[string]string{}
	err = files.EachLine(r.Folder, wildReference, func(l struct {
		ID   ID `json:"question_id"`
		Text string
	}) error {
		references[l.ID.text] = l.Text
		return nil
	})
	without := 0
	for i := range r.Questions {
		q := &r.Questions[i]
		reference, ok := references[q.ID.text]
		without += count(!ok)
		q.judge = map[string]string{"context": context[q.Image], "question": q.Text, "reference": reference}
	}
	if err != nil {
		return err
	}
	return otherRelease(wildQuestions, wildReference, without, len(references)-len(r.Questions)+without)
}

// captionLines is a caption: a text, or sentences, a line each.
func captionLines(caption any) string {
	switch c := caption.(type) {
	case string:
		return c
	case []any:
		var lines []string
		for _, line := range c {
			text, _ := line.(string)
			lines = append(lines, text)
		}
		return strings.Join(lines, "\n")
	}
	return ""
}

func readLLaVABenchHub(r *reading) error {
	if err := r.open("train", "data/train-*.parquet"); err != nil {
		return err
	}
	type label struct {
		ID                 ID `json:"question_id"`
		Question, Category string
		Image              string `json:"image_id"`
		Context            any    `json:"caption"`
		GPT                string `json:"gpt_answer"`
	}
	columns := []string{"question_id", "question", "category", "image_id", "caption", "gpt_answer"}
	return files.EachRow(r.hub, columns, func(row int, l label) error {
		q := Question{ID: l.ID, Text: l.Question, Category: l.Category, Image: l.Image, images: r.held(row, "image")}
		q.judge = map[string]string{"context": captionLines(l.Context), "question": l.Question, "reference": l.GPT}
		r.add(q)
		return nil
	})
}
