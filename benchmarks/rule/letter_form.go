package rule

import (
	"strings"
	"unicode/utf8"
)

// LetterByForm is the letter whose place in an answer looks most like a choice (lmms-eval's extract_mcq_answer, which
// MMStar, RealWorldQA and MMBench use). Every place of every letter is a candidate by the forms that it has; the best
// form wins, then the later place.
func LetterByForm(answer, letters string) string {
	answer = strip(answer)
	for _, end := range ",.!?;:'\"" { // one after the other: of "A.'" the period stays
		answer = strings.Trim(answer, string(end))
	}
	answer = " " + answer + " "
	best, found := candidate{}, ""
	take := func(c candidate, letter string) {
		if best.form < c.form || best.form == c.form && best.at < c.at {
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
				take(candidate{formAnywhere, at}, letter)
			}
		}
	}
	return found
}

// candidate is a place where a letter stands, and how much its form says.
type candidate struct{ form, at int }

const (
	formBeginning = 10
	formEnd       = 9
	formPhrase    = 7
	formAnywhere  = 1
)

// written are forms around the letter, which stands for X, from the one that says most.
var written = []struct {
	form int
	text string
}{{6, "(X)"}, {5, "X."}, {4, "X:"}, {3, "X)"}, {2, "X "}}

// announced are the phrases that announce a choice. Longer ones that end with one of these say no more.
var announced = []string{"answer is", "correct option is", "best option is", "choice is", "i choose", "i select",
	"i pick", "옵션", "정답은", "답은", "답:", "答案是", "答案为", "选", "答えは"}

func candidates(answer, letter string) (all []candidate) {
	inner := strip(answer)
	if after, ok := strings.CutPrefix(inner, letter); ok && !beginsWithLetter(after) {
		all = append(all, candidate{formBeginning, 0})
	}
	if before, ok := strings.CutSuffix(inner, letter); ok && !endsWithLetter(before) {
		all = append(all, candidate{formEnd, len(answer)})
	}
	if at := announcedAt(answer, letter); at >= 0 {
		all = append(all, candidate{formPhrase, at})
	}
	for _, w := range written {
		if at := strings.LastIndex(answer, strings.ReplaceAll(w.text, "X", letter)); at >= 0 {
			all = append(all, candidate{w.form, at})
		}
	}
	return all
}

// announcedAt is the last of the places where a letter comes first behind one of the phrases, -1 for none.
func announcedAt(answer, letter string) (last int) {
	last = -1
	low := lower(answer)
	for _, phrase := range announced {
		begin := strings.Index(low, phrase)
		if behind := begin + len(phrase); begin >= 0 && behind <= len(answer) { // lowering may change the length
			if at := strings.Index(answer[behind:], letter); at >= 0 {
				last = max(last, behind+at)
			}
		}
	}
	return last
}

func beginsWithLetter(s string) bool {
	r, _ := utf8.DecodeRuneInString(s)
	return s != "" && isLetter(r)
}

func endsWithLetter(s string) bool {
	r, _ := utf8.DecodeLastRuneInString(s)
	return s != "" && isLetter(r)
}
