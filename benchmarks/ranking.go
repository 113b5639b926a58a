package benchmarks

import (
	"strings"

	"github.com/llavatrain/llavatrain/benchmarks/rule"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// Ranked has the options of the questions ranked by how likely a model finds them, which is SEED-Bench's own way (Li et
// al. 2023), in place of asking for a letter: the questions no longer list them, and say nothing about the form of an
// answer.
func (s *Set) Ranked() error {
	for i := range s.Questions {
		q := &s.Questions[i]
		text, listed := beforeList(q.Text, q.options)
		prompt, _ := beforeList(q.Prompt, q.options)
		if !listed {
			return failure.Inputf("%s: question %s has no list of options to rank", s.Benchmark.Name, q.ID)
		}
		q.Text, q.Prompt = text, prompt
	}
	return nil
}

// beforeList is a text up to the list of its options.
func beforeList(text string, options []rule.Option) (before string, listed bool) {
	at := -1
	if len(options) > 0 {
		at = strings.LastIndex(text, lettered(options))
	}
	if at < 0 {
		return text, false
	}
	return strings.TrimSpace(strings.TrimSuffix(text[:at], severalOptions)), true
}

// Choices are the texts of the question's options, in the order of their letters.
func (q *Question) Choices() (texts []string) {
	for _, option := range q.options {
		texts = append(texts, option.Text)
	}
	return texts
}

// NewRanking is the answer that the losses of a question's choices make: the letter of the least, the first of equals.
// Every rule that reads letters reads it.
func NewRanking(q *Question, losses []float64, model string, under Conditions) Answer {
	least := 0
	for i, loss := range losses {
		if loss < losses[least] {
			least = i
		}
	}
	return newAnswer(q, Answer{Text: q.options[least].Letter, Losses: losses, ModelID: model, Metadata: under})
}
