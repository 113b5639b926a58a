package phrase

import (
	"math"
	"strconv"
	"strings"
	"sync"

	"github.com/jdkato/prose/tag"
)

// tagger finds parts of speech with the weights of prose's tagger: a greedy averaged perceptron that has learned from
// the Wall Street Journal. Scoring is ours, because prose's sums in the order of a map, in which equal scores and
// rounding decide at random, and because this is some ten times as fast.
type tagger struct {
	names []string         // of the tags
	fixed map[string]uint8 // words with one tag, whatever stands around them
	rows  map[uint64]row   // by the hash of a feature's name
	votes []vote           // of all rows
}

type row struct{ start, end uint32 } // of votes

// vote is what a feature adds to the score of a tag, in thousandths; prose's weights have three decimals.
type vote struct {
	tag    uint8
	weight int32
}

// maxTags bounds the number of tags; prose has 45.
const maxTags = 64

// loadTagger takes about 0.3 s, once, and only where captions are tagged.
var loadTagger = sync.OnceValue(func() *tagger {
	source := tag.NewPerceptronTagger()
	t := &tagger{names: source.Classes(), fixed: map[string]uint8{}, rows: map[uint64]row{}}
	numbers := map[string]uint8{}
	for i, name := range t.names {
		numbers[name] = uint8(i)
	}
	for word, name := range source.TagMap() {
		t.fixed[word] = numbers[name]
	}
	for feature, weights := range source.Weights() {
		start := len(t.votes)
		for name, weight := range weights {
			t.votes = append(t.votes, vote{numbers[name], int32(math.Round(weight * 1000))})
		}
		t.rows[hash(hashStart, feature)] = row{uint32(start), uint32(len(t.votes))}
	}
	return t
})

// token is a word with its part of speech.
type token struct {
	word   string // as the tagger sees it: small letters; numbers and hyphenated words have one form each
	tag    uint8
	second uint8 // the next best
	margin int32 // between the scores of the two, in thousandths
}

// tag finds the parts of speech of a sentence, from left to right: the tags of the two words before it are features of
// a word.
func (t *tagger) tag(words []string) []token {
	tokens := make([]token, len(words))
	for i, word := range words {
		tokens[i].word = reduce(word)
	}
	around := func(i int) string {
		switch {
		case i < 0:
			return starts[i+2]
		case i >= len(words):
			return ends[i-len(words)]
		}
		return tokens[i].word
	}
	before, beforeThat := starts[0], starts[1] // sic: the tags in this order, the words in the other
	for i, word := range words {
		var scores [maxTags]int32
		add := func(start uint64, parts ...string) {
			for n, part := range parts {
				if n > 0 {
					start = hash(start, " ")
				}
				start = hash(start, part)
			}
			at := t.rows[start]
			for _, v := range t.votes[at.start:at.end] {
				scores[v.tag] += v.weight
			}
		}
		this := around(i)
		previous, next := around(i-1), around(i+1)
		add(prefixes.bias)
		add(prefixes.suffix, suffix(word, 3))
		add(prefixes.first, string(rune(word[0])))
		add(prefixes.tag1, before)
		add(prefixes.tag2, beforeThat)
		add(prefixes.tags, before, beforeThat)
		add(prefixes.word, this)
		add(prefixes.tagWord, before, this)
		add(prefixes.word1, previous)
		add(prefixes.suffix1, suffix(previous, 3))
		add(prefixes.word2, around(i-2))
		add(prefixes.after1, next)
		add(prefixes.afterSuffix, suffix(next, 3))
		add(prefixes.after2, around(i+2))
		tokens[i].choose(scores[:len(t.names)])
		if only, ok := t.fixed[word]; ok {
			tokens[i].fix(only)
		}
		beforeThat, before = before, t.names[tokens[i].tag]
	}
	return tokens
}

// What prose takes for the two words before and after a sentence; the first two are also tags.
var (
	starts = [2]string{"-START-", "-START2-"}
	ends   = [2]string{"-END-", "-END2-"}
)

// choose takes the two best tags; of equal ones the first in the list.
func (t *token) choose(scores []int32) {
	best, second := 0, 1
	if scores[1] > scores[0] {
		best, second = 1, 0
	}
	for i := 2; i < len(scores); i++ {
		switch {
		case scores[i] > scores[best]:
			best, second = i, best
		case scores[i] > scores[second]:
			second = i
		}
	}
	t.tag, t.second, t.margin = uint8(best), uint8(second), scores[best]-scores[second]
}

func (t *token) fix(only uint8) {
	if only != t.tag {
		t.second = t.tag
	}
	t.tag = only
}

// prefixes are the hashes of the beginnings of the names of prose's features.
var prefixes = struct {
	bias, suffix, first, tag1, tag2, tags, word, tagWord, word1, suffix1, word2, after1, afterSuffix, after2 uint64
}{
	hash(hashStart, "bias"), hash(hashStart, "i suffix "), hash(hashStart, "i pref1 "), hash(hashStart, "i-1 tag "),
	hash(hashStart, "i-2 tag "), hash(hashStart, "i tag+i-2 tag "), hash(hashStart, "i word "),
	hash(hashStart, "i-1 tag+i word "), hash(hashStart, "i-1 word "), hash(hashStart, "i-1 suffix "),
	hash(hashStart, "i-2 word "), hash(hashStart, "i+1 word "), hash(hashStart, "i+1 suffix "),
	hash(hashStart, "i+2 word "),
}

// reduce is the form of a word that most features use.
func reduce(word string) string {
	if strings.Contains(word, "-") && word[0] != '-' {
		return "!HYPHEN"
	}
	if _, err := strconv.Atoi(word); err == nil && len(word) == 4 {
		return "!YEAR"
	}
	if isDigit(word[0]) {
		return "!DIGITS"
	}
	return strings.ToLower(word)
}

// suffix is the last n bytes of a word.
func suffix(word string, n int) string { return word[max(0, len(word)-n):] }

// hash continues the 64-bit hash FNV-1a, begun with hashStart.
func hash(state uint64, text string) uint64 {
	for i := range len(text) {
		state = (state ^ uint64(text[i])) * 0x100000001b3
	}
	return state
}

const hashStart = 0xcbf29ce484222325
