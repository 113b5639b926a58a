package torch_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/model/torch/torchtest"
)

// kernelErrors is how far a kernel's results and gradients may lie from those of libtorch's operations, on inputs
// between -2 and 2: in fp32 relative to the value, and absolute below 1, for what cancels is of that size; in bf16 by
// one place, of the value or of the terms that cancel in it, for a share of the values.
var kernelErrors = map[string]struct{ fp32, bf16Share, bf16Terms float64 }{
	"rms norm":     {1e-5, 0.01, 1}, // a weight's gradient is the sum of up to 40 products
	"add rms norm": {1e-5, 0.01, 4}, // the norm's gradient, up to 4, is rounded and then the sum's added
	"rotary":       {1e-6, 0, 1},    // the same roundings in the same order
	"swiglu":       {2e-6, 0.01, 1},
	"quick gelu":   {2e-6, 0.01, 1},
}

// kernelCase is an operation on leaves of the given shapes.
type kernelCase struct {
	shapes [][]int64
	run    func(s *torch.Scope, dtype torch.Dtype, x []*torch.Tensor) []*torch.Tensor
}

var rowSizes = []int64{1, 3, 64, 80, 96, 128, 333, 1000, 1024, 1025, 1032, 2049, 4096, 8191, 8192}

// kernelCases are the operations of a layer that have kernels, at sizes that leave packs, warps and blocks incomplete.
var kernelCases = map[string]func(t *rapid.T) kernelCase{
	"rms norm": func(t *rapid.T) kernelCase {
		rows, size := rapid.Int64Range(1, 40).Draw(t, "rows"), rapid.SampledFrom(rowSizes).Draw(t, "size")
		return kernelCase{[][]int64{{rows, size}, {size}},
			func(s *torch.Scope, _ torch.Dtype, x []*torch.Tensor) []*torch.Tensor {
				return []*torch.Tensor{torch.RMSNorm(s, x[0], x[1], 1e-3)}
			}}
	},
	"add rms norm": func(t *rapid.T) kernelCase {
		rows, size := rapid.Int64Range(1, 40).Draw(t, "rows"), rapid.SampledFrom(rowSizes).Draw(t, "size")
		used := rapid.IntRange(0, 2).Draw(t, "used") // which of the two results goes on
		return kernelCase{[][]int64{{rows, size}, {rows, size}, {size}},
			func(s *torch.Scope, _ torch.Dtype, x []*torch.Tensor) []*torch.Tensor {
				sum, normed := torch.AddRMSNorm(s, x[0], x[1], x[2], 1e-3)
				return [][]*torch.Tensor{{sum, normed}, {sum}, {normed}}[used]
			}}
	},
	"rotary": func(t *rapid.T) kernelCase {
		rows, heads, half := rapid.Int64Range(1, 30).Draw(t, "rows"), rapid.Int64Range(1, 5).Draw(t, "heads"),
			rapid.Int64Range(1, 70).Draw(t, "half")
		return kernelCase{[][]int64{{rows, heads, 2 * half}},
			func(s *torch.Scope, dtype torch.Dtype, x []*torch.Tensor) []*torch.Tensor {
				table := func(seed uint64) *torch.Tensor {
					return tensor(s, numbers(int(rows*2*half), seed), dtype, rows, 1, 2*half)
				}
				return []*torch.Tensor{torch.Rotary(s, x[0], table(7), table(8))}
			}}
	},
	"swiglu": func(t *rapid.T) kernelCase {
		n := rapid.Int64Range(1, 5000).Draw(t, "n")
		return kernelCase{[][]int64{{n}, {n}}, func(s *torch.Scope, _ torch.Dtype, x []*torch.Tensor) []*torch.Tensor {
			return []*torch.Tensor{torch.SwiGLU(s, x[0], x[1])}
		}}
	},
	"quick gelu": func(t *rapid.T) kernelCase {
		n := rapid.Int64Range(1, 5000).Draw(t, "n")
		return kernelCase{[][]int64{{n}}, func(s *torch.Scope, _ torch.Dtype, x []*torch.Tensor) []*torch.Tensor {
			return []*torch.Tensor{torch.QuickGelu(s, x[0])}
		}}
	},
}

// kernelsOf are the kernels that an operation must have launched.
var kernelsOf = map[string][]string{
	"rms norm": {"rms_norm", "rms_norm_backward"}, "add rms norm": {"rms_norm", "rms_norm_backward"},
	"rotary": {"rotary"},
	"swiglu": {"swiglu", "swiglu_backward"}, "quick gelu": {"quick_gelu", "quick_gelu_backward"},
}

// The kernels, run on the CPU, give the values and gradients of libtorch's operations, also for inputs that do not
// lie end to end or begin between multiples of 16 bytes, and where only some inputs train.
func TestKernelsEqualTheirPlainTwins(t *testing.T) {
	for name, draw := range kernelCases {
		t.Run(name, func(t *testing.T) {
			torchtest.NoLeaks(t)
			torchtest.Emulate(t)
			for _, dtype := range []torch.Dtype{torch.Float32, torch.BFloat16} {
				suffix := map[torch.Dtype]string{torch.Float32: "_float", torch.BFloat16: "_bf16"}[dtype]
				before := map[string]int{}
				for _, kernel := range kernelsOf[name] {
					before[kernel] = torchtest.Launches(t, kernel+suffix)
				}
				rapid.Check(t, func(r *rapid.T) {
					c := draw(r)
					sliced, trains := rapid.Bool().Draw(r, "sliced"),
						rapid.SliceOfN(rapid.Bool(), len(c.shapes), len(c.shapes)).Draw(r, "trains")
					kernels, plain := c.results(t, dtype, sliced, trains, true),
						c.results(t, dtype, sliced, trains, false)
					for i := range kernels {
						what := fmt.Sprintf("%v, result or gradient %d", dtype, i)
						if dtype == torch.BFloat16 {
							closeInBF16(r, what, kernels[i], plain[i], kernelErrors[name].bf16Share,
								kernelErrors[name].bf16Terms)
						} else {
							closeInFP32(r, what, kernels[i], plain[i], kernelErrors[name].fp32)
						}
					}
				})
				for _, kernel := range kernelsOf[name] {
					if torchtest.Launches(t, kernel+suffix) == before[kernel] {
						t.Errorf("%s was not launched", kernel+suffix)
					}
				}
			}
		})
	}
}

// results are the operation's results and the gradients of its leaves, in order.
func (c kernelCase) results(t *testing.T, dtype torch.Dtype, sliced bool, trains []bool,
	fused bool) (list [][]float32) {
	defer torchtest.SetFused(torchtest.SetFused(fused))
	wide := func(s *torch.Scope, x *torch.Tensor) []float32 {
		return torch.Read[float32](torch.To(s, x, torch.Float32))
	}
	do(t, func(s *torch.Scope) {
		var leaves, inputs []*torch.Tensor
		for i, shape := range c.shapes {
			last := len(shape) - 1
			whole := slices.Clone(shape)
			if sliced {
				whole[last] += 3
			}
			x := torch.Detach(s, tensor(s, numbers(product(whole), uint64(i+1)), dtype, whole...), trains[i])
			leaves = append(leaves, x)
			if sliced {
				x = torch.Narrow(s, x, int64(last), 1, shape[last])
			}
			inputs = append(inputs, x)
		}
		var loss *torch.Tensor
		for i, y := range c.run(s, dtype, inputs) {
			list = append(list, wide(s, y))
			weights := tensor(s, numbers(int(y.Elements()), uint64(90+i)), torch.Float32, y.Elements(), 1)
			part := torch.MatMul(s, torch.Reshape(s, torch.To(s, y, torch.Float32), 1, y.Elements()), weights)
			if loss == nil {
				loss = part
			} else {
				loss = torch.Add(s, loss, part)
			}
		}
		if !loss.RequiresGrad() {
			return
		}
		torch.Backward(loss, nil)
		for _, x := range leaves {
			grad := torch.Grad(s, x)
			if grad == nil {
				list = append(list, nil)
				continue
			}
			list = append(list, wide(s, grad))
		}
	})
	return list
}

type fatal interface {
	Helper()
	Fatalf(format string, args ...any)
}

func closeInFP32(t fatal, what string, got, want []float32, tolerance float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s has %d values, want %d", what, len(got), len(want))
	}
	for i := range got {
		if !(math.Abs(float64(got[i])-float64(want[i])) <= tolerance*max(1, math.Abs(float64(want[i])))) {
			t.Fatalf("%s: value %d is %v, want %v (tolerance %g)", what, i, got[i], want[i], tolerance)
		}
	}
}

// closeInBF16 allows a share of the values, and one value in any case, to be off by one place: of the value, or of a
// number of the size of the terms that cancel in it. Differences of fp32's own size, where nearly everything cancels,
// are not counted.
func closeInBF16(t fatal, what string, got, want []float32, share, terms float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s has %d values, want %d", what, len(got), len(want))
	}
	others := 0
	for i := range got {
		difference := math.Abs(float64(got[i]) - float64(want[i]))
		if difference <= 1e-6*terms {
			continue
		}
		others++
		place := math.Exp2(math.Floor(math.Log2(max(terms, math.Abs(float64(want[i]))))) - 7)
		if !(difference <= place) {
			t.Fatalf("%s: value %d is %v, want %v, and a place is %v", what, i, got[i], want[i], place)
		}
	}
	if limit := share * float64(len(got)); float64(others) > max(limit, math.Ceil(share)) {
		t.Fatalf("%s: %d of %d values are off by a place, more than %v", what, others, len(got), limit)
	}
}

func TestKernelsLeaveEmptyTensorsAlone(t *testing.T) {
	torchtest.NoLeaks(t)
	torchtest.Emulate(t)
	do(t, func(s *torch.Scope) {
		empty := func(shape ...int64) *torch.Tensor { return torch.Zeros(s, shape, torch.BFloat16, torch.CPU) }
		for i, y := range []*torch.Tensor{
			torch.RMSNorm(s, empty(0, 8), empty(8), 1e-5),
			torch.Rotary(s, empty(0, 2, 8), empty(0, 1, 8), empty(0, 1, 8)),
			torch.SwiGLU(s, empty(0, 8), empty(0, 8)), torch.QuickGelu(s, empty(0, 8)),
		} {
			if y.Elements() != 0 {
				t.Errorf("operation %d makes %v of nothing", i, y.Shape())
			}
		}
	})
}

// Rows that a block's registers do not hold, and dtypes that differ, are libtorch's.
func TestKernelsLeaveOtherFormsAlone(t *testing.T) {
	torchtest.NoLeaks(t)
	torchtest.Emulate(t)
	before := torchtest.Launches(t, "rms_norm_bf16") + torchtest.Launches(t, "rms_norm_float")
	do(t, func(s *torch.Scope) {
		half := func(shape ...int64) *torch.Tensor { return torch.To(s, ones(s, shape...), torch.BFloat16) }
		near(t, "a long row", read(s, torch.RMSNorm(s, half(1, 8193), half(8193), 0))[:1], []float64{1}, 1e-6)
		near(t, "weight in fp32", read(s, torch.RMSNorm(s, half(1, 8), ones(s, 8), 0))[:1], []float64{1}, 1e-6)
		torch.RMSNorm(s, torch.To(s, ones(s, 1, 8), torch.Float64), torch.To(s, ones(s, 8), torch.Float64), 0)
	})
	if after := torchtest.Launches(t, "rms_norm_bf16") + torchtest.Launches(t, "rms_norm_float"); after != before {
		t.Errorf("%d kernels were launched", after-before)
	}
}

// The same input gives the same bits: no sum depends on what runs first.
func TestKernelsRepeat(t *testing.T) {
	torchtest.NoLeaks(t)
	torchtest.Emulate(t)
	rapid.Check(t, func(r *rapid.T) {
		c := kernelCases["add rms norm"](r)
		trains := []bool{true, true, true}
		first, second := c.results(t, torch.BFloat16, false, trains, true),
			c.results(t, torch.BFloat16, false, trains, true)
		for i := range first {
			sameBits(t, fmt.Sprintf("result or gradient %d", i), second[i], first[i])
		}
	})
}

func TestCrossEntropyKernel(t *testing.T) {
	torchtest.NoLeaks(t)
	torchtest.Emulate(t)
	for _, dtype := range []torch.Dtype{torch.Float32, torch.BFloat16} {
		rapid.Check(t, func(r *rapid.T) {
			rows, classes := rapid.IntRange(1, 20).Draw(r, "rows"),
				rapid.SampledFrom([]int{2, 7, 256, 2048, 2051, 5000}).Draw(r, "classes")
			chunk, trains := rapid.Int64Range(1, 24).Draw(r, "chunk"),
				rapid.SliceOfN(rapid.Bool(), 2, 2).Draw(r, "trains")
			labels := rapid.SliceOfN(rapid.Int64Range(0, int64(classes-1)), rows, rows).Draw(r, "labels")
			run := func(fused bool) (list [][]float32) {
				defer torchtest.SetFused(torchtest.SetFused(fused))
				do(t, func(s *torch.Scope) {
					wide := func(x *torch.Tensor) []float32 {
						return torch.Read[float32](torch.To(s, x, torch.Float32))
					}
					hidden := torch.Detach(s, tensor(s, numbers(rows*16, 1), dtype, int64(rows), 16), trains[0])
					weight := torch.Detach(s, tensor(s, numbers(classes*16, 2), dtype, int64(classes), 16), trains[1])
					sum, each := torch.CrossEntropy(s, hidden, weight, index(s, labels...), chunk)
					list = append(list, wide(sum), wide(each))
					if sum.RequiresGrad() {
						torch.Backward(sum, nil)
					}
					for _, x := range []*torch.Tensor{hidden, weight} {
						if grad := torch.Grad(s, x); grad != nil {
							list = append(list, wide(grad))
						}
					}
				})
				return list
			}
			kernels, plain := run(true), run(false)
			for i := range kernels {
				what := fmt.Sprintf("%v, result or gradient %d", dtype, i)
				if i >= 2 && dtype == torch.BFloat16 { // products of gradients of which some were off by a place
					closeInBF16(r, what, kernels[i], plain[i], 0.05, 1)
				} else if i >= 2 { // our own products sum in another order than MKL's
					closeInFP32(r, what, kernels[i], plain[i], 1e-5)
				} else {
					closeInFP32(r, what, kernels[i], plain[i], 2e-6)
				}
			}
		})
	}
	if torchtest.Launches(t, "cross_entropy_float") == 0 || torchtest.Launches(t, "cross_entropy_bf16") == 0 {
		t.Error("a kernel was not launched")
	}
}

// A card cannot stop the program for a wrong label: the loss is no number, and the step not applied.
func TestCrossEntropyKernelOfALabelOutsideTheVocabulary(t *testing.T) {
	torchtest.NoLeaks(t)
	torchtest.Emulate(t)
	do(t, func(s *torch.Scope) {
		_, each := torch.CrossEntropy(s, ones(s, 4, 4), ones(s, 3, 4), index(s, 0, -100, 3, 2), 8)
		for i, x := range read(s, each) {
			if math.IsNaN(x) != (i == 1 || i == 2) {
				t.Errorf("row %d: %v", i, x)
			}
		}
	})
}

// The optimizer's kernels have the bits of the CPU's loops; the sums of squares differ in the order of additions alone.
func TestOptimizerKernelsEqualTheLoops(t *testing.T) {
	torchtest.NoLeaks(t)
	for _, form := range adamForms {
		for _, n := range []int{1, 3, 4, 1023, 1<<13 + 1, 1<<16 + 1030} {
			do(t, func(s *torch.Scope) {
				loops, kernels := newAdamRun(s, startValues(n), form[0], form[1]),
					newAdamRun(s, startValues(n), form[0], form[1])
				step := func(r adamRun, step int) float64 {
					grad := tensor(s, numbers(n, uint64(step)), form[0], int64(n))
					total := torch.Zeros(s, []int64{1}, torch.Float64, torch.CPU)
					torch.SumSquares(grad, total)
					sum := read(s, total)[0]
					torch.AdamW(r.param, r.remainder, grad, r.m, r.v,
						tensor(s, []float64{float64(n)}, torch.Float64, 1), adamStep(step))
					return sum
				}
				for i := 1; i <= 2; i++ {
					want, got := step(loops, i), 0.0
					torchtest.Emulated(func() { got = step(kernels, i) })
					if math.Abs(got-want) > 1e-13*want {
						t.Errorf("%v, %d values: squares sum to %v, want %v", form, n, got, want)
					}
				}
				want := loops.bits(s)
				for i, got := range kernels.bits(s) {
					sameBits(t, fmt.Sprintf("%v, %d values, buffer %d", form, n, i), got, want[i])
				}
			})
		}
	}
}

// What a card must pass before its kernels are used passes here, and sees kernels that do nothing.
func TestCheckKernels(t *testing.T) {
	torchtest.NoLeaks(t)
	torchtest.Emulated(func() {
		for _, check := range torch.CheckKernels(torch.CPU) {
			if check.Problem != "" || check.FP32 > 1e-5 || check.BF16 > 1.0/64 {
				t.Errorf("%+v", check)
			}
		}
	})
	torchtest.Undone(func() {
		for _, check := range torch.CheckKernels(torch.CPU) {
			if check.Problem == "" {
				t.Errorf("kernels that do nothing pass the check of %s", check.Operation)
			}
		}
	})
}
