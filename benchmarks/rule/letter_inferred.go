package rule

import (
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Refused is the letter of an answer that refuses the question.
const Refused = "Z"

var refusals = []string{"Sorry, I can't help with images of people yet.", "I can't process this file.",
	"I'm sorry, but without the image provided", "Cannot determine the answer"}

// InferredLetter is VLMEvalKit's reading (can_infer), without a judge for what it cannot read: first a letter that is
// the only one among the answer's words and stands near their end, then the only option whose text the answer contains,
// if the answer is not much longer than all options. Options are texts by letter.
func InferredLetter(answer string, options []Option) string {
	if letter := inferredOption(answer, options); letter != "" {
		return letter
	}
	all := 0
	for _, option := range options {
		all += utf8.RuneCountInString(option.Text)
	}
	if utf8.RuneCountInString(answer) > 2*all {
		return ""
	}
	return letterOfText(answer, options)
}

// Option is an option of a question.
type Option struct{ Letter, Text string }

// Options gives texts their letters.
func Options(texts []string) (options []Option) {
	for i, text := range texts[:min(len(texts), 26)] {
		options = append(options, Option{Letters(26)[i : i+1], text})
	}
	return options
}

// declared is a letter, perhaps in bold, that is named as the answer. It may be the first of a word: "the answer is a
// boat" is A.
var declared = regexp.MustCompile(`(?i)answer[\s\pZ]+is[\s\pZ]+\**([ABCD])`)

func inferredOption(answer string, options []Option) string {
	const near = 5 // words from the end
	if strings.Contains(answer, "Failed to obtain answer via API") {
		return ""
	}
	for _, refusal := range refusals {
		if strings.Contains(answer, refusal) {
			return Refused
		}
	}
	apart := words(strings.Map(func(r rune) rune {
		if strings.ContainsRune(".()[],:;!*#{}", r) {
			return ' '
		}
		return r
	}, answer))
	var present []string
	for _, option := range options {
		if slices.Contains(apart, option.Letter) {
			present = append(present, option.Letter)
		}
	}
	switch {
	case len(present) == 1 && slices.Index(apart, present[0]) > len(apart)-near:
		return present[0]
	case len(present) == 0 && slices.Contains(apart, Refused):
		return Refused
	}
	if found := declared.FindStringSubmatch(answer); found != nil {
		if letter := upper(found[1]); slices.ContainsFunc(options, func(o Option) bool { return o.Letter == letter }) {
			return letter
		}
	}
	return ""
}

// letterOfText is the letter of the only option whose text is in an answer.
func letterOfText(answer string, options []Option) (found string) {
	answer = lower(answer)
	for _, option := range options {
		if !strings.Contains(answer, lower(option.Text)) {
			continue
		}
		if found != "" {
			return ""
		}
		found = option.Letter
	}
	return found
}

// around are marks around a letter, in the order in which LetterByWord looks for them.
var around = [][2]string{{"", ""}, {"", "."}, {"", ","}, {"", ":"}, {"", ")"}, {"", ")."}, {"(", ")"}, {"(", ")."},
	{":", ""}, {":", ","}, {":", "."}, {":", ")"}, {":", ")."}}

// LetterByWord is lmms-eval's static reading for MMBench: a letter from A to E that is the only one to be a word, alone
// or with the same marks around; else the only option whose text the answer contains; else the letter of the best form.
// In an answer of more than three words a bare A may be an article, and no bare letter counts.
func LetterByWord(answer string, options []Option) string {
	apart := words(answer)
	for i, marks := range around {
		if i == 0 && len(apart) > 3 && slices.Contains(apart, "A") {
			continue
		}
		var present []string
		for _, letter := range strings.Split(Letters(5), "") {
			if slices.Contains(apart, marks[0]+letter+marks[1]) {
				present = append(present, letter)
			}
		}
		if len(present) == 1 {
			return present[0]
		}
	}
	if letter := letterOfText(answer, options); letter != "" {
		return letter
	}
	return LetterByForm(answer, Letters(len(options)))
}
