package rule

import (
	"strings"
)

// Choice is the letter that MMMU's evaluator reads, "" where it draws one at random: letters in brackets, else letters
// between spaces, else, in an answer of more than five words, the texts of options. Of several the one that stands
// last.
func Choice(answer string, options []Option) string {
	return choice(answer, options, []string{"(X)", " X "})
}

// ChoiceOfLMMS is lmms-eval's, which asks for no space before a letter, so that "USA is" is A, and looks for "A.".
// White space around the answer does not count. Among several letters the place with both spaces is looked for all the
// same.
func ChoiceOfLMMS(answer string, options []Option) string {
	return choice(strip(answer), options, []string{"(X)", "X ", "X."})
}

func choice(answer string, options []Option, forms []string) string {
	for _, end := range ",.!?;:'" { // one after the other: "A.)," keeps what stands inside
		answer = strings.Trim(answer, string(end))
	}
	answer = " " + answer + " "
	for _, form := range forms {
		in := func(o Option) string { return strings.ReplaceAll(form, "X", o.Letter) }
		placed := in
		if form != "(X)" {
			placed = func(o Option) string { return " " + o.Letter + " " }
		}
		if letter := lastOf(answer, options, in, placed); letter != "" {
			return letter
		}
	}
	if len(words(answer)) <= 5 {
		return ""
	}
	text := func(o Option) string { return lower(o.Text) }
	return lastOf(lower(answer), options, text, text)
}

// lastOf is the option, of those whose form is in the answer, whose placed form stands last; the first of equals.
func lastOf(answer string, options []Option, form, placed func(Option) string) (letter string) {
	last := -2
	for _, option := range options {
		if !strings.Contains(answer, form(option)) {
			continue
		}
		if at := strings.LastIndex(answer, placed(option)); at > last {
			letter, last = option.Letter, at
		}
	}
	return letter
}
