package rule

import (
	"strings"
	"unicode/utf8"
)

// ANLS is the average normalised Levenshtein similarity of DocVQA for one question (Biten et al. 2019, "Scene Text
// Visual Question Answering", section 4): the best, over the answers, of one minus the edit distance in characters over
// the longer length; below a half it is 0. Both sides are compared in lower case with single spaces, and measured as
// they were, in capitals (lmms-eval).
func ANLS(prediction string, answers []string) float64 {
	return anls(prediction, answers, strip)
}

// ANLSOfVLMEval is VLMEvalKit's, which measures the prediction with the white space around it.
func ANLSOfVLMEval(prediction string, answers []string) float64 {
	return anls(prediction, answers, func(s string) string { return s })
}

func anls(prediction string, answers []string, measured func(string) string) (best float64) {
	const least = 0.5
	mine := []rune(squeezed(prediction))
	for _, answer := range answers {
		length := max(utf8.RuneCountInString(upper(measured(prediction))), utf8.RuneCountInString(upper(answer)))
		if length == 0 {
			best = max(best, 1)
			continue
		}
		best = max(best, 1-float64(distance(mine, []rune(squeezed(answer))))/float64(length))
	}
	if best < least {
		return 0
	}
	return best
}

func squeezed(s string) string { return strings.Join(words(lower(s)), " ") }

// distance is the Levenshtein distance.
func distance(a, b []rune) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range a {
		diagonal := row[0]
		row[0] = i + 1
		for j := range b {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
