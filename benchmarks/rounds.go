package benchmarks

import (
	"slices"
	"strings"

	"github.com/llavatrain/llavatrain/benchmarks/rule"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// AllRounds has each question of MMBench's asked in all rotations of its options, as LLaVA's --all-rounds does: in
// round n the first n options come last. They have one id, and count as right if all of them are.
func (s *Set) AllRounds() error {
	var all []Question
	for i := range s.Questions {
		q := s.Questions[i]
		if q.group == "" {
			return failure.Inputf("%s has no rounds: MMBench's options are rotated", s.Benchmark.Name)
		}
		for round := range max(1, len(q.options)) {
			all = append(all, q.rotated(round))
		}
	}
	s.Questions = all
	return nil
}

// rotated is the question with the first options last.
func (q Question) rotated(round int) Question {
	var texts []string
	for _, option := range q.options {
		texts = append(texts, option.Text)
	}
	options := rule.Options(slices.Concat(texts[round:], texts[:round]))
	q.Text, q.Prompt = relist(q.Text, q.options, options), relist(q.Prompt, q.options, options)
	if at := slices.IndexFunc(q.options, func(o rule.Option) bool { return o.Letter == q.letter }); at >= 0 {
		q.letter = options[(at-round+len(options))%len(options)].Letter
	}
	q.options, q.round = options, round
	return q
}

// relist puts other options in the place of those that a text lists.
func relist(text string, from, to []rule.Option) string {
	list := lettered(from)
	at := strings.LastIndex(text, list)
	if at < 0 {
		return text
	}
	return text[:at] + lettered(to) + text[at+len(list):]
}

// Rounds says whether there are answers to rotations of the options, for which the set needs [Set.AllRounds].
func (a *Answers) Rounds() bool {
	return slices.ContainsFunc(a.List, func(a Answer) bool { return a.Round != nil && *a.Round > 0 })
}
