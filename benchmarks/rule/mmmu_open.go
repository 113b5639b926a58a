package rule

import (
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Item is part of an answer to an open question: text, or a number.
type Item struct {
	Text     string
	Number   float64
	IsNumber bool
}

// String is the item as Python writes it.
func (i Item) String() string {
	switch {
	case !i.IsNumber:
		return i.Text
	case math.IsInf(i.Number, 0) || math.IsNaN(i.Number):
		return strings.TrimPrefix(strings.ToLower(strconv.FormatFloat(i.Number, 'g', -1, 64)), "+")
	}
	s := strconv.FormatFloat(i.Number, 'g', -1, 64)
	if x := math.Abs(i.Number); x >= 1e-4 && x < 1e16 || x == 0 {
		s = strconv.FormatFloat(i.Number, 'f', -1, 64)
	}
	if !strings.ContainsAny(s, ".e") {
		s += ".0"
	}
	return s
}

// announcing are the words behind which the end of a line is what the line says.
var announcing = []string{"could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result "}

// Open is what MMMU's evaluator reads in an answer to an open question: of each line the shortest end behind an
// announcing word, in the last line also behind "=", or the whole answer where no line has one; and all numbers in
// that.
func Open(answer string) (items []Item) {
	answer = lower(strings.Trim(strip(answer), "."))
	lines := strings.Split(answer, "\n")
	var keys []string
	for i, line := range lines {
		marks := announcing
		if i == len(lines)-1 {
			marks = append(slices.Clone(marks), "=")
		}
		if key := shortestEnd(line, marks); key != "" && !strings.Contains(":,.!?;'", key) {
			keys = append(keys, key)
		}
	}
	if keys == nil {
		keys = []string{answer}
	}
	for _, key := range keys {
		items = append(items, plainItems(key)...)
	}
	for _, key := range keys {
		for _, number := range numbersIn(key) {
			items = append(items, plainItems(number)...)
		}
	}
	return items
}

func shortestEnd(line string, marks []string) (shortest string) {
	for _, mark := range marks {
		at := strings.LastIndex(line, mark)
		if at < 0 {
			continue
		}
		end := strip(line[at+len(mark):])
		if shortest == "" || utf8.RuneCountInString(end) < utf8.RuneCountInString(shortest) {
			shortest = end
		}
	}
	return shortest
}

// plainItems is a number to two places, or text in lower case; a single character with a space before it and one with
// a space behind it, so that it is not found in every word.
func plainItems(s string) []Item {
	s = strip(s)
	if x, ok := float(strings.ReplaceAll(s, ",", "")); ok {
		return []Item{{Number: hundredths(x), IsNumber: true}}
	}
	s = lower(s)
	if utf8.RuneCountInString(s) == 1 {
		return []Item{{Text: " " + s}, {Text: s + " "}}
	}
	return []Item{{Text: s}}
}

// hundredths is Python's round(x, 2): correct for the binary number, ties to even.
func hundredths(x float64) float64 {
	rounded, err := strconv.ParseFloat(strconv.FormatFloat(x, 'f', 2, 64), 64)
	if err != nil {
		return x
	}
	return rounded
}

var (
	scientific = regexp.MustCompile(`-?\d+(?:\.\d+)?[eE][+-]?\d+`)
	exponent   = regexp.MustCompile(`^[eE][+-]?\d`)
)

// numbersIn are the numbers with commas, in scientific notation and plain; parts of the first two may come again.
func numbersIn(s string) []string {
	return slices.Concat(matches(s, thousands), scientific.FindAllString(s, -1), matches(s, plainNumber))
}

// matches are the places that a matcher takes, from left to right. It is given what stands before and what follows, and
// says how much of this it takes.
func matches(s string, take func(before, s string) int) (found []string) {
	for i := 0; i < len(s); {
		n := take(s[:i], s[i:])
		if n > 0 {
			found = append(found, s[i:i+n])
		}
		i += max(n, 1)
	}
	return found
}

// thousands is the length of the number with commas that s begins with, 0 for none, as a whole word: the words of
// regular expressions are those of Unicode here, unlike in package regexp.
func thousands(before, s string) (length int) {
	begin := sign(s)
	if last, _ := utf8.DecodeLastRuneInString(before); begin == 0 && before != "" && isWord(last) {
		return 0
	}
	at := begin + digitRun(s[begin:])
	if at == begin || at > begin+3 {
		return 0
	}
	for strings.HasPrefix(s[at:], ",") && digitRun(s[at+1:]) >= 3 {
		at += 4
		if wordEnds(s[at:]) {
			length = at
		}
	}
	return length
}

func sign(s string) int {
	if strings.HasPrefix(s, "-") {
		return 1
	}
	return 0
}

func wordEnds(after string) bool {
	next, _ := utf8.DecodeRuneInString(after)
	return after == "" || !isWord(next)
}

// plainNumber is the length of the number that s begins with and that neither an exponent nor a comma follows, 0 for
// none. A longer one that something forbidden follows is given up for a shorter one.
func plainNumber(_, s string) int {
	sign := sign(s)
	whole := sign + digitRun(s[sign:])
	if strings.HasPrefix(s[whole:], ".") {
		for end := whole + 1 + digitRun(s[whole+1:]); end > whole+1; end-- {
			if mayEnd(s[end:]) {
				return end
			}
		}
	}
	if whole > sign && mayEnd(s[whole:]) && wordEnds(s[whole:]) {
		return whole
	}
	return 0
}

func digitRun(s string) (n int) {
	for n < len(s) && '0' <= s[n] && s[n] <= '9' {
		n++
	}
	return n
}

func mayEnd(after string) bool {
	return !exponent.MatchString(after) && !strings.HasPrefix(after, ",") && digitRun(after) == 0
}

// OpenIsRight says whether one of the items is a gold answer: a number equal to it, or a text that contains it.
func OpenIsRight(items []Item, golds []string) bool {
	for _, gold := range golds {
		for _, right := range plainItems(gold) {
			for _, item := range items {
				switch {
				case item.IsNumber != right.IsNumber:
				case item.IsNumber && item.Number == right.Number,
					!item.IsNumber && strings.Contains(item.Text, right.Text):
					return true
				}
			}
		}
	}
	return false
}
