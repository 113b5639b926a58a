package rule

import (
	"regexp"
	"strings"
)

// Pair is the two scores that LLaVA's eval_gpt_review_bench.py reads: the first line has to be two numbers with one
// space or comma between them, and nothing else.
func Pair(reply string) (reference, model float64, ok bool) {
	line, _, _ := strings.Cut(reply, "\n")
	parts := strings.Split(strings.ReplaceAll(line, ",", " "), " ")
	if len(parts) != 2 {
		return 0, 0, false
	}
	reference, first := float(parts[0])
	model, second := float(parts[1])
	return reference, model, first && second
}

var number = regexp.MustCompile(`\d+(?:\.\d+)?`)

// PairOfLMMS is the first two numbers of the first line (lmms-eval), whatever stands around them.
func PairOfLMMS(reply string) (reference, model float64, ok bool) {
	line, _, _ := strings.Cut(reply, "\n")
	found := number.FindAllString(line, 2)
	if len(found) < 2 {
		return 0, 0, false
	}
	reference, _ = float(found[0])
	model, _ = float(found[1])
	return reference, model, true
}

// Correctness is the score of MM-Vet's evaluator: the reply's first word, a number from 0 to 1.
func Correctness(reply string) (score float64, ok bool) {
	word, _, _ := strings.Cut(reply, " ")
	score, ok = float(word)
	return score, ok && score >= 0 && score <= 1
}
