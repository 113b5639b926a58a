package shapes

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestStreamIsAPureFunctionOfSeedSetAndIndex(t *testing.T) {
	want := trainingScene(newStream(7, "finetune", 12))
	if got := trainingScene(newStream(7, "finetune", 12)); describe(got.objects) != describe(want.objects) ||
		got.look != want.look {
		t.Errorf("the same item was drawn twice: %v, then %v", want, got)
	}
	for name, other := range map[string]*stream{
		"seed":  newStream(8, "finetune", 12),
		"set":   newStream(7, "pretrain", 12),
		"index": newStream(7, "finetune", 13),
	} {
		if trainingScene(other).look == want.look {
			t.Errorf("another %s gives the same picture", name)
		}
	}
}

func TestStreamIsUniform(t *testing.T) {
	const draws = 60000
	r, counts := newStream(1, "uniform", 0), make([]int, 6)
	for range draws {
		counts[r.intN(6)]++
	}
	for value, n := range counts {
		if n < draws/6-500 || n > draws/6+500 { // over five standard deviations
			t.Errorf("value %d was drawn %d times of %d", value, n, draws)
		}
	}
}

func TestScenes(t *testing.T) {
	tests := []struct {
		name   string
		draw   func(*stream) scene
		unseen bool
	}{{"training", trainingScene, false}, {"unseen", unseenScene, true}}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			counts, pairs := map[int]int{}, map[pair]bool{}
			for i := range 4000 {
				s := test.draw(newStream(3, test.name, i))
				checkScene(t, s)
				if hasHeld := slices.ContainsFunc(s.objects, object.isHeldOut); hasHeld != test.unseen {
					t.Fatalf("scene %q: has a held-out pair: %v", describe(s.objects), hasHeld)
				}
				counts[len(s.objects)]++
				for _, o := range s.objects {
					pairs[o.pair] = true
				}
			}
			if counts[1] < 600 || counts[2] < 1200 || counts[3] < 1200 || counts[1]+counts[2]+counts[3] != 4000 {
				t.Errorf("numbers of objects: %v", counts)
			}
			want := len(colors)*len(shapes) - len(heldOut)
			if test.unseen {
				want = len(colors) * len(shapes)
			}
			if len(pairs) != want {
				t.Errorf("%d different pairs occur, want %d", len(pairs), want)
			}
		})
	}
}

func (o object) isHeldOut() bool { return slices.Contains(heldOut, o.pair) }

func checkScene(t *testing.T, s scene) {
	t.Helper()
	for i, a := range s.objects {
		for _, b := range s.objects[:i] {
			if a.color == b.color || a.shape == b.shape || a.position <= b.position {
				t.Fatalf("scene %q: objects are not distinct or not in reading order", describe(s.objects))
			}
		}
	}
}

func TestHeldOutPairsLeaveEveryColorAndShapeFamiliar(t *testing.T) {
	seen := map[string]int{}
	for _, p := range trainingPairs {
		seen[p.color]++
		seen[p.shape]++
	}
	for _, c := range colors {
		if seen[c] < len(shapes)-1 {
			t.Errorf("color %q has only %d shapes in training", c, seen[c])
		}
	}
	for _, s := range shapes {
		if seen[s] < len(colors)-2 {
			t.Errorf("shape %q has only %d colors in training", s, seen[s])
		}
	}
}

func TestDescribe(t *testing.T) {
	got := describe([]object{{pair{"orange", "star"}, 0}, {pair{"red", "circle"}, 3}})
	if diff := cmp.Diff("an orange star in the top left and a red circle in the bottom right", got); diff != "" {
		t.Error(diff)
	}
}
