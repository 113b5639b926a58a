package nn

import (
	"slices"
	"testing"

	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/model/torch/torchtest"
)

// adapted is maps of 4 columns with adapters that drop half of what they read.
func adapted(t *testing.T, names ...string) (maps []*Linear) {
	t.Helper()
	torchtest.NoLeaks(t)
	ps := NewParams()
	for _, name := range names {
		l := NewLinear(ps.Root("language", "").Sub(name), 4, 1, false, Init{})
		l.Adapt(LoRA{Rank: 1, Alpha: 1, Dropout: 0.5})
		maps = append(maps, l)
	}
	place(t, ps, torch.Float32, func(*Param) bool { return false })
	return maps
}

// kept is which elements of [rows,4] a map's adapter reads.
func kept(t *testing.T, l *Linear, rows int64, keys DropoutKeys) (indices []int) {
	t.Helper()
	do(t, func(s *torch.Scope) {
		ones := torch.Ones(s, []int64{rows, 4}, torch.Float32, torch.CPU)
		for i, x := range torch.Read[float32](l.adapter.drop(s, ones, keys)) {
			if x != 0 {
				indices = append(indices, i)
			}
		}
	})
	return indices
}

// Runs that exist drop by these masks: they follow from a key and the name of the map.
func TestAdapterDropoutIsPinned(t *testing.T) {
	maps := adapted(t, "q_proj", "v_proj")
	keys := DropoutKeys{Keys: []uint64{1, 2}, Starts: []int64{0, 1, 4}}
	for i, want := range [][]int{{1, 5, 6, 7, 9, 10, 13, 15}, {1, 4, 5, 6, 8, 9, 10, 11, 12, 13, 15}} {
		if got := kept(t, maps[i], 4, keys); !slices.Equal(got, want) {
			t.Errorf("%s reads %v, want %v", maps[i].Name(), got, want)
		}
	}
}

func TestKeysWithoutStartsShareTheRowsEvenly(t *testing.T) {
	l := adapted(t, "q_proj")[0]
	keys := []uint64{3, 4, 5}
	want := kept(t, l, 6, DropoutKeys{Keys: keys, Starts: []int64{0, 2, 4, 6}})
	if got := kept(t, l, 6, DropoutKeys{Keys: keys}); !slices.Equal(got, want) {
		t.Errorf("%v is read, and with starts %v", got, want)
	}
}

func TestNothingIsDroppedWithoutKeys(t *testing.T) {
	l := adapted(t, "q_proj")[0]
	if got := kept(t, l, 3, DropoutKeys{Starts: []int64{0, 3}}); len(got) != 12 || l.Drops(DropoutKeys{}) {
		t.Errorf("%v of 12 elements are read; drops: %v", got, l.Drops(DropoutKeys{}))
	}
	if !l.Drops(DropoutKeys{Keys: []uint64{1}}) {
		t.Error("with a key nothing is dropped")
	}
	bare := NewLinear(NewParams().Root("language", ""), 4, 1, false, Init{})
	if bare.Drops(DropoutKeys{Keys: []uint64{1}}) {
		t.Error("a map without an adapter drops something")
	}
}
