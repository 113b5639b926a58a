package torch_test

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/model/torch/torchtest"
)

// dropped is what Dropout leaves of ones.
func dropped(s *torch.Scope, dtype torch.Dtype, columns int64, p float64, keys []uint64, starts []int64) []float64 {
	ones := torch.Ones(s, []int64{starts[len(starts)-1], columns}, dtype, torch.CPU)
	return read(s, torch.Dropout(s, ones, p, keys, starts))
}

// A hash must look like chance: the share of every row and column, and neighbours, keys and rows that know nothing of
// each other.
func TestDropoutLooksLikeChance(t *testing.T) {
	torchtest.NoLeaks(t)
	const rows, columns, p = 400, 500, 0.3
	do(t, func(s *torch.Scope) {
		a := dropped(s, torch.Float32, columns, p, []uint64{1}, []int64{0, rows})
		b := dropped(s, torch.Float32, columns, p, []uint64{2}, []int64{0, rows})
		zero := func(x []float64, i int) float64 {
			if x[i] == 0 {
				return 1
			}
			if math.Abs(x[i]-1/(1-p)) > 1e-6 {
				t.Fatalf("an element is %v, want 0 or %v", x[i], 1/(1-p))
			}
			return 0
		}
		total := 0.
		var ofRow [rows]float64
		var ofColumn [columns]float64
		both := map[string]float64{}
		for i := range a {
			r, c := i/columns, i%columns
			x := zero(a, i)
			total, ofRow[r], ofColumn[c] = total+x, ofRow[r]+x/columns, ofColumn[c]+x/rows
			both["another key"] += x * zero(b, i)
			both["the next row"] += x * zero(a, (i+columns)%len(a))
			both["the next column"] += x * zero(a, (i+1)%len(a))
			both["the 16th column from it"] += x * zero(a, (i+16)%len(a))
		}
		within := func(what string, share, want float64, n float64) {
			if deviation := math.Sqrt(want * (1 - want) / n); math.Abs(share-want) > 5*deviation {
				t.Errorf("%s: a share of %v, want %v within %v", what, share, want, 5*deviation)
			}
		}
		within("all", total/float64(len(a)), p, float64(len(a)))
		for what, n := range both {
			within("with "+what, n/float64(len(a)), p*p, float64(len(a)))
		}
		for _, share := range ofRow {
			within("a row", share, p, columns)
		}
		for _, share := range ofColumn {
			within("a column", share, p, rows)
		}
	})
}

// A sample's mask is its own, wherever it lies: in a batch, in bf16, by our kernel or by libtorch's operations.
func TestDropoutIsAFunctionOfItsKey(t *testing.T) {
	torchtest.NoLeaks(t)
	rapid.Check(t, func(r *rapid.T) {
		keys, starts := rapid.SliceOfN(rapid.Uint64(), 1, 4).Draw(r, "keys"), []int64{0}
		for range keys {
			starts = append(starts, starts[len(starts)-1]+rapid.Int64Range(0, 30).Draw(r, "rows"))
		}
		columns, p := rapid.Int64Range(1, 70).Draw(r, "columns"), rapid.Float64Range(0, 0.99).Draw(r, "p")
		do(t, func(s *torch.Scope) {
			whole := dropped(s, torch.Float32, columns, p, keys, starts)
			var parts []float64
			for k, key := range keys {
				parts = append(parts, dropped(s, torch.Float32, columns, p, []uint64{key},
					[]int64{0, starts[k+1] - starts[k]})...)
			}
			if !slices.Equal(whole, parts) {
				r.Fatalf("the samples of a batch %v, alone %v", whole, parts)
			}
			was := torchtest.SetFused(false)
			plain := dropped(s, torch.Float32, columns, p, keys, starts)
			torchtest.SetFused(was)
			if !slices.Equal(whole, plain) {
				r.Fatalf("our kernel %v, libtorch's operations %v", whole, plain)
			}
			for i, x := range dropped(s, torch.BFloat16, columns, p, keys, starts) {
				if (x == 0) != (whole[i] == 0) {
					r.Fatalf("element %d is %v in bf16, %v in fp32", i, x, whole[i])
				}
			}
		})
	})
}

// These masks are a contract with runs that exist: a run that goes on must drop what it would have dropped.
func TestDropoutIsPinned(t *testing.T) {
	torchtest.NoLeaks(t)
	do(t, func(s *torch.Scope) {
		var kept []int
		for i, x := range dropped(s, torch.Float32, 10, 0.5, []uint64{1, 1 << 63}, []int64{0, 2, 3}) {
			if x != 0 {
				kept = append(kept, i)
			}
		}
		if want := []int{0, 1, 5, 7, 8, 9, 10, 12, 16, 19, 20, 21, 22, 24, 26, 29}; !slices.Equal(kept, want) {
			t.Errorf("kept %v, want %v", kept, want)
		}
	})
}

func TestDropoutPassesGradientsThroughItsMask(t *testing.T) {
	const p = 0.4
	keys, starts := []uint64{7, 8}, []int64{0, 2, 3}
	var mask []float64
	torchtest.NoLeaks(t)
	do(t, func(s *torch.Scope) { mask = dropped(s, torch.Float32, 5, p, keys, starts) })
	checkOperations(t, []operation{{"dropout", [][]int64{{3, 5}},
		func(s *torch.Scope, x []*torch.Tensor) *torch.Tensor { return torch.Dropout(s, x[0], p, keys, starts) },
		func(x [][]float64) (y []float64) {
			for i := range mask {
				y = append(y, x[0][i]*mask[i])
			}
			return y
		}}})
}

func TestDropoutRefusesRowsOfNobody(t *testing.T) {
	torchtest.NoLeaks(t)
	for _, starts := range [][]int64{{0, 2}, {0, 1, 3}} {
		if err := torch.Do(func(s *torch.Scope) {
			torch.Dropout(s, torch.Ones(s, []int64{3, 2}, torch.Float32, torch.CPU), 0.5, []uint64{1}, starts)
		}); err == nil {
			t.Errorf("starts %v for 3 rows and one key have no error", starts)
		}
	}
}
