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
// the only one among the answer's words and stands near their end, then the only option whose text the answer contains.
// Options are texts by letter.
func InferredLetter(answer string, options []Option) string {
	if letter := inferredOption(answer, options); letter != "" {
		return letter
	}
	return inferredText(answer, options)
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

// declared is a letter, perhaps in bold, that is named as the answer.
var declared = regexp.MustCompile(`(?i:answer is) \**([A-Z])\b`)

func inferredOption(answer string, options []Option) string {
	const near = 5 // words from the end
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
	if found := declared.FindStringSubmatch(answer); found != nil &&
		slices.ContainsFunc(options, func(o Option) bool { return o.Letter == found[1] }) {
		return found[1]
	}
	return ""
}

func inferredText(answer string, options []Option) (found string) {
	answer = lower(answer)
	all := 0
	for _, option := range options {
		all += utf8.RuneCountInString(option.Text)
	}
	if utf8.RuneCountInString(answer) > 2*all {
		return ""
	}
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
