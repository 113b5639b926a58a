package rule

import (
	"strings"
	"unicode/utf8"
)

// A normaliser rewrites a short answer, so that people's and models' ways to write it become one.

// Official is the normaliser of VQA's evaluator.
func Official(answer string) string { return normalize(answer, everyPeriod) }

// VLMEval is VLMEvalKit's, which keeps a period behind a digit.
func VLMEval(answer string) string { return normalize(answer, notBehindDigit) }

// M4C is that of LLaVA's scripts, which they have from the M4C model's: it first lowers, and deletes commas and
// question marks, so that "red,white" becomes one word, and sets "'s" apart.
func M4C(answer string) string {
	answer = withoutMarks.Replace(lower(answer))
	return normalize(strip(strings.ReplaceAll(answer, "'s", " 's")), everyPeriod)
}

type periods bool

const (
	everyPeriod    periods = false
	notBehindDigit periods = true
)

func normalize(answer string, kept periods) string {
	return strings.Join(plainWords(withoutPeriods(withoutPunctuation(oneLine(answer)), kept)), " ")
}

// punctuation is deleted where it stands next to a space, and is a space elsewhere. The order matters for nothing but
// the speed: each is looked for in the answer as it was.
const punctuation = ";/[]\"{}()=+\\_-><@`,?!"

func withoutPunctuation(answer string) string {
	if !strings.ContainsAny(answer, punctuation) {
		return answer
	}
	out, number := answer, hasThousands(answer)
	for i := range len(punctuation) {
		p := punctuation[i : i+1]
		if !strings.Contains(answer, p) {
			continue
		}
		by := " "
		if number || strings.Contains(answer, p+" ") || strings.Contains(answer, " "+p) {
			by = ""
		}
		out = strings.ReplaceAll(out, p, by)
	}
	return out
}

// hasThousands says whether a comma stands between digits anywhere.
func hasThousands(s string) bool {
	for i := strings.IndexByte(s, ','); i >= 0 && i < len(s); i++ {
		if s[i] != ',' {
			continue
		}
		before, _ := utf8.DecodeLastRuneInString(s[:i])
		after, _ := utf8.DecodeRuneInString(s[i+1:])
		if isDigit(before) && isDigit(after) {
			return true
		}
	}
	return false
}

// mostPeriods is how many periods are deleted at most: the originals pass a flag where Python's re.sub takes a count.
const mostPeriods = 32

// withoutPeriods deletes periods that no digit follows.
func withoutPeriods(s string, kept periods) string {
	if !strings.Contains(s, ".") {
		return s
	}
	var out strings.Builder
	deleted := 0
	for i, r := range s {
		if r == '.' && deleted < mostPeriods {
			after, _ := utf8.DecodeRuneInString(s[i+1:])
			before, _ := utf8.DecodeLastRuneInString(s[:i])
			if !isDigit(after) && !(kept == notBehindDigit && isDigit(before)) {
				deleted++
				continue
			}
		}
		out.WriteRune(r)
	}
	return out.String()
}

var digits = map[string]string{"none": "0", "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4",
	"five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9", "ten": "10"}

// plainWords are the words without articles, with digits for numbers and apostrophes in contractions.
func plainWords(s string) (plain []string) {
	for _, word := range words(lower(s)) {
		if digit, ok := digits[word]; ok {
			word = digit
		}
		if word == "a" || word == "an" || word == "the" {
			continue
		}
		if contracted, ok := contractions[word]; ok {
			word = contracted
		}
		plain = append(plain, word)
	}
	return plain
}

// oneLine is what even an answer that is not normalised goes through.
func oneLine(s string) string { return strip(spaced.Replace(s)) }

var (
	withoutMarks = strings.NewReplacer(",", "", "?", "")
	spaced       = strings.NewReplacer("\n", " ", "\t", " ")
)
