package caption

import (
	"encoding/binary"
	"hash/maphash"
	"math/bits"
)

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

func (t *texts) at(number uint32) string { return string(t.bytes(number)) }

func (t *texts) bytes(number uint32) []byte {
	place := t.places[number]
	text := t.blocks[place>>32][uint32(place):]
	length, n := binary.Uvarint(text)
	return text[n : n+int(length)]
}

// table finds texts of a list by their 64-bit hash. A slot holds the number of a text and 1, or 0.
type table struct {
	slots []uint32 // their number is a power of two
	seed  maphash.Seed
}

// newTable has room for n texts, and for three at least.
func newTable(n int) table {
	return table{make([]uint32, max(4, 1<<bits.Len(uint(n+n/3)))), maphash.MakeSeed()}
}

// room is how many texts the table may hold: three quarters of its slots, so that those without a text end a search.
func (t table) room() int { return len(t.slots) / 4 * 3 }

// slot is where a text is, or the empty one where it belongs.
func (t table) slot(list *texts, text string) *uint32 {
	for i := maphash.String(t.seed, text); ; i++ {
		slot := &t.slots[i&uint64(len(t.slots)-1)]
		if *slot == 0 || string(list.bytes(*slot-1)) == text {
			return slot
		}
	}
}

// finder finds captions by their id. Of several with the same id it finds each once, in their order.
type finder struct {
	ids   *texts
	table table    // for each id the next caption to be found
	next  []uint32 // by caption: the next one with its id, and 1; 0: there is none
	last  []bool   // by caption: it was found, and was the last
}

func newFinder(ids *texts) *finder {
	n := len(ids.places)
	f := &finder{ids: ids, table: newTable(n), next: make([]uint32, n), last: make([]bool, n)}
	for i := n - 1; i >= 0; i-- {
		slot := f.table.slot(ids, ids.at(uint32(i)))
		f.next[i], *slot = *slot, uint32(i+1)
	}
	return f
}

func (f *finder) find(id string) (caption uint32, ok bool) {
	slot := f.table.slot(f.ids, id)
	if *slot == 0 || f.last[*slot-1] {
		return 0, false
	}
	caption = *slot - 1
	if next := f.next[caption]; next > 0 {
		*slot = next
	} else {
		f.last[caption] = true
	}
	return caption, true
}
