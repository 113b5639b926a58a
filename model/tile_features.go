package model

import (
	"container/list"

	"github.com/llavatrain/llavatrain/model/torch"
)

// tileFeatures keeps what tower and projector made of the tiles that were last asked about, by their pixels.
type tileFeatures struct {
	room  int64 // bytes
	used  int64
	kept  map[tileHash]*list.Element // of *keptTile
	order *list.List                 // the longest unused first
}

type keptTile struct {
	hash tileHash
	rows *torch.Tensor // [N,D], owned
	size int64
}

func newTileFeatures(room int64) *tileFeatures {
	return &tileFeatures{room: room, kept: map[tileHash]*list.Element{}, order: list.New()}
}

// of returns the features of a prompt's tiles, [tiles*N,D]. Tiles that are not kept are computed, together.
func (f *tileFeatures) of(s *torch.Scope, m *LLaVA, in Input, tiles []tileHash) *torch.Tensor {
	size := len(in.Pixels) / len(tiles)
	var missing []uint8
	var made []tileHash
	seen := map[tileHash]bool{}
	for i, hash := range tiles {
		if f.kept[hash] == nil && !seen[hash] {
			seen[hash] = true
			missing, made = append(missing, in.Pixels[i*size:][:size]...), append(made, hash)
		}
	}
	fresh := map[tileHash]*torch.Tensor{}
	if len(made) > 0 {
		all := m.project(s, Input{Pixels: missing}) // [made*N,D]
		n := all.Size(0) / int64(len(made))
		for i, hash := range made {
			fresh[hash] = torch.Narrow(s, all, 0, int64(i)*n, n) // [N,D]
		}
	}
	rows := make([]*torch.Tensor, len(tiles))
	for i, hash := range tiles {
		if e := f.kept[hash]; e != nil {
			f.order.MoveToBack(e)
			rows[i] = e.Value.(*keptTile).rows
		} else {
			rows[i] = fresh[hash]
		}
	}
	out := torch.Cat(s, 0, rows...) // [tiles*N,D]
	for _, hash := range made {
		f.keep(s, hash, fresh[hash])
	}
	return out
}

// keep adds a copy, and drops the longest unused ones that no longer fit.
func (f *tileFeatures) keep(s *torch.Scope, hash tileHash, rows *torch.Tensor) {
	size := rows.Elements() * int64(rows.Dtype().Size())
	if size > f.room {
		return
	}
	for f.used+size > f.room {
		f.drop(f.order.Front())
	}
	copied := torch.Own(torch.Cat(s, 0, rows)) // not a view, which would keep all that was made with it
	f.kept[hash] = f.order.PushBack(&keptTile{hash, copied, size})
	f.used += size
}

func (f *tileFeatures) drop(e *list.Element) {
	k := f.order.Remove(e).(*keptTile)
	delete(f.kept, k.hash)
	f.used -= k.size
	k.rows.Free()
}

// clear frees everything.
func (f *tileFeatures) clear() {
	for f.order.Len() > 0 {
		f.drop(f.order.Front())
	}
}
