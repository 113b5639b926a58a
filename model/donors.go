package model

import (
	"container/list"
	"crypto/sha256"
	"encoding/binary"
)

// donor is an extent whose keys and values can begin another prompt: of an answer that has ended, or is in progress.
type donor struct {
	extent
	holds   []held // of the positions that are computed
	blocks  []tileHash
	running bool // its extent belongs to an answer in progress
	order   *list.Element
}

// donors finds the longest computed beginning of a prompt. Those of ended answers are evicted, the longest unused
// first, when their rows are needed.
type donors struct {
	arena  *arena
	blocks map[tileHash]*donor // by the hash of all contents up to the end of a block of grain positions
	idle   *list.List          // of ended answers, the longest unused first
}

func newDonors(a *arena) *donors {
	return &donors{arena: a, blocks: map[tileHash]*donor{}, idle: list.New()}
}

// chain is the hashes of the beginnings of contents, for every whole block.
func chain(holds []held) (hashes []tileHash) {
	h := sha256.New()
	var room []byte
	for i, c := range holds {
		room = binary.LittleEndian.AppendUint64(room[:0], uint64(c.id))
		room = binary.LittleEndian.AppendUint64(room, uint64(c.row))
		h.Write(append(room, c.tile[:]...))
		if (i+1)%grain == 0 {
			hashes = append(hashes, tileHash(h.Sum(nil)))
		}
	}
	return hashes
}

// find returns the donor with the longest beginning in common, and how many positions that is: whole blocks are looked
// up, and then positions compared.
func (d *donors) find(holds []held, blocks []tileHash) (best *donor, common int) {
	for i := len(blocks) - 1; i >= 0; i-- {
		found := d.blocks[blocks[i]]
		if found == nil {
			continue
		}
		n := 0
		for n < min(len(holds), len(found.holds)) && holds[n] == found.holds[n] {
			n++
		}
		return found, n
	}
	return nil, 0
}

// add makes an extent findable by what its positions hold.
func (d *donors) add(x *donor) {
	x.blocks = chain(x.holds)
	for _, b := range x.blocks {
		d.blocks[b] = x // the newest one is found: it is evicted last
	}
}

// end says that a donor's answer has ended: its extent stays until its rows are needed.
func (d *donors) end(x *donor) {
	x.running = false
	x.order = d.idle.PushBack(x)
}

// used says that a donor has just been of use.
func (d *donors) used(x *donor) {
	if x.order != nil {
		d.idle.MoveToBack(x.order)
	}
}

// take reserves an extent, evicting as many donors as it needs, but not keep.
func (d *donors) take(positions int64, keep *donor) (extent, bool) {
	for {
		if e, ok := d.arena.take(positions); ok {
			return e, true
		}
		next := d.idle.Front()
		if next != nil && next.Value.(*donor) == keep {
			next = next.Next()
		}
		if next == nil {
			return extent{}, false
		}
		d.evict(next.Value.(*donor))
	}
}

// evict forgets a donor and returns its rows.
func (d *donors) evict(x *donor) {
	d.forget(x)
	d.arena.give(x.extent)
}

// forget makes a donor unfindable.
func (d *donors) forget(x *donor) {
	if x.order != nil {
		d.idle.Remove(x.order)
		x.order = nil
	}
	for _, b := range x.blocks {
		if d.blocks[b] == x {
			delete(d.blocks, b)
		}
	}
	x.blocks = nil
}

// clear evicts all donors that are not in use.
func (d *donors) clear() {
	for d.idle.Len() > 0 {
		d.evict(d.idle.Front().Value.(*donor))
	}
}
