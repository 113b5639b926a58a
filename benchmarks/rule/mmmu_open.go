package rule

import (
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Item is part of an answer to an open question: a number, or text where Text is not "".
type Item struct {
	Text   string
	Number float64
}

// String is the item as Python writes it.
func (i Item) String() string {
	if i.Text != "" || math.IsNaN(i.Number) {
		return i.Text
	}
	s := strconv.FormatFloat(i.Number, 'g', -1, 64)
	if x := math.Abs(i.Number); x >= 1e-4 && x < 1e16 || x == 0 {
		s = strconv.FormatFloat(i.Number, 'f', -1, 64)
	}
	if !strings.ContainsAny(s, ".eIN") {
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
		return []Item{{Number: hundredths(x)}}
	}
	s = lower(s)
	if utf8.RuneCountInString(s) == 1 {
		return []Item{{Text: " " + s}, {Text: s + " "}}
	}
	return []Item{{Text: s, Number: math.NaN()}}
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
	thousands  = regexp.MustCompile(`-?\b\d{1,3}(?:,\d{3})+\b`)
	scientific = regexp.MustCompile(`-?\d+(?:\.\d+)?[eE][+-]?\d+`)
	exponent   = regexp.MustCompile(`^[eE][+-]?\d`)
)

// numbersIn are the numbers with commas, in scientific notation and plain; parts of the first two may come again.
func numbersIn(s string) []string {
	return slices.Concat(thousands.FindAllString(s, -1), scientific.FindAllString(s, -1), plainNumbers(s))
}

// plainNumbers are numbers that neither an exponent nor a comma follows, as the evaluator's third expression finds
// them.
func plainNumbers(s string) (found []string) {
	for i := 0; i < len(s); {
		if n := plainNumber(s[i:]); n > 0 {
			found = append(found, s[i:i+n])
			i += n
			continue
		}
		i++
	}
	return found
}

// plainNumber is the length of the number that s begins with, 0 for none. A longer one that something forbidden follows
// is given up for a shorter one.
func plainNumber(s string) int {
	sign := 0
	if strings.HasPrefix(s, "-") {
		sign = 1
	}
	whole := sign + digitRun(s[sign:])
	if strings.HasPrefix(s[whole:], ".") {
		for end := whole + 1 + digitRun(s[whole+1:]); end > whole+1; end-- {
			if mayEnd(s[end:]) {
				return end
			}
		}
	}
	if after, _ := utf8.DecodeRuneInString(s[whole:]); whole > sign && mayEnd(s[whole:]) &&
		(s[whole:] == "" || !isWord(after)) {
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
				case isText(item) != isText(right):
				case isText(item) && strings.Contains(item.Text, right.Text),
					!isText(item) && item.Number == right.Number:
					return true
				}
			}
		}
	}
	return false
}

func isText(i Item) bool { return i.Text != "" || math.IsNaN(i.Number) }
