package benchmarks

import (
	"strings"
	"unicode/utf8"

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

// NewRanking is the answer that the losses of a question's choices make, each a mean over so many tokens: the letter of
// the least, the first of equals. Every rule that reads letters reads it.
func NewRanking(q *Question, losses []float64, tokens []int, model string, under Conditions) Answer {
	return newAnswer(q, Answer{Text: q.options[least(losses)].Letter, Losses: losses, Tokens: tokens, ModelID: model,
		Metadata: under})
}

// least is the place of the least value, the first of equals.
func least(values []float64) (at int) {
	for i, v := range values {
		if v < values[at] {
			at = i
		}
	}
	return at
}

// byCharacters is the score of an answer whose options were ranked, 0 or 1, if the loss of an option is its sum over
// tokens divided by the characters of its text (acc_norm of EleutherAI's evaluation harness, lm_eval/api/task.py); nil
// for another answer.
func (q *Question) byCharacters(a *Answer) *float64 {
	if len(a.Losses) == 0 || len(a.Losses) != len(q.options) || len(a.Tokens) != len(q.options) {
		return nil
	}
	losses := make([]float64, len(a.Losses))
	for i, option := range q.options {
		losses[i] = a.Losses[i] * float64(a.Tokens[i]) / float64(max(1, utf8.RuneCountInString(option.Text)))
	}
	score := float64(count(q.options[least(losses)].Letter == q.letter))
	return &score
}

// ranked are the rows of answers whose options were ranked.
func ranked(rows []Row) (some []Row) {
	for _, row := range rows {
		if row.ByCharacters != nil {
			some = append(some, row)
		}
	}
	return some
}
