package torch_test

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/model/torch/torchtest"
)

// fusedOperations are those that have kernels of our own, at sizes that leave vectors, blocks and tiles incomplete.
var fusedOperations = map[string]func(t *rapid.T) ([][]int64, func(s *torch.Scope, x []*torch.Tensor) *torch.Tensor){
	"rms norm": func(t *rapid.T) ([][]int64, func(*torch.Scope, []*torch.Tensor) *torch.Tensor) {
		rows, size := rapid.Int64Range(1, 150).Draw(t, "rows"), rapid.Int64Range(1, 70).Draw(t, "size")
		return [][]int64{{rows, size}, {size}}, func(s *torch.Scope, x []*torch.Tensor) *torch.Tensor {
			return torch.RMSNorm(s, x[0], x[1], 1e-3)
		}
	},
	"rotary": func(t *rapid.T) ([][]int64, func(*torch.Scope, []*torch.Tensor) *torch.Tensor) {
		rows, heads, dim := rapid.Int64Range(1, 40).Draw(t, "rows"), rapid.Int64Range(1, 3).Draw(t, "heads"),
			2*rapid.Int64Range(1, 40).Draw(t, "half")
		return [][]int64{{rows, heads, dim}}, func(s *torch.Scope, x []*torch.Tensor) *torch.Tensor {
			table := func(seed uint64) *torch.Tensor {
				return tensor(s, numbers(int(rows*dim), seed), torch.Float32, rows, 1, dim)
			}
			return torch.Rotary(s, x[0], table(7), table(8))
		}
	},
	"linear": func(t *rapid.T) ([][]int64, func(*torch.Scope, []*torch.Tensor) *torch.Tensor) {
		rows, in, out := rapid.Int64Range(1, 300).Draw(t, "rows"), rapid.Int64Range(1, 100).Draw(t, "in"),
			rapid.Int64Range(1, 100).Draw(t, "out")
		if rapid.Bool().Draw(t, "bias") {
			return [][]int64{{rows, in}, {out, in}, {out}},
				func(s *torch.Scope, x []*torch.Tensor) *torch.Tensor { return torch.Linear(s, x[0], x[1], x[2]) }
		}
		return [][]int64{{rows, in}, {out, in}}, func(s *torch.Scope, x []*torch.Tensor) *torch.Tensor {
			return torch.Linear(s, x[0], x[1], nil)
		}
	},
	"swiglu": func(t *rapid.T) ([][]int64, func(*torch.Scope, []*torch.Tensor) *torch.Tensor) {
		n := rapid.Int64Range(1, 40000).Draw(t, "n")
		return [][]int64{{n}, {n}}, func(s *torch.Scope, x []*torch.Tensor) *torch.Tensor {
			return torch.SwiGLU(s, x[0], x[1])
		}
	},
	"quick gelu": func(t *rapid.T) ([][]int64, func(*torch.Scope, []*torch.Tensor) *torch.Tensor) {
		n := rapid.Int64Range(1, 40000).Draw(t, "n")
		return [][]int64{{n}}, func(s *torch.Scope, x []*torch.Tensor) *torch.Tensor { return torch.QuickGelu(s, x[0]) }
	},
	"cross-entropy": func(t *rapid.T) ([][]int64, func(*torch.Scope, []*torch.Tensor) *torch.Tensor) {
		rows, size, classes := rapid.Int64Range(1, 9).Draw(t, "rows"), rapid.Int64Range(1, 5).Draw(t, "size"),
			rapid.SampledFrom([]int64{1, 15, 16, 333, 1024, 2500}).Draw(t, "classes")
		labels := rapid.SliceOfN(rapid.Int64Range(0, classes-1), int(rows), int(rows)).Draw(t, "labels")
		collected := rapid.Bool().Draw(t, "collected")
		return [][]int64{{rows, size}, {classes, size}}, func(s *torch.Scope, x []*torch.Tensor) *torch.Tensor {
			if collected { // the gradient is added to the buffer
				x[1].SetGrad(tensor(s, numbers(int(classes*size), 5), torch.Float32, classes, size))
			}
			sum, _ := torch.CrossEntropy(s, x[0], x[1], torch.From(s, labels, []int64{rows}, torch.CPU), 4)
			return sum
		}
	},
	"attention": func(t *rapid.T) ([][]int64, func(*torch.Scope, []*torch.Tensor) *torch.Tensor) {
		starts := []int64{0}
		for _, length := range rapid.SliceOfN(rapid.Int64Range(1, 150), 1, 5).Draw(t, "lengths") {
			starts = append(starts, starts[len(starts)-1]+length)
		}
		positions, groups := starts[len(starts)-1], rapid.Int64Range(1, 3).Draw(t, "groups")
		heads, dim := groups*rapid.Int64Range(1, 3).Draw(t, "heads of a group"), rapid.Int64Range(1, 40).Draw(t, "dim")
		causal := rapid.Bool().Draw(t, "causal")
		return [][]int64{{positions, heads, dim}, {positions, groups, dim}, {positions, groups, dim}},
			func(s *torch.Scope, x []*torch.Tensor) *torch.Tensor {
				return torch.Attention(s, x[0], x[1], x[2], starts, causal)
			}
	},
}

// Our kernels and libtorch's operations give the same values and gradients. (checkOperations holds the kernels
// against the formulas.)
func TestFusedOperationsEqualTheirPlainTwins(t *testing.T) {
	for name, draw := range fusedOperations {
		t.Run(name, func(t *testing.T) {
			torchtest.NoLeaks(t)
			rapid.Check(t, func(r *rapid.T) {
				shapes, run := draw(r)
				fused, plain := valueAndGradients(t, shapes, run, true), valueAndGradients(t, shapes, run, false)
				for i := range fused {
					near(t, name, fused[i], plain[i], 2e-5)
				}
			})
		})
	}
}

// valueAndGradients runs an operation on fixed numbers and returns its value and the gradient of each input.
func valueAndGradients(t *testing.T, shapes [][]int64, run func(*torch.Scope, []*torch.Tensor) *torch.Tensor,
	fused bool) (list [][]float64) {
	defer torchtest.SetFused(torchtest.SetFused(fused))
	do(t, func(s *torch.Scope) {
		var leaves []*torch.Tensor
		for i, shape := range shapes {
			leaves = append(leaves, leaf(s, numbers(product(shape), uint64(i+1)), torch.Float32, shape...))
		}
		y := run(s, leaves)
		torch.Backward(y, tensor(s, numbers(int(y.Elements()), 99), torch.Float32, y.Shape()...))
		list = append(list, read(s, y))
		for _, x := range leaves {
			list = append(list, read(s, torch.Grad(s, x)))
		}
	})
	return list
}

// Large and small arguments do not overflow in the kernels' own exponential.
func TestFusedOperationsAtTheEnds(t *testing.T) {
	torchtest.NoLeaks(t)
	values := []float64{-1e4, -200, -88.5, -87, -20, -1e-6, 0, 1e-6, 20, 87, 88.5, 200, 1e4, -3e38, 3e38, 1, -1, 0.5}
	do(t, func(s *torch.Scope) {
		n := int64(len(values))
		x, up := leaf(s, values, torch.Float32, n), tensor(s, make([]float64, n), torch.Float32, n)
		fused := read(s, torch.QuickGelu(s, x))
		gated := read(s, torch.SwiGLU(s, x, torch.Add(s, up, tensor(s, []float64{1}, torch.Float32, 1))))
		defer torchtest.SetFused(torchtest.SetFused(false))
		for i, want := range read(s, torch.QuickGelu(s, x)) {
			if difference := fused[i] - want; difference > 1e-6*max(1, want) || difference < -1e-6*max(1, want) ||
				difference != difference {
				t.Errorf("quick gelu(%g) is %g, want %g", values[i], fused[i], want)
			}
		}
		for i, want := range read(s, torch.SwiGLU(s, x, torch.Add(s, up, tensor(s, []float64{1}, torch.Float32, 1)))) {
			if difference := gated[i] - want; difference > 1e-6*max(1, want) || difference < -1e-6*max(1, want) ||
				difference != difference {
				t.Errorf("silu(%g) is %g, want %g", values[i], gated[i], want)
			}
		}
	})
}

// The loss and its gradient where logits are far apart, or no numbers.
func TestCrossEntropyAtTheEnds(t *testing.T) {
	torchtest.NoLeaks(t)
	inf := math.Inf(1)
	for _, logits := range [][]float64{{-1e4, 0, 1e4}, {3e38, -3e38, 0}, {88, 89, -200}, {-inf, 0, 1}, {inf, 0, 1},
		{math.NaN(), 0, 1}} {
		for label := range int64(len(logits)) {
			run := func(s *torch.Scope) (values []float64) {
				head := leaf(s, logits, torch.Float32, int64(len(logits)), 1)
				sum, each := torch.CrossEntropy(s, ones(s, 1, 1), head, index(s, label), 8)
				torch.Backward(sum, nil)
				return append(append(read(s, sum), read(s, each)...), read(s, torch.Grad(s, head))...)
			}
			do(t, func(s *torch.Scope) {
				got := run(s)
				defer torchtest.SetFused(torchtest.SetFused(false))
				for i, want := range run(s) {
					same := got[i] == want || math.IsNaN(got[i]) && math.IsNaN(want)
					if !same && !(math.Abs(got[i]-want) <= 1e-6*max(1, math.Abs(want))) {
						t.Errorf("logits %v, label %d: value %d is %v, want %v", logits, label, i, got[i], want)
					}
				}
			})
		}
	}
}

// Products of our own: an inner dimension of more than one piece, and rows that do not care how many others there
// are, nor on how many threads. The gradient of a weight with a buffer is added to what is there.
func TestProducts(t *testing.T) {
	torchtest.NoLeaks(t)
	const rows, in, out = 130, 2300, 40
	do(t, func(s *torch.Scope) {
		x, dy := tensor(s, numbers(rows*in, 1), torch.Float32, rows, in),
			tensor(s, numbers(rows*out, 3), torch.Float32, rows, out)
		weight := leaf(s, numbers(out*in, 2), torch.Float32, out, in)
		gradient := tensor(s, numbers(out*in, 4), torch.Float32, out, in)
		weight.SetGrad(gradient)
		before := read(s, gradient)
		y := torch.Linear(s, x, weight, nil)
		torch.Backward(y, dy)
		after := read(s, gradient)

		was := torchtest.SetFused(false)
		plain := leaf(s, numbers(out*in, 2), torch.Float32, out, in)
		want := torch.Linear(s, x, plain, nil)
		torch.Backward(want, dy)
		sum := read(s, torch.Grad(s, plain))
		torchtest.SetFused(was)
		for i := range sum {
			sum[i] += before[i]
		}
		near(t, "product", read(s, y), read(s, want), 1e-5)
		near(t, "gradient", after, sum, 1e-5)

		whole := torch.Read[float32](y)
		defer torch.SetThreads(torch.Threads())
		torch.SetThreads(1)
		sameBits(t, "on one thread", torch.Read[float32](torch.Linear(s, x, weight, nil)), whole)
		if torchtest.OwnProducts() {
			part := torch.Linear(s, torch.Narrow(s, x, 0, 7, 20), weight, nil)
			sameBits(t, "some rows", torch.Read[float32](part), whole[7*out:27*out])
		}
	})
}
