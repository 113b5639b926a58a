package phrase

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// Sentence is a caption with its noun phrases, to learn from: in the order of the caption, each as it stands there.
type Sentence struct {
	Caption string
	Phrases []string
}

const (
	rounds   = 10 // over all sentences
	learners = 5  // whose weights are added: one alone is 0.1 to 0.2 % worse
)

// lesson is a sentence as the learners see it.
type lesson struct {
	features [][]uint32
	labels   []label
}

// Learn makes a chunker from sentences. It is an averaged perceptron of sequences (Collins, "Discriminative training
// methods for hidden Markov models", 2002): where the best labels differ from the right ones, the weights of the right
// ones grow by one and those of the others shrink by one; the result is the mean over all steps, and over several
// learners that see the sentences in different orders. The same sentences give the same weights, on any machine.
func Learn(sentences []Sentence) (*Chunker, error) {
	var lessons []lesson
	for i, s := range sentences {
		text := prepare(s.Caption)
		spans := split(text)
		is, err := labelsOf(s, text, spans)
		if err != nil {
			return nil, failure.Inputf("sentence %d: %w", i+1, err)
		}
		lessons = append(lessons, newLesson(text, spans, is))
		if other, ok := variant(text, spans, is); ok {
			lessons = append(lessons, other)
		}
	}
	sum := newLearner()
	for seed := range learners {
		one := newLearner()
		one.run(lessons, uint64(seed))
		sum.add(one)
	}
	c := sum.chunker()
	c.digest = digest(sentences)
	return c, nil
}

func newLesson(text string, spans []span, is []label) lesson {
	return lesson{features(loadTagger().tag(texts(text, spans))), is}
}

// labelsOf are the right labels of a sentence's words. A word that is partly in a phrase counts as in it.
func labelsOf(s Sentence, text string, spans []span) ([]label, error) {
	is := make([]label, len(spans))
	for i := range is {
		is[i] = apart
	}
	end := 0
	for _, phrase := range s.Phrases {
		phrase = apostrophes.Replace(phrase)
		if text != apostrophes.Replace(s.Caption) {
			phrase = strings.ToLower(phrase) // as prepare did
		}
		at := strings.Index(text[end:], phrase)
		if at < 0 || phrase == "" {
			return nil, fmt.Errorf("the phrase %q does not stand in the caption %q, after the phrases before it",
				phrase, s.Caption)
		}
		start := end + at
		end = start + len(phrase)
		next := begins
		for i, span := range spans {
			if span.start < end && span.end > start {
				is[i], next = next, continues
			}
		}
	}
	return is, nil
}

// digest is a SHA-256 of sentences, each part preceded by its length.
func digest(sentences []Sentence) (sum [32]byte) {
	h := sha256.New()
	part := func(text string) { fmt.Fprintf(h, "%d:%s", len(text), text) }
	for _, s := range sentences {
		part(s.Caption)
		fmt.Fprintf(h, "%d:", len(s.Phrases))
		for _, phrase := range s.Phrases {
			part(phrase)
		}
	}
	h.Sum(sum[:0])
	return sum
}

// learner is a perceptron and the sums of its weights over all steps.
type learner struct {
	words     []scores
	chain     chain
	sums      [][labels]int64
	chainSums [labels + 1][labels + 1][labels]int64
}

func newLearner() *learner {
	return &learner{words: make([]scores, 1<<tableBits), sums: make([][labels]int64, 1<<tableBits)}
}

func (p *learner) run(lessons []lesson, seed uint64) {
	order := make([]int, len(lessons))
	for i := range order {
		order[i] = i
	}
	left := int64(rounds * len(lessons)) // the steps for which a change counts
	for round := range rounds {
		key := func(i int) uint64 { return mix(mix(mix(seed)^uint64(round)) ^ uint64(i)) }
		slices.SortFunc(order, func(i, j int) int { return cmp.Compare(key(i), key(j)) })
		for _, i := range order {
			p.step(lessons[i], left)
			left--
		}
	}
}

func (p *learner) step(l lesson, left int64) {
	emitted := make([]scores, len(l.features))
	for i, rows := range l.features {
		for _, row := range rows {
			for k, w := range p.words[row] {
				emitted[i][k] += w
			}
		}
	}
	got := best(emitted, &p.chain)
	if slices.Equal(got, l.labels) {
		return
	}
	for i, rows := range l.features {
		if got[i] != l.labels[i] {
			for _, row := range rows {
				p.words[row][l.labels[i]]++
				p.sums[row][l.labels[i]] += left
				p.words[row][got[i]]--
				p.sums[row][got[i]] -= left
			}
		}
	}
	p.reward(l.labels, 1, left)
	p.reward(got, -1, -left)
}

// reward adds to the chain's weights of a path.
func (p *learner) reward(path []label, by int32, sum int64) {
	a, b := labels, labels
	for _, l := range path {
		p.chain[a][b][l] += by
		p.chainSums[a][b][l] += sum
		a, b = b, l
	}
}

// add adds the sums of another learner.
func (p *learner) add(other *learner) {
	for i := range p.sums {
		for l := range labels {
			p.sums[i][l] += other.sums[i][l]
		}
	}
	for a := range p.chainSums {
		for b := range p.chainSums[a] {
			for l := range labels {
				p.chainSums[a][b][l] += other.chainSums[a][b][l]
			}
		}
	}
}

// chunker scales the sums so that the largest weight of a word is 127.
func (p *learner) chunker() *Chunker {
	c := &Chunker{words: make([][2]int8, 1<<tableBits)}
	top := int64(1)
	for _, s := range p.sums {
		for _, l := range []label{begins, continues} {
			top = max(top, s[l]-s[apart], s[apart]-s[l])
		}
	}
	scale := func(sum int64) int64 { // rounds halves up
		x, half := sum*math.MaxInt8*2+top, top*2
		return (x - (x%half+half)%half) / half
	}
	for i, s := range p.sums {
		c.words[i] = [2]int8{int8(scale(s[begins] - s[apart])), int8(scale(s[continues] - s[apart]))}
	}
	for a := range p.chainSums {
		for b := range p.chainSums[a] {
			for l, sum := range p.chainSums[a][b] {
				c.chain[a][b][l] = int32(scale(sum))
			}
		}
	}
	return c
}
