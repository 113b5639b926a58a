package caption

import "slices"

// index collects the ids of captions and the normal forms of their phrases, both numbered in the order of their
// arrival.
type index struct {
	ids     texts
	phrases texts
	table   table    // of phrases
	counts  []uint32 // by phrase: in how many captions it is
	latest  []uint32 // by phrase: the caption that it was last added for
	pairs   [][]pair // each full but the last, so that none is ever copied
}

type pair struct{ caption, phrase uint32 }

const pairsInBlock = 1 << 17

func newIndex() *index { return &index{table: newTable(0)} }

// captions is their number.
func (x *index) captions() int { return len(x.ids.places) }

// addPhrases notes all phrases of a caption, given as normal forms. One that is "" does not count, and one that comes
// twice counts once.
func (x *index) addPhrases(caption uint32, forms []string) {
	for _, form := range forms {
		if form == "" {
			continue
		}
		phrase := x.number(form)
		if x.counts[phrase] > 0 && x.latest[phrase] == caption {
			continue
		}
		x.counts[phrase]++
		x.latest[phrase] = caption
		last := len(x.pairs) - 1
		if last < 0 || len(x.pairs[last]) == pairsInBlock {
			x.pairs = append(x.pairs, make([]pair, 0, pairsInBlock))
			last++
		}
		x.pairs[last] = append(x.pairs[last], pair{caption, phrase})
	}
}

// number is that of a phrase, a new one if it is new.
func (x *index) number(form string) uint32 {
	if n := len(x.counts); n == x.table.room() {
		x.table = newTable(2 * n)
		for i := range n {
			*x.table.slot(&x.phrases, x.phrases.at(uint32(i))) = uint32(i + 1)
		}
	}
	slot := x.table.slot(&x.phrases, form)
	if *slot == 0 {
		*slot = x.phrases.add(form) + 1
		x.counts, x.latest = append(x.counts, 0), append(x.latest, 0)
	}
	return *slot - 1
}

// groups are the captions of an index by their phrases.
type groups struct {
	ids     texts
	phrases texts
	counts  []uint32 // by phrase: in how many captions it is
	starts  []int    // by phrase: where its captions stand in places; and the end of the last
	places  []uint32 // captions, of each phrase in the order of the files
}

// group uses the index up, to free the memory that only adding needs.
func (x *index) group() *groups {
	g := &groups{ids: x.ids, phrases: x.phrases, counts: x.counts, starts: make([]int, len(x.counts)+1)}
	blocks := x.pairs
	*x = index{}
	for phrase, n := range g.counts {
		g.starts[phrase+1] = g.starts[phrase] + int(n)
	}
	g.places = make([]uint32, g.starts[len(g.counts)])
	for _, block := range blocks {
		for _, p := range block {
			g.places[g.starts[p.phrase]] = p.caption
			g.starts[p.phrase]++ // at the end it is the start of the next
		}
	}
	copy(g.starts[1:], g.starts)
	g.starts[0] = 0
	for phrase := range g.counts {
		slices.Sort(g.captions(uint32(phrase)))
	}
	return g
}

// captions are those of a phrase.
func (g *groups) captions(phrase uint32) []uint32 {
	return g.places[g.starts[phrase]:g.starts[phrase+1]]
}
