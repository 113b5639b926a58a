package torch_test

import (
	"testing"

	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/model/torch/torchtest"
)

// The halves of a decoder layer are what single operations make of the same weights: with our kernels, with a card's, and with the
// formulas that stand in for either, forward and backward.
func TestDecoderHalvesEqualSingleOperations(t *testing.T) {
	const positions, hidden, heads, groups, d, inner = 9, 24, 4, 2, 6, 20
	starts := []int64{0, 4, 9}
	shapes := [][]int64{{positions, hidden}, {hidden}, {(heads + 2*groups) * d, hidden}, {(heads + 2*groups) * d}, {hidden, heads * d}, {hidden}, {2 * inner, hidden}, {hidden, inner}}
	tables := func(s *torch.Scope) (cos, sin *torch.Tensor) {
		return tensor(s, numbers(positions*d, 7), torch.Float32, positions, 1, d), tensor(s, numbers(positions*d, 8), torch.Float32, positions, 1, d)
	}
	halves := func(keep bool) func(*torch.Scope, []*torch.Tensor) *torch.Tensor {
		return func(s *torch.Scope, x []*torch.Tensor) *torch.Tensor {
			cos, sin := tables(s)
			y, same := torch.DecoderAttention{Norm: x[1], Weight: x[2], Bias: x[3], Cos: cos, Sin: sin, Starts: starts, Eps: 1e-3, Heads: heads,
				Groups: groups, Keep: keep}.Forward(s, x[0])
			return torch.DecoderMLP{O: x[4], Norm: x[5], GateUp: x[6], Down: x[7], Eps: 1e-3, Keep: keep}.Forward(s, same, y)
		}
	}
	single := func(s *torch.Scope, x []*torch.Tensor) *torch.Tensor {
		cos, sin := tables(s)
		qkv := torch.Split(s, torch.Linear(s, torch.RMSNorm(s, x[0], x[1], 1e-3), x[2], x[3]), heads*d, groups*d, groups*d)
		for i := range qkv {
			qkv[i] = torch.Reshape(s, qkv[i], positions, -1, d)
		}
		y := torch.Attention(s, torch.Rotary(s, qkv[0], cos, sin), torch.Rotary(s, qkv[1], cos, sin), qkv[2], starts, true)
		h, normed := torch.AddRMSNorm(s, x[0], torch.Linear(s, torch.Reshape(s, y, positions, -1), x[4], nil), x[5], 1e-3)
		gates := torch.Split(s, torch.Linear(s, normed, x[6], nil), inner, inner)
		return torch.Add(s, h, torch.Linear(s, torch.SwiGLU(s, gates[0], gates[1]), x[7], nil))
	}
	for name, emulated := range map[string]bool{"kernels of the CPU": false, "kernels of a card": true} {
		t.Run(name, func(t *testing.T) {
			torchtest.NoLeaks(t)
			if emulated {
				torchtest.Emulate(t)
			}
			want := valueAndGradients(t, shapes, single, false)
			for _, fused := range []bool{true, false} {
				for _, keep := range []bool{true, false} {
					got := valueAndGradients(t, shapes, halves(keep), fused)
					for i := range got {
						largest := 0.0
						for _, x := range want[i] {
							largest = max(largest, x, -x)
						}
						for k := range got[i] { // by the largest: gradients of softmax are small differences of large numbers
							if off := got[i][k] - want[i][k]; !(max(off, -off) <= 1e-5*largest) {
								t.Fatalf("fused %v, keep %v: value %d of result or gradient %d is %v, want %v", fused, keep, k, i, got[i][k], want[i][k])
							}
						}
					}
				}
			}
		})
	}
}
