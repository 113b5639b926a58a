package caption

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strconv"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// Rule says which captions are kept. LLaVA's is Min 3 and Cap 100.
type Rule struct {
	Seed  uint64
	Min   int // phrases in fewer captions are passed over
	Cap   int // of a phrase in more captions than this, as many are chosen
	Limit int // of kept captions; 0: none
}

func (r Rule) check() error {
	switch {
	case r.Min < 1:
		return failure.Inputf("min is %d; it must be at least 1", r.Min)
	case r.Cap < 1:
		return failure.Inputf("cap is %d; it must be at least 1", r.Cap)
	case r.Limit < 0:
		return failure.Inputf("limit is %d; it must be at least 1, or 0 for none", r.Limit)
	}
	return nil
}

// choice is what a rule keeps of an index.
type choice struct {
	*index
	rule   Rule
	starts []int    // of each phrase's captions, and the end of the last
	places []uint32 // the captions of phrases in at least Min of them, phrase by phrase, ascending
	order  []uint32 // those phrases, from the rarest to the commonest, equally common ones by their bytes
	kept   []bool   // by caption
	count  int      // of kept ones
}

// choose applies a rule. The result depends on neither the order in which phrases were added nor that of their
// captions' phrases.
func (x *index) choose(rule Rule) *choice {
	c := &choice{index: x, rule: rule, kept: make([]bool, x.captions())}
	c.group()
	slices.SortFunc(c.order, func(a, b uint32) int {
		return cmp.Or(cmp.Compare(x.counts[a], x.counts[b]), cmp.Compare(x.phrases.at(a), x.phrases.at(b)))
	})
	for _, phrase := range c.order {
		for _, caption := range c.chosen(phrase) {
			if c.kept[caption] {
				continue
			}
			if c.count == rule.Limit && rule.Limit > 0 {
				return c
			}
			c.kept[caption] = true
			c.count++
		}
	}
	return c
}

// group collects the captions of every phrase that is in enough of them.
func (c *choice) group() {
	c.starts = make([]int, len(c.counts)+1)
	for phrase, n := range c.counts {
		c.starts[phrase+1] = c.starts[phrase]
		if int(n) >= c.rule.Min {
			c.starts[phrase+1] += int(n)
			c.order = append(c.order, uint32(phrase))
		}
	}
	c.places = make([]uint32, c.starts[len(c.counts)])
	next := make([]uint32, len(c.counts)) // how many of each phrase are in place
	for _, block := range c.pairs {
		for _, p := range block {
			if int(c.counts[p.phrase]) >= c.rule.Min {
				c.places[c.starts[p.phrase]+int(next[p.phrase])] = p.caption
				next[p.phrase]++
			}
		}
	}
	for _, phrase := range c.order {
		slices.Sort(c.all(phrase))
	}
}

// all are the captions of a phrase, in the order of the files; none if they are too few.
func (c *choice) all(phrase uint32) []uint32 { return c.places[c.starts[phrase]:c.starts[phrase+1]] }

// chosen are the captions that a phrase chooses, in the order of the files: all, or the Cap with the smallest first
// eight bytes of
//
//	SHA-256(seed 0 phrase 0 id)
//
// with the seed in decimal, and equal ones by their ids.
func (c *choice) chosen(phrase uint32) []uint32 {
	all := c.all(phrase)
	if len(all) <= c.rule.Cap {
		return all
	}
	type ranked struct {
		hash    uint64
		caption uint32
	}
	text := append(strconv.AppendUint(nil, c.rule.Seed, 10), 0)
	text = append(append(text, c.phrases.at(phrase)...), 0)
	ranks := make([]ranked, len(all))
	for i, caption := range all {
		sum := sha256.Sum256(append(text, c.ids.at(caption)...))
		ranks[i] = ranked{binary.BigEndian.Uint64(sum[:]), caption}
	}
	slices.SortFunc(ranks, func(a, b ranked) int {
		if order := cmp.Compare(a.hash, b.hash); order != 0 {
			return order
		}
		return cmp.Or(cmp.Compare(c.ids.at(a.caption), c.ids.at(b.caption)), cmp.Compare(a.caption, b.caption))
	})
	chosen := make([]uint32, c.rule.Cap)
	for i := range chosen {
		chosen[i] = ranks[i].caption
	}
	slices.Sort(chosen)
	return chosen
}
