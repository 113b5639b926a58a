package rule

import (
	"strings"
	"unicode/utf8"
)

// LetterByForm is the letter whose place in an answer looks most like a choice (lmms-eval's extract_mcq_answer, which
// MMStar, RealWorldQA and MMBench use). Every place of every letter is a candidate by the forms that it has; the best
// form wins, then the later place.
func LetterByForm(answer, letters string) string {
	answer = " " + strings.Trim(answer, ",.!?;:'\" ") + " "
	best, found := candidate{}, ""
	take := func(c candidate, letter string) {
		if best.before(c) {
			best, found = c, letter
		}
	}
	for _, letter := range strings.Split(letters, "") {
		for _, c := range candidates(answer, letter) {
			take(c, letter)
		}
	}
	if found == "" {
		for _, letter := range strings.Split(letters, "") {
			if at := strings.LastIndex(answer, letter); at >= 0 {
				take(candidate{1, at}, letter)
			}
		}
	}
	return found
}

// candidate is a place where a letter stands, and how much its form says.
type candidate struct{ form, at int }

func (c candidate) before(other candidate) bool {
	return c.form < other.form || c.form == other.form && c.at <= other.at
}

const (
	formBeginning = 10
	formEnd       = 9
	formPhrase    = 7
)

// written are forms around the letter, which stands for X, from the one that says most.
var written = []struct {
	form int
	text string
}{{6, "(X)"}, {5, "X."}, {4, "X:"}, {3, "X)"}, {2, "X "}}

// phrases announce a choice.
var phrases = []string{"the answer is", "answer is", "the correct answer is", "correct answer is", "answer:",
	"the best answer is", "option", "choice"}

func candidates(answer, letter string) (all []candidate) {
	inner := answer[1 : len(answer)-1]
	if after, ok := strings.CutPrefix(inner, letter); ok && !beginsWithLetter(after) {
		all = append(all, candidate{formBeginning, 0})
	}
	if before, ok := strings.CutSuffix(inner, letter); ok && !endsWithLetter(before) {
		all = append(all, candidate{formEnd, len(before)})
	}
	if at := afterPhrase(answer, letter); at >= 0 {
		all = append(all, candidate{formPhrase, at})
	}
	for _, w := range written {
		if at := strings.LastIndex(answer, strings.ReplaceAll(w.text, "X", letter)); at >= 0 {
			all = append(all, candidate{w.form, at})
		}
	}
	return all
}

// afterPhrase is the first place of a letter behind one of the phrases, -1 for none.
func afterPhrase(answer, letter string) int {
	low := lower(answer)
	if len(low) != len(answer) {
		return -1
	}
	for _, phrase := range phrases {
		if begin := strings.Index(low, phrase); begin >= 0 {
			if at := strings.Index(answer[begin+len(phrase):], letter); at >= 0 {
				return begin + len(phrase) + at
			}
		}
	}
	return -1
}

func beginsWithLetter(s string) bool {
	r, _ := utf8.DecodeRuneInString(s)
	return s != "" && isLetter(r)
}

func endsWithLetter(s string) bool {
	r, _ := utf8.DecodeLastRuneInString(s)
	return s != "" && isLetter(r)
}
