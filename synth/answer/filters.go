package answer

import (
	"strings"
	"unicode"
)

// Against is what the answers of a kind are compared with.
type Against struct {
	System   string   // the system message
	Examples []string // the answers of the examples
	English  bool     // answers must be in English; else they may be in any language
}

// Filters are the filters for the answers of a kind. They may be used from several goroutines.
type Filters struct {
	system, examples map[string]bool // all runs of leakWords words
	english          bool
}

// NewFilters prepares the filters for any number of answers.
func NewFilters(with Against) *Filters {
	f := &Filters{system: map[string]bool{}, examples: map[string]bool{}, english: with.English}
	for run := range wordsOf(with.System).runs(leakWords) {
		f.system[run] = true
	}
	for _, example := range with.Examples {
		for run := range wordsOf(example).runs(leakWords) {
			f.examples[run] = true
		}
	}
	return f
}

// What counts as repeated, copied or foreign.
const (
	leakWords                    = 12 // in a row, as in the prompt
	repeatedWords, repeatedTimes = 10, 4
	latinLetters                 = 90 // per cent of the letters of an English text
	functionWords                = 20 // per cent of the words of an English text, if it has
	wordsToJudge                 = 12
)

// refusal is the reason for dropping an answer that begins with an excuse.
const refusal = "refusal"

// checked is a text that filters look at.
type checked struct {
	text string
	words
}

func check(text string) checked { return checked{text, wordsOf(text)} }

// filters are tried one after the other, and the first that finds something gives the reason. Those for questions are
// about what damages training wherever it stands; a question may be short, odd or repeated.
var filters = []struct {
	reason    string
	questions bool
	finds     func(*Filters, checked) bool
}{
	{"encoding", false, func(_ *Filters, c checked) bool { return strings.Contains(c.text, "\ufffd") }},
	{refusal, false, func(_ *Filters, c checked) bool { return lists().refusal.MatchString(c.text) }},
	{"markup", true, (*Filters).markup},
	{"source", true, (*Filters).source},
	{"coordinates", true, (*Filters).coordinates},
	{"repetition", false, (*Filters).repetition},
	{"prompt_leak", false, func(f *Filters, c checked) bool { return c.hasRunOf(f.system) }},
	{"example_leak", false, func(f *Filters, c checked) bool { return c.hasRunOf(f.examples) }},
	{"language", false, (*Filters).foreign},
}

// faultIn is the reason for dropping an answer, "" if there is none.
func (f *Filters) faultIn(answer checked) string {
	for _, filter := range filters {
		if filter.finds(f, answer) {
			return filter.reason
		}
	}
	return ""
}

// faultInQuestion is the reason for dropping a question, "" if there is none.
func (f *Filters) faultInQuestion(question checked) string {
	for _, filter := range filters {
		if filter.questions && filter.finds(f, question) {
			return filter.reason
		}
	}
	return ""
}

// The three patterns are slow to search with, and nearly no answer holds what they begin with or cannot do without.

func (*Filters) markup(c checked) bool {
	return strings.ContainsAny(c.text, "<[#") && lists().markup.MatchString(c.text)
}

func (*Filters) coordinates(c checked) bool {
	return strings.ContainsAny(c.text, "[(") && lists().coordinates.MatchString(c.text)
}

// sourceStems are parts of words of which at least one is in all that the pattern finds. They are without s and k,
// which stand for two more letters (ſ and the Kelvin sign) where case is ignored.
var sourceStems = []string{"bounding", "coordinate", "caption", "provided", "given", "upplied", "entence", "according"}

func (*Filters) source(c checked) bool {
	for _, stem := range sourceStems {
		if strings.Contains(c.joined, stem) {
			return lists().source.MatchString(c.text)
		}
	}
	return false
}

// repetition is the mark of a model that is caught in a loop.
func (*Filters) repetition(c checked) bool {
	if c.count() < repeatedWords+repeatedTimes-1 {
		return false
	}
	times := make(map[string]uint8, c.count())
	for run := range c.runs(repeatedWords) {
		if times[run]++; times[run] == repeatedTimes {
			return true
		}
	}
	return false
}

func (c checked) hasRunOf(runs map[string]bool) bool {
	if len(runs) == 0 {
		return false
	}
	for run := range c.runs(leakWords) {
		if runs[run] {
			return true
		}
	}
	return false
}

// foreign says whether a text is not in English where that is asked for. Function words make up about half of English
// text; 20 % of them leave room for lists of things and for names.
func (f *Filters) foreign(c checked) bool {
	if !f.english {
		return false
	}
	letters, latin := 0, 0
	for _, r := range c.joined {
		if unicode.IsLetter(r) {
			letters++
			if unicode.Is(unicode.Latin, r) {
				latin++
			}
		}
	}
	if 100*latin < latinLetters*letters {
		return true
	}
	known := 0
	for word := range c.runs(1) {
		if lists().english[word] {
			known++
		}
	}
	return c.count() >= wordsToJudge && 100*known < functionWords*c.count()
}
