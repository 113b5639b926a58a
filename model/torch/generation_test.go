package torch_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/model/torch/torchtest"
)

// generationDtypes are the dtypes of generation on a CPU and how exact each is.
var generationDtypes = []struct {
	dtype     torch.Dtype
	tolerance float64
}{{torch.Float32, 2e-6}, {torch.BFloat16, 2e-2}}

// The new positions of samples in an arena with gaps see what the last rows of attention over each sample alone see,
// whatever the pieces are, the heads, the window and the dtype, and with our kernels and without.
func TestExtentsAttentionIsTheLastRowsOfAttention(t *testing.T) {
	torchtest.NoLeaks(t)
	rapid.Check(t, func(rt *rapid.T) {
		groups, d := rapid.Int64Range(1, 3).Draw(rt, "groups"), rapid.SampledFrom([]int64{4, 16, 64, 80}).Draw(rt, "d")
		heads, window := groups*rapid.Int64Range(1, 3).Draw(rt, "heads of a group"),
			rapid.SampledFrom([]int64{0, 1, 5, 40}).Draw(rt, "window")
		kind := rapid.SampledFrom(generationDtypes).Draw(rt, "dtype")
		fused := rapid.Bool().Draw(rt, "fused")
		defer torchtest.SetFused(torchtest.SetFused(fused))
		var e torch.Extents
		e.Borders = []int64{0}
		rows := int64(0)
		for range rapid.IntRange(1, 4).Draw(rt, "samples") {
			length := rapid.Int64Range(1, 60).Draw(rt, "length")
			queries := rapid.Int64Range(1, length).Draw(rt, "queries")
			rows += rapid.Int64Range(0, 9).Draw(rt, "gap")
			e.Places, e.Lengths = append(e.Places, rows), append(e.Lengths, length)
			e.Borders = append(e.Borders, e.Borders[len(e.Borders)-1]+queries)
			rows += length
		}
		do(t, func(s *torch.Scope) {
			e.Rows = torch.From(s, []int64{0}, []int64{1}, torch.CPU)
			n := e.Borders[len(e.Borders)-1]
			make := func(rows, heads int64, seed uint64) *torch.Tensor {
				return tensor(s, numbers(int(rows*heads*d), seed), kind.dtype, rows, heads, d)
			}
			q, k, v := make(n, heads, 1), make(rows+5, groups, 2), make(rows+5, groups, 3)
			got := torch.ExtentsAttention(s, q, k, v, e, window)
			for i, length := range e.Lengths {
				own := func(x *torch.Tensor) *torch.Tensor {
					return torch.To(s, torch.Narrow(s, x, 0, e.Places[i], length), torch.Float32)
				}
				count := e.Borders[i+1] - e.Borders[i]
				mine := torch.To(s, torch.Narrow(s, q, 0, e.Borders[i], count), torch.Float32)
				if count < length { // earlier positions, of which the result is not used
					before := torch.Zeros(s, []int64{length - count, heads, d}, torch.Float32, torch.CPU)
					mine = torch.Cat(s, 0, before, mine)
				}
				whole := torch.WindowAttention(s, mine, own(k), own(v), []int64{0, length}, window)
				near(t, fmt.Sprintf("sample %d", i), read(s, torch.Narrow(s, got, 0, e.Borders[i], count)),
					read(s, torch.Narrow(s, whole, 0, length-count, count)), kind.tolerance)
			}
		})
	})
	fault(t, func(s *torch.Scope) { // the second sample ends behind the arena
		torch.ExtentsAttention(s, ones(s, 2, 1, 4), ones(s, 5, 1, 4), ones(s, 5, 1, 4),
			torch.Extents{Borders: []int64{0, 1, 2}, Places: []int64{0, 3}, Lengths: []int64{2, 3}, Rows: ones(s, 1)},
			0)
	})
}

func TestProductOfFewRows(t *testing.T) {
	torchtest.NoLeaks(t)
	rapid.Check(t, func(rt *rapid.T) {
		m, n, k := rapid.Int64Range(1, 40).Draw(rt, "m"), rapid.Int64Range(1, 70).Draw(rt, "n"),
			rapid.Int64Range(1, 90).Draw(rt, "k")
		kind := rapid.SampledFrom(generationDtypes).Draw(rt, "dtype")
		do(t, func(s *torch.Scope) {
			x := tensor(s, numbers(int(m*k), 1), kind.dtype, m, k)
			w := tensor(s, numbers(int(n*k), 2), kind.dtype, n, k)
			got := torch.Product(s, x, w)
			want := torch.Linear(s, torch.To(s, x, torch.Float64), torch.To(s, w, torch.Float64), nil)
			near(t, "product", read(s, got), read(s, want), kind.tolerance*4)
			// the bits of a row do not depend on how many others there are
			row := rapid.Int64Range(0, m-1).Draw(rt, "row")
			if few := int64(32); m <= few {
				alone := torch.Product(s, torch.Narrow(s, x, 0, row, 1), w)
				near(t, "row alone", read(s, torch.Narrow(s, got, 0, row, 1)), read(s, alone), 0)
			}
		})
	})
}

func TestRowsOfAnArena(t *testing.T) {
	torchtest.NoLeaks(t)
	do(t, func(s *torch.Scope) {
		arena := torch.Zeros(s, []int64{6, 2, 3}, torch.Float32, torch.CPU)
		x := tensor(s, numbers(12, 1), torch.Float32, 2, 2, 3)
		torch.PutRows(arena, torch.From(s, []int64{4, 1}, []int64{2}, torch.CPU), x)
		torch.MoveRows(arena, 4, 0, 1)
		got, own := read(s, arena), read(s, x)
		near(t, "row 4", got[24:30], own[:6], 0)
		near(t, "row 1", got[6:12], own[6:], 0)
		near(t, "row 0, moved", got[:6], own[:6], 0)
		near(t, "row 2", got[12:18], make([]float64, 6), 0)
	})
	for _, row := range []int64{-1, 6} {
		fault(t, func(s *torch.Scope) {
			arena := torch.Zeros(s, []int64{6, 2, 3}, torch.Float32, torch.CPU)
			torch.PutRows(arena, torch.From(s, []int64{row}, []int64{1}, torch.CPU), ones(s, 1, 2, 3))
		})
	}
}

// BenchmarkProduct reads weights of 64 MB; the second figure is the speed of that.
func BenchmarkProduct(b *testing.B) {
	for _, dtype := range []torch.Dtype{torch.Float32, torch.BFloat16} {
		for _, m := range []int64{1, 2, 4, 8, 16, 32, 64} {
			b.Run(fmt.Sprintf("%v/%d", dtype, m), func(b *testing.B) {
				do(b, func(s *torch.Scope) {
					const n, k = 16384, 1024
					values := make([]float64, n*k)
					for i := range values {
						values[i] = rand.NormFloat64()
					}
					x, w := tensor(s, values[:m*k], dtype, m, k), tensor(s, values, dtype, n, k)
					b.SetBytes(n * k * int64(dtype.Size()))
					for b.Loop() {
						s.Sub(func(s *torch.Scope) *torch.Tensor { torch.Product(s, x, w); return nil })
					}
				})
			})
		}
	}
}
