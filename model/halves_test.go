package model

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
)

// What backward computes again is what was there: gradients are equal bit for bit. Over single operations they differ by rounding alone.
func TestHalvesGiveTheSameBitsAgain(t *testing.T) {
	m := openModel(t, tinyRecipe(t, tinyLanguage, tinyVision), OpenOptions{Seed: 1, Trains: func(part, _ string) bool { return part != recipes.PartVision }})
	for _, wanted := range [][]int64{{0, 2, 4, 5}, {2, 3, 5}, {5, 3}, {2}} { // from the first positions on, later ones, in any order, none of a sample
		t.Run(fmt.Sprint(wanted), func(t *testing.T) { sameBitsAgain(t, m, wanted) })
	}
}

func sameBitsAgain(t *testing.T, m *LLaVA, wanted []int64) {
	run := func(recompute nn.Recompute) map[string][]float32 {
		in := flat([]int64{1, -1, 2, 3}, []int64{4, 5, 6})
		in.Wanted = wanted
		in.Recompute = recompute
		do(t, func(s *torch.Scope) {
			pass := m.Forward(s, in)
			weights := torch.Empty(s, pass.Hidden.Shape(), torch.Float32, torch.CPU)
			weights.FillNormal(1, 3)
			product := torch.Mul(s, pass.Hidden, weights)
			pass.Backward(s, torch.MatMul(s, torch.Reshape(s, product, 1, -1), torch.Ones(s, []int64{product.Elements(), 1}, torch.Float32, torch.CPU)))
		})
		all := gradients(t, m)
		do(t, func(s *torch.Scope) {
			for _, p := range m.Trainable() {
				p.Gradient(s).Zero()
			}
		})
		return all
	}
	want := run(nn.RecomputeNothing)
	for _, recompute := range []nn.Recompute{nn.RecomputeSelective, nn.RecomputeLayers} {
		if diff := cmp.Diff(want, run(recompute)); diff != "" {
			t.Errorf("%s:\n%s", recompute, diff)
		}
	}
	defer torch.SetFused(torch.SetFused(false))
	for name, values := range run(nn.RecomputeNothing) {
		within(t, name, values, want[name], 1e-4*largestDifference(want[name], make([]float32, len(values))))
	}
}

func TestQueryBorders(t *testing.T) {
	starts := []int64{0, 4, 7, 12}
	for _, c := range []struct{ wanted, borders, rows []int64 }{
		{[]int64{0, 5, 7, 9}, []int64{0, 4, 6, 11}, []int64{0, 4, 6, 8}},
		{[]int64{2, 3, 11}, []int64{0, 2, 3, 4}, []int64{0, 1, 3}},
		{[]int64{10, 6, 5}, []int64{0, 1, 3, 5}, []int64{3, 2, 1}},
		{[]int64{}, []int64{0, 1, 2, 3}, []int64{}},
	} {
		borders := QueryBorders(starts, c.wanted)
		if rows := rowsAmong(starts, borders, c.wanted); !slices.Equal(borders, c.borders) || !slices.Equal(rows, c.rows) {
			t.Errorf("%v: borders %v, rows %v; want %v, %v", c.wanted, borders, rows, c.borders, c.rows)
		}
	}
}
