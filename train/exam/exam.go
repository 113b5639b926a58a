package exam

import (
	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/train/answer"
	"github.com/llavatrain/llavatrain/train/input"
)

// Exam is what a model is asked while a stage trains it.
type Exam struct {
	Benchmarks []*Benchmark // as in the recipe
	Samples    *Samples     // nil if there are none
	Answerer   *answer.Answerer
}

// Open opens what the eval section of a stage asks, nil if it asks nothing; held are its held-out rows, nil without
// any. Errors begin with the recipe's key.
func Open(
	m recipes.Model, stage *recipes.Stage, preprocessor *input.Preprocessor, held *input.Dataset,
) (_ *Exam, err error) {
	if len(stage.Eval.Benchmarks) == 0 && stage.Eval.Samples == 0 {
		return nil, nil
	}
	e := &Exam{}
	if e.Answerer, err = answer.Training(m, stage, preprocessor); err != nil {
		return nil, err
	}
	if stage.Eval.Samples > 0 {
		if e.Samples, err = openSamples(held, stage.Eval.Samples); err != nil {
			return nil, err
		}
	}
	e.Benchmarks, err = OpenBenchmarks(stage.Eval.Benchmarks)
	return e, err
}

// Close closes the files. The model stays open.
func (e *Exam) Close() {
	if e != nil {
		CloseBenchmarks(e.Benchmarks)
	}
}

// Room is what answers need while they are given.
type Room struct {
	Positions int64 `json:"positions"` // of keys and values
	Prompts   int64 `json:"prompts"`   // positions of prompts, computed at once
}

// Room is the most that any questions need, of a model with a context of so many positions. They take just their room,
// whatever memory is free, so that questions are answered in the same company each time.
func (e *Exam) Room(context int64) (most Room, err error) {
	if e == nil {
		return most, nil
	}
	var surveys []*answer.Survey
	for _, b := range e.Benchmarks {
		surveys = append(surveys, b.survey)
	}
	if e.Samples != nil {
		surveys = append(surveys, e.Samples.survey)
	}
	for _, s := range surveys {
		longest, err := s.Longest(e.Answerer, context)
		if err != nil {
			return most, err
		}
		s.Positions = model.Extent(min(longest+int64(s.How.MaxTokens), context)) * Together
		most.Positions = max(most.Positions, s.Positions)
		most.Prompts = max(most.Prompts, min(longest*Together, model.LargestPass(model.WholePiece)))
	}
	return most, nil
}
