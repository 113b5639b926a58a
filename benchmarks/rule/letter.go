package rule

import (
	"regexp"
	"strings"
	"unicode/utf8"
)

// These functions read the letter of an option from an answer; "" is an answer that has none by the rule. Letters are
// the options' own, "ABCD" for four.

// Letters are the first n letters.
func Letters(n int) string { return "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[:min(max(n, 0), 26)] }

var theAnswerIs = regexp.MustCompile(`The answer is ([A-Z]).`)

// ScienceQA is the reading of LLaVA's eval_science_qa.py: a letter from A to E alone; or the letter that the answer
// begins with, before a period and a space; or the letter after "The answer is", if that stands there exactly once and
// any character follows it. A letter beyond the options is one, and wrong.
func ScienceQA(answer string) string {
	if len(answer) == 1 && 'A' <= answer[0] && answer[0] <= 'E' {
		return answer
	}
	if utf8.RuneCountInString(answer) >= 3 && 'A' <= answer[0] && answer[0] <= 'Z' && answer[1:3] == ". " {
		return answer[:1]
	}
	if found := theAnswerIs.FindAllStringSubmatch(answer, -1); len(found) == 1 {
		return found[0][1]
	}
	return ""
}

// ScienceQAOfLMMS is lmms-eval's: the right letter in any case, or a capital before a period at the beginning.
func ScienceQAOfLMMS(answer, right string) string {
	answer = strip(answer)
	if lower(answer) == lower(right) {
		return right
	}
	if len(answer) >= 2 && 'A' <= answer[0] && answer[0] <= 'Z' && answer[1] == '.' {
		return answer[:1]
	}
	return ""
}

// First is the first character, whatever it is, as a capital (lmms-eval's SEED-Bench).
func First(answer string) string {
	answer = upper(strip(answer))
	_, n := utf8.DecodeRuneInString(answer)
	return answer[:n]
}

var ai2dLetter = regexp.MustCompile(`^\s*([A-Z])\.`)

// AI2D is lmms-eval's reading: a letter before a period at the beginning, else the whole answer; both in lower case and
// without ASCII punctuation. It is to be compared with the right letter in lower case.
func AI2D(answer string) string {
	if found := ai2dLetter.FindStringSubmatch(answer); found != nil {
		answer = found[1]
	}
	return without(lower(strip(answer)), asciiPunctuation)
}

// Plain is an answer without the periods at its end and in lower case, as GQA's are compared.
func Plain(answer string) string { return lower(strings.TrimRight(answer, ".")) }

// PlainOfLMMS is an answer in lower case without ASCII punctuation (lmms-eval's exact_match with both exceptions).
func PlainOfLMMS(answer string) string { return without(Fold(answer), asciiPunctuation) }
