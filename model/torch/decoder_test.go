package torch_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/model/torch/torchtest"
)

// The halves of a decoder layer are what single operations make of the same weights: with our kernels, with a card's,
// and with the formulas that stand in for either, forward and backward.
func TestDecoderHalvesEqualSingleOperations(t *testing.T) {
	const positions, hidden, heads, groups, d, inner = 9, 24, 4, 2, 6, 20
	starts, all, late := []int64{0, 4, 9}, []int64{0, 1, 2, 3, 4, 5, 6, 7, 8}, []int64{3, 6, 7, 8}
	lateBorders := []int64{0, 1, 4} // of late
	shapes := [][]int64{{positions, hidden}, {hidden}, {(heads + 2*groups) * d, hidden}, {(heads + 2*groups) * d},
		{hidden, heads * d}, {hidden}, {2 * inner, hidden}, {hidden, inner}}
	tables := func(s *torch.Scope) (cos, sin *torch.Tensor) {
		return tensor(s, numbers(positions*d, 7), torch.Float32, positions, 1, d),
			tensor(s, numbers(positions*d, 8), torch.Float32, positions, 1, d)
	}
	halves := func(keep bool, queries, rows []int64) func(*torch.Scope, []*torch.Tensor) *torch.Tensor {
		return func(s *torch.Scope, x []*torch.Tensor) *torch.Tensor {
			cos, sin := tables(s)
			y, same := torch.DecoderAttention{Norm: x[1], Weight: x[2], Bias: x[3], Cos: cos, Sin: sin, Starts: starts,
				Queries: queries, Eps: 1e-3, Heads: heads, Groups: groups, Keep: keep}.Forward(s, x[0])
			return torch.DecoderMLP{O: x[4], Norm: x[5], GateUp: x[6], Down: x[7], Eps: 1e-3, Keep: keep}.Forward(s,
				pick(s, same, rows), y)
		}
	}
	whole := func(s *torch.Scope, x []*torch.Tensor) *torch.Tensor {
		cos, sin := tables(s)
		qkv := torch.Split(s, torch.Linear(s, torch.RMSNorm(s, x[0], x[1], 1e-3), x[2], x[3]), heads*d, groups*d,
			groups*d)
		for i := range qkv {
			qkv[i] = torch.Reshape(s, qkv[i], positions, -1, d)
		}
		y := torch.Attention(s, torch.Rotary(s, qkv[0], cos, sin), torch.Rotary(s, qkv[1], cos, sin), qkv[2], starts,
			true)
		h, normed := torch.AddRMSNorm(s, x[0], torch.Linear(s, torch.Reshape(s, y, positions, -1), x[4], nil), x[5],
			1e-3)
		gates := torch.Split(s, torch.Linear(s, normed, x[6], nil), inner, inner)
		return torch.Add(s, h, torch.Linear(s, torch.SwiGLU(s, gates[0], gates[1]), x[7], nil))
	}
	single := func(rows []int64) func(*torch.Scope, []*torch.Tensor) *torch.Tensor {
		return func(s *torch.Scope, x []*torch.Tensor) *torch.Tensor { return pick(s, whole(s, x), rows) }
	}
	for name, emulated := range map[string]bool{"kernels of the CPU": false, "kernels of a card": true} {
		t.Run(name, func(t *testing.T) {
			torchtest.NoLeaks(t)
			if emulated {
				torchtest.Emulate(t)
			}
			for _, c := range []struct{ queries, rows []int64 }{{nil, all}, {lateBorders, late}} {
				want := valueAndGradients(t, shapes, single(c.rows), false)
				for _, fused := range []bool{true, false} {
					for _, keep := range []bool{true, false} {
						t.Logf("queries %v, fused %v, keep %v", c.queries, fused, keep)
						nearLargest(t, valueAndGradients(t, shapes, halves(keep, c.queries, c.rows), fused), want, 1e-5)
					}
				}
			}
		})
	}
}

func pick(s *torch.Scope, x *torch.Tensor, rows []int64) *torch.Tensor {
	return torch.IndexSelect(s, x, 0, torch.From(s, rows, []int64{int64(len(rows))}, torch.CPU))
}

// nearLargest compares values by the largest of each list, or the inputs, which are of size 1: gradients of softmax
// are small differences of large numbers.
func nearLargest(t testing.TB, got, want [][]float64, tolerance float64) {
	t.Helper()
	for i := range got {
		largest := 1.0
		for _, x := range want[i] {
			largest = max(largest, x, -x)
		}
		for k := range got[i] {
			if off := got[i][k] - want[i][k]; !(max(off, -off) <= tolerance*largest) {
				t.Fatalf("value %d of result or gradient %d is %v, want %v", k, i, got[i][k], want[i][k])
			}
		}
	}
}

// Queries of each sample's last positions alone give the rows and the gradients that queries of all do, at sizes that
// leave blocks and tiles incomplete, and whether the weight's gradient is collected in a buffer or not.
func TestLateQueriesAreRowsOfAll(t *testing.T) {
	torchtest.NoLeaks(t)
	rapid.Check(t, func(r *rapid.T) {
		starts, queries, rows := []int64{0}, []int64{0}, []int64{}
		for _, length := range rapid.SliceOfN(rapid.Int64Range(1, 150), 1, 5).Draw(r, "lengths") {
			first := starts[len(starts)-1]
			starts = append(starts, first+length)
			wanted := first + rapid.Int64Range(0, length-1).Draw(r, "first")
			for position := wanted; position < first+length; position++ {
				rows = append(rows, position)
			}
			queries = append(queries, int64(len(rows)))
		}
		positions, groups, d := starts[len(starts)-1], rapid.Int64Range(1, 3).Draw(r, "groups"),
			2*rapid.Int64Range(1, 20).Draw(r, "half")
		heads, hidden := groups*rapid.Int64Range(1, 3).Draw(r, "heads of a group"),
			rapid.Int64Range(1, 40).Draw(r, "hidden")
		keep, collected := rapid.Bool().Draw(r, "keep"), rapid.Bool().Draw(r, "collected")
		total := (heads + 2*groups) * d
		run := func(borders []int64) func(*torch.Scope, []*torch.Tensor) *torch.Tensor {
			return func(s *torch.Scope, x []*torch.Tensor) *torch.Tensor {
				table := func(seed uint64) *torch.Tensor {
					return torch.Scale(s, tensor(s, numbers(int(positions*d), seed), torch.Float32, positions, 1, d),
						0.25)
				}
				if collected {
					x[2].SetGrad(tensor(s, numbers(int(total*hidden), 9), torch.Float32, total, hidden))
				}
				y, same := torch.DecoderAttention{Norm: x[1], Weight: x[2], Bias: x[3], Cos: table(7), Sin: table(8),
					Starts: starts, Queries: borders,
					Eps: 1e-3, Heads: heads, Groups: groups, Keep: keep}.Forward(s, x[0])
				if borders == nil {
					y = pick(s, y, rows)
				}
				return torch.Cat(s, 1, y, pick(s, same, rows)) // [M,H*d+D]
			}
		}
		shapes := [][]int64{{positions, hidden}, {hidden}, {total, hidden}, {total}}
		// sums of up to 750 products
		nearLargest(t, valueAndGradients(t, shapes, run(queries), true), valueAndGradients(t, shapes, run(nil), true),
			1e-4)
	})
}
