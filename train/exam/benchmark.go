package exam

import (
	"context"
	"fmt"

	"github.com/llavatrain/llavatrain/benchmarks"
	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/train/answer"
)

// Together is how many questions are answered at a time, as by `benchmark run`.
const Together = 8

// Benchmark is a part of a benchmark: the same questions each time, asked in the same order, so that a resumed run
// gives the same answers.
type Benchmark struct {
	set    *benchmarks.Set
	survey *answer.Survey
}

// OpenBenchmarks reads the files of a recipe's benchmarks and chooses the questions. Errors begin with the recipe's
// key.
func OpenBenchmarks(list []recipes.Benchmark) ([]*Benchmark, error) {
	var opened []*Benchmark
	var problems []error
	for i, entry := range list {
		b, err := open(entry)
		if err != nil {
			problems = append(problems, failure.Under(fmt.Sprintf("benchmarks[%d]: ", i), err))
			continue
		}
		opened = append(opened, b)
	}
	if err := failure.Join(problems...); err != nil {
		CloseBenchmarks(opened)
		return nil, err
	}
	return opened, nil
}

func open(entry recipes.Benchmark) (*Benchmark, error) {
	set, err := benchmarks.Open(entry.Name, entry.Data, entry.Rule, benchmarks.ToScore)
	if err != nil {
		return nil, err
	}
	b := &Benchmark{set: set}
	if err = set.Keep(entry.Questions); err == nil {
		b.survey = &answer.Survey{Folder: set.PictureFolder, Size: Together,
			How: model.Sampling{MaxTokens: set.Benchmark.Limit, TopP: 1}}
		for i := range set.Questions {
			b.survey.Items = append(b.survey.Items, Item(set, i))
		}
		err = b.survey.Look("fetch them, or take the benchmark out of the recipe")
	}
	if err != nil {
		set.Close()
		return nil, failure.Under(entry.Name+": ", err)
	}
	return b, nil
}

// Item is question i of a benchmark, as a model is asked it.
func Item(set *benchmarks.Set, i int) answer.Item {
	q := &set.Questions[i]
	item := answer.Item{Text: q.Text, About: q.About(),
		Where: fmt.Sprintf("%s: question %s", set.Benchmark.Name, q.ID)}
	if q.Held() {
		item.Load = q.Images
	} else {
		item.Images, _ = q.Images() // a path: it cannot fail
	}
	return item
}

// CloseBenchmarks closes benchmarks.
func CloseBenchmarks(list []*Benchmark) {
	for _, b := range list {
		b.set.Close()
	}
}

// Name is the benchmark's.
func (b *Benchmark) Name() string { return b.set.Benchmark.Name }

// Questions is how many are asked.
func (b *Benchmark) Questions() int { return len(b.survey.Items) }

// Ask has a model answer the questions, and scores the answers. Questions that cannot be asked are left out; skip gets
// the reason. Without any answer the result is empty. Room must have been called.
func (b *Benchmark) Ask(
	ctx context.Context, a *answer.Answerer, progress func(done int), skip func(where string, why error),
) (result runs.Benchmarked, err error) {
	survey := *b.survey
	var answers benchmarks.Answers
	survey.Progress = progress
	survey.Skip = func(i int, why error) error {
		skip(survey.Items[i].Where, why)
		return nil
	}
	survey.Write = func(i int, r answer.Reply) error {
		a := benchmarks.NewAnswer(&b.set.Questions[i], r.Text, "", benchmarks.Conditions{})
		answers.List = append(answers.List, a)
		return nil
	}
	if err := survey.Run(ctx, a); err != nil {
		return result, err
	}
	if len(answers.List) == 0 {
		return result, nil
	}
	scored, _, err := b.set.Score(&answers, b.Name(), benchmarks.ScoreOptions{Partial: true})
	if err != nil {
		return result, err
	}
	result = runs.Benchmarked{Benchmark: scored.Benchmark, Rule: scored.Rule, Questions: scored.Answered,
		Figure: scored.Figure, Metrics: numbers(scored.Metrics), Errors: numbers(scored.Errors)}
	return result, nil
}

func numbers(values map[string]float64) map[string]runs.Number {
	out := map[string]runs.Number{}
	for name, v := range values {
		out[name] = runs.Number(v)
	}
	return out
}
