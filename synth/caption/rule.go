package caption

import (
	"bytes"
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

// choice is what a rule keeps.
type choice struct {
	*groups
	rule  Rule
	order []uint32 // phrases in at least Min captions, from the rarest on, equally common ones by their bytes
	kept  []bool   // by caption
	count int      // of kept ones
}

// choose applies a rule. The result depends on neither the order in which phrases were added nor that of a caption's
// phrases.
func (g *groups) choose(rule Rule) *choice {
	c := &choice{groups: g, rule: rule, kept: make([]bool, len(g.ids.places))}
	for phrase, n := range g.counts {
		if int(n) >= rule.Min {
			c.order = append(c.order, uint32(phrase))
		}
	}
	slices.SortFunc(c.order, func(a, b uint32) int {
		return cmp.Or(cmp.Compare(g.counts[a], g.counts[b]), bytes.Compare(g.phrases.bytes(a), g.phrases.bytes(b)))
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

// chosen are the captions that a phrase chooses, in the order of the files: none of fewer than Min, all, or the Cap
// with the smallest first eight bytes of
//
//	SHA-256(seed 0 phrase 0 id)
//
// with the seed in decimal, and equal ones by their ids.
func (c *choice) chosen(phrase uint32) []uint32 {
	all := c.captions(phrase)
	if len(all) < c.rule.Min {
		return nil
	}
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
		sum := sha256.Sum256(append(text, c.ids.bytes(caption)...))
		ranks[i] = ranked{binary.BigEndian.Uint64(sum[:]), caption}
	}
	slices.SortFunc(ranks, func(a, b ranked) int {
		if order := cmp.Compare(a.hash, b.hash); order != 0 {
			return order
		}
		return cmp.Or(bytes.Compare(c.ids.bytes(a.caption), c.ids.bytes(b.caption)), cmp.Compare(a.caption, b.caption))
	})
	chosen := make([]uint32, c.rule.Cap)
	for i := range chosen {
		chosen[i] = ranks[i].caption
	}
	slices.Sort(chosen)
	return chosen
}
