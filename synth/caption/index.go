package caption

import (
	"cmp"
	"encoding/binary"
	"hash/maphash"
	"slices"
)

// index holds the ids of captions and the normal forms of their phrases, both numbered in the order of their arrival.
type index struct {
	ids     texts
	phrases texts
	numbers map[uint64]uint32 // of phrases, by their hash, or a number above it where texts share one
	counts  []uint32          // by phrase: in how many captions it is
	pairs   [][]pair          // each full but the last, so that none is ever copied
	seed    maphash.Seed
}

type pair struct{ caption, phrase uint32 }

const pairsInBlock = 1 << 17

func newIndex() *index { return &index{numbers: map[uint64]uint32{}, seed: maphash.MakeSeed()} }

// captions is their number.
func (x *index) captions() int { return len(x.ids.places) }

// addPhrases notes the phrases of a caption, given as normal forms. One that is "" does not count, and one that comes
// twice counts once.
func (x *index) addPhrases(caption uint32, forms []string) {
	for i, form := range forms {
		if form == "" || slices.Contains(forms[:i], form) {
			continue
		}
		phrase := x.number(form)
		x.counts[phrase]++
		last := len(x.pairs) - 1
		if last < 0 || len(x.pairs[last]) == pairsInBlock {
			x.pairs = append(x.pairs, make([]pair, 0, pairsInBlock))
			last++
		}
		x.pairs[last] = append(x.pairs[last], pair{caption, phrase})
	}
}

func (x *index) number(form string) uint32 {
	for hash := maphash.String(x.seed, form); ; hash++ {
		number, ok := x.numbers[hash]
		if !ok {
			number = x.phrases.add(form)
			x.numbers[hash], x.counts = number, append(x.counts, 0)
			return number
		}
		if x.phrases.at(number) == form {
			return number
		}
	}
}

// texts is a list of strings in few large blocks, so that millions cost little and are never copied.
type texts struct {
	blocks [][]byte
	places []uint64 // the block and the byte in it: there the length stands, then the text
}

const textBlock = 1 << 20

func (t *texts) add(text string) (number uint32) {
	last := len(t.blocks) - 1
	if need := binary.MaxVarintLen64 + len(text); last < 0 || cap(t.blocks[last])-len(t.blocks[last]) < need {
		t.blocks = append(t.blocks, make([]byte, 0, max(textBlock, need)))
		last++
	}
	block := t.blocks[last]
	t.places = append(t.places, uint64(last)<<32|uint64(len(block)))
	t.blocks[last] = append(binary.AppendUvarint(block, uint64(len(text))), text...)
	return uint32(len(t.places) - 1)
}

func (t *texts) at(number uint32) string {
	place := t.places[number]
	text := t.blocks[place>>32][uint32(place):]
	length, n := binary.Uvarint(text)
	return string(text[n : n+int(length)])
}

// finder finds captions by their id. Of several with the same id it finds each once, in their order.
type finder struct {
	ids     *texts
	entries []idEntry // sorted
	taken   []uint32  // by the first entry of an id: how many have been found
	seed    maphash.Seed
}

type idEntry struct {
	hash    uint64
	caption uint32
}

func newFinder(ids *texts) *finder {
	f := &finder{ids: ids, entries: make([]idEntry, len(ids.places)), taken: make([]uint32, len(ids.places)),
		seed: maphash.MakeSeed()}
	for i := range f.entries {
		f.entries[i] = idEntry{maphash.String(f.seed, ids.at(uint32(i))), uint32(i)}
	}
	slices.SortFunc(f.entries, func(a, b idEntry) int {
		if c := cmp.Compare(a.hash, b.hash); c != 0 {
			return c
		}
		return cmp.Or(cmp.Compare(ids.at(a.caption), ids.at(b.caption)), cmp.Compare(a.caption, b.caption))
	})
	return f
}

func (f *finder) find(id string) (caption uint32, ok bool) {
	hash := maphash.String(f.seed, id)
	first, ok := slices.BinarySearchFunc(f.entries, hash, func(e idEntry, hash uint64) int {
		if c := cmp.Compare(e.hash, hash); c != 0 {
			return c
		}
		return cmp.Compare(f.ids.at(e.caption), id)
	})
	if !ok {
		return 0, false
	}
	next := first + int(f.taken[first])
	if next == len(f.entries) || f.ids.at(f.entries[next].caption) != id {
		return 0, false
	}
	f.taken[first]++
	return f.entries[next].caption, true
}
