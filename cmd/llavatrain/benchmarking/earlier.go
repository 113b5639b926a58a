package benchmarking

import (
	"encoding/json"

	"github.com/llavatrain/llavatrain/benchmarks"
	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/train/answer"
)

// earlier is what an earlier run of the same command left in the answer file.
type earlier struct {
	path    string
	answers []*benchmarks.Answer // by question; nil: it has none yet
	n       int
}

// before reads the answers of earlier runs, which must be to questions of the set as they are asked now.
func (r *running) before(set *benchmarks.Set) (*earlier, error) {
	e := &earlier{path: r.file(answersFile), answers: make([]*benchmarks.Answer, len(set.Questions))}
	n, err := answer.Mend(e.path)
	if err != nil || n == 0 {
		return e, err
	}
	read, err := benchmarks.ReadAnswers(e.path, false)
	if err != nil {
		return nil, err
	}
	joined := set.Join(read)
	if other := joined.Strangers + joined.Doubled; other > 0 {
		return nil, failure.Inputf("answers: %s: %d of its %d answers are not to questions of %s, split %s, or to "+
			"some that have one; give another --out", e.path, other, n, set.Benchmark.Name, set.Split)
	}
	for i, a := range joined.Answers {
		if q := &set.Questions[i]; a != nil && a.Prompt != q.Prompt {
			return nil, failure.Inputf("answers: %s: question %s was asked %.60q, and would now be asked "+
				"%.60q by rule %s; give another --out", e.path, q.ID, a.Prompt, q.Prompt, set.Rule.Name)
		}
	}
	e.answers, e.n = joined.Answers, n
	return e, nil
}

// sameModel refuses to go on with a file of another model's answers, or of answers given under other conditions. The
// dtype, which is known only when the model is open, is compared if opened.
func (e *earlier) sameModel(name string, under benchmarks.Conditions, opened bool) error {
	for _, a := range e.answers {
		if a == nil {
			continue
		}
		if !opened {
			under.Dtype = a.Metadata.Dtype
		}
		if a.ModelID != name || !under.Same(a.Metadata) {
			a.Metadata.Cut = false
			return failure.Inputf("answers: %s has answers of %s under %s, and this would be %s under %s; give "+
				"another --out", e.path, a.ModelID, said(a.Metadata), name, said(under))
		}
	}
	return nil
}

func said(c benchmarks.Conditions) string {
	text, _ := json.Marshal(c) // of strings and numbers: it cannot fail
	return string(text)
}
