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

// several blocks of the engine's loops, and a tail that no vector fills
const adamElements = 3*(1<<16) + 5

// adamInFloat64 is AdamW as the paper writes it (Loshchilov and Hutter 2019, algorithm 2).
func adamInFloat64(p, g, m, v []float64, a torch.Adam) {
	scale := min(1, a.Clip/(math.Sqrt(dot(g, g))+1e-6))
	correction1, correction2 := 1-math.Pow(a.Beta1, float64(a.Step)), 1-math.Pow(a.Beta2, float64(a.Step))
	for i := range p {
		grad := g[i] * scale
		m[i] = a.Beta1*m[i] + (1-a.Beta1)*grad
		v[i] = a.Beta2*v[i] + (1-a.Beta2)*grad*grad
		p[i] -= a.LR*a.WeightDecay*p[i] + a.LR*(m[i]/correction1)/(math.Sqrt(v[i]/correction2)+a.Eps)
	}
}

// adamStep clips the gradients of adamRun, whose norm is about 510.
func adamStep(step int) torch.Adam {
	return torch.Adam{LR: 0.01 / float64(step), Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: 0.1,
		Step: int64(step), Clip: 350, Seed: 11}
}

// adamRun is a parameter under AdamW, its gradients being numbers(n, step).
type adamRun struct{ param, remainder, m, v *torch.Tensor }

func newAdamRun(s *torch.Scope, values []float64, dtype, moments torch.Dtype) adamRun {
	n := int64(len(values))
	zeros := func(dtype torch.Dtype) *torch.Tensor { return torch.Zeros(s, []int64{n}, dtype, torch.CPU) }
	r := adamRun{param: zeros(dtype), m: zeros(moments), v: zeros(moments)}
	master := tensor(s, values, torch.Float32, n)
	if dtype == torch.Float32 {
		r.param.Copy(master)
		return r
	}
	r.remainder = zeros(torch.Int16)
	torch.SplitMaster(master, r.param, r.remainder)
	return r
}

func (r adamRun) step(s *torch.Scope, step int) {
	s.Sub(func(s *torch.Scope) *torch.Tensor {
		grad := tensor(s, numbers(int(r.param.Elements()), uint64(step)), r.param.Dtype(), r.param.Elements())
		total := torch.Zeros(s, []int64{1}, torch.Float64, torch.CPU)
		torch.SumSquares(grad, total)
		torch.AdamW(r.param, r.remainder, grad, r.m, r.v, total, adamStep(step))
		return nil
	})
}

// bits is everything that a run's next step depends on.
func (r adamRun) bits(s *torch.Scope) [][]float32 {
	wide := func(x *torch.Tensor) []float32 { return torch.Read[float32](torch.To(s, x, torch.Float32)) }
	return [][]float32{r.master(s), wide(r.m), wide(r.v)}
}

// master is the fp32 values.
func (r adamRun) master(s *torch.Scope) []float32 {
	if r.remainder != nil {
		return torch.Read[float32](torch.MergeMaster(s, r.param, r.remainder))
	}
	return torch.Read[float32](r.param)
}

// startValues need all of fp32's digits.
func startValues(n int) []float64 {
	out := numbers(n, 77)
	for i := range out {
		out[i] = float64(float32(out[i] / 3))
	}
	return out
}

func TestAdamWFollowsThePaper(t *testing.T) {
	torchtest.NoLeaks(t)
	p := startValues(adamElements)
	m, v := make([]float64, len(p)), make([]float64, len(p))
	do(t, func(s *torch.Scope) {
		run := newAdamRun(s, p, torch.Float32, torch.Float32)
		for step := 1; step <= 6; step++ {
			adamInFloat64(p, numbers(len(p), uint64(step)), m, v, adamStep(step))
			run.step(s, step)
			near(t, fmt.Sprintf("parameters of step %d", step), read(s, run.param), p, 1e-6)
			near(t, fmt.Sprintf("first moments of step %d", step), read(s, run.m), m, 1e-6)
			near(t, fmt.Sprintf("second moments of step %d", step), read(s, run.v), v, 1e-6)
		}
	})
}

// The reference's formula with each operation rounded to fp32: the bits that runs, goldens and resumed runs have had
// from the start.
func TestAdamWKeepsItsBits(t *testing.T) {
	torchtest.NoLeaks(t)
	values := startValues(adamElements)
	p, m, v := make([]float32, len(values)), make([]float32, len(values)), make([]float32, len(values))
	for i, x := range values {
		p[i] = float32(x)
	}
	do(t, func(s *torch.Scope) {
		run := newAdamRun(s, values, torch.Float32, torch.Float32)
		for step := 1; step <= 3; step++ {
			a, g := adamStep(step), numbers(len(p), uint64(step))
			scale := float32(min(1, a.Clip/(math.Sqrt(dot(g, g))+1e-6)))
			keep, rest1, beta2, rest2 := float32(1-a.LR*a.WeightDecay), float32(1-a.Beta1), float32(a.Beta2),
				float32(1-a.Beta2)
			size, correction := float32(a.LR/(1-math.Pow(a.Beta1, float64(step)))),
				float32(math.Sqrt(1-math.Pow(a.Beta2, float64(step))))
			for i := range p {
				grad := float32(g[i]) * scale
				m[i] += float32(rest1 * (grad - m[i]))
				v[i] = float32(v[i]*beta2) + float32(float32(rest2*grad)*grad)
				root := float32(float32(math.Sqrt(float64(v[i])))/correction) + float32(a.Eps)
				p[i] = float32(p[i]*keep) - float32(size*float32(m[i]/root))
			}
			run.step(s, step)
			for i, want := range [][]float32{p, m, v} {
				sameBits(t, fmt.Sprintf("buffer %d after step %d", i, step), run.bits(s)[i], want)
			}
		}
	})
}

// adamForms are the forms of buffers that the optimizer has loops and kernels for.
var adamForms = [][2]torch.Dtype{
	{torch.Float32, torch.Float32}, {torch.Float32, torch.BFloat16}, {torch.BFloat16, torch.Float32},
	{torch.BFloat16, torch.BFloat16},
}

func TestAdamWIsTheSameOnAnyNumberOfThreads(t *testing.T) {
	torchtest.NoLeaks(t)
	for _, form := range adamForms {
		var results [][][]float32
		for _, threads := range []int{1, 2} {
			withThreads(t, threads)
			do(t, func(s *torch.Scope) {
				run := newAdamRun(s, startValues(adamElements), form[0], form[1])
				for step := 1; step <= 2; step++ {
					run.step(s, step)
				}
				results = append(results, run.bits(s))
			})
		}
		for i := range results[0] {
			sameBits(t, fmt.Sprintf("%v, buffer %d", form, i), results[1][i], results[0][i])
		}
	}
}

// Slices of the buffers, updated one by one, are the whole: their elements draw the same random bits.
func TestAdamWOfSlicesIsThatOfTheWhole(t *testing.T) {
	torchtest.NoLeaks(t)
	for _, form := range adamForms {
		for _, fused := range []bool{true, false} {
			do(t, func(s *torch.Scope) {
				defer torchtest.SetFused(torchtest.SetFused(fused))
				whole := newAdamRun(s, startValues(adamElements), form[0], form[1])
				cut := newAdamRun(s, startValues(adamElements), form[0], form[1])
				for step := 1; step <= 2; step++ {
					whole.step(s, step)
					cut.stepSlices(s, step, 256)
				}
				got, want := cut.bits(s), whole.bits(s)
				for i := range want {
					sameBits(t, fmt.Sprintf("%v, fused %t, buffer %d", form, fused, i), got[i], want[i])
				}
			})
		}
	}
}

// stepSlices is step for slices of n elements.
func (r adamRun) stepSlices(s *torch.Scope, step int, n int64) {
	elements := r.param.Elements()
	grad := tensor(s, numbers(int(elements), uint64(step)), r.param.Dtype(), elements)
	total := torch.Zeros(s, []int64{1}, torch.Float64, torch.CPU)
	torch.SumSquares(grad, total)
	for first := int64(0); first < elements; first += n {
		slice := func(x *torch.Tensor) *torch.Tensor {
			if x == nil {
				return nil
			}
			return torch.Narrow(s, x, 0, first, min(n, elements-first))
		}
		a := adamStep(step)
		a.First = first
		torch.AdamW(slice(r.param), slice(r.remainder), slice(grad), slice(r.m), slice(r.v), total, a)
	}
}

// Our loops and libtorch's operations: those fuse some multiplications with additions, so that fp32 values differ in
// last places, and a bf16 moment whose random bits were just enough is the neighbour.
func TestAdamWEqualsItsPlainTwin(t *testing.T) {
	torchtest.NoLeaks(t)
	for _, form := range adamForms {
		do(t, func(s *torch.Scope) {
			ours, plain := newAdamRun(s, startValues(adamElements), form[0], form[1]),
				newAdamRun(s, startValues(adamElements), form[0], form[1])
			ours.step(s, 1)
			defer torchtest.SetFused(torchtest.SetFused(false))
			plain.step(s, 1)
			got, want := ours.bits(s), plain.bits(s)
			for i := range got {
				for k := range got[i] {
					tolerance := 1e-6 * max(1e-2, math.Abs(float64(want[i][k]))) // 1e-2 is the size of an update
					if difference := math.Abs(float64(got[i][k] - want[i][k])); difference > tolerance &&
						(i == 0 || form[1] == torch.Float32) {
						t.Fatalf("%v: value %d of buffer %d is %v, want %v", form, k, i, got[i][k], want[i][k])
					}
				}
				if form[1] == torch.BFloat16 && i > 0 {
					closeInBF16(t, fmt.Sprintf("%v, moment %d", form, i), got[i], want[i], 1e-3, 0)
				}
			}
		})
	}
}

func TestAdamWClearsTheGradientAndSkipsWhatIsNotFinite(t *testing.T) {
	for _, way := range []string{"loops", "libtorch", "kernels"} {
		t.Run(way, func(t *testing.T) {
			torchtest.NoLeaks(t)
			if way == "libtorch" {
				defer torchtest.SetFused(torchtest.SetFused(false))
			}
			if way == "kernels" {
				torchtest.Emulate(t)
			}
			for _, form := range adamForms {
				for _, bad := range []float64{0, math.NaN(), math.Inf(1)} {
					do(t, func(s *torch.Scope) {
						run := newAdamRun(s, startValues(1001), form[0], form[1])
						run.step(s, 1)
						before := run.bits(s)
						grad := tensor(s, numbers(1001, 5), form[0], 1001)
						torch.AdamW(run.param, run.remainder, grad, run.m, run.v,
							tensor(s, []float64{4 + bad}, torch.Float64, 1), adamStep(2))
						if got := read(s, grad); slices.ContainsFunc(got, func(x float64) bool { return x != 0 }) {
							t.Errorf("%v, total %v: the gradient is not cleared", form, 4+bad)
						}
						for i, after := range run.bits(s) {
							if same := slices.Equal(after, before[i]); same != (bad != 0) {
								t.Errorf("%v, total %v: buffer %d stays as it was: %v", form, 4+bad, i, same)
							}
						}
					})
				}
			}
		})
	}
}

func TestAdamWRefusesBuffersOfOtherSizes(t *testing.T) {
	torchtest.NoLeaks(t)
	for short := range 3 {
		e := fault(t, func(s *torch.Scope) {
			buffers := []*torch.Tensor{ones(s, 8), ones(s, 8), ones(s, 8)}
			buffers[short] = ones(s, 7)
			torch.AdamW(ones(s, 8), nil, buffers[0], buffers[1], buffers[2],
				torch.Zeros(s, []int64{1}, torch.Float64, torch.CPU), adamStep(1))
		})
		if want := "a buffer has 7 values for 8 parameters"; e.Op != "adamw" || e.Msg != want {
			t.Errorf("%v, want %q", e, want)
		}
	}
	e := fault(t, func(s *torch.Scope) {
		torch.AdamW(ones(s, 8), nil, ones(s, 8), ones(s, 8), ones(s, 8), ones(s, 1), adamStep(1))
	})
	if want := "the sum of squares must be one fp64 value on cpu"; e.Msg != want {
		t.Errorf("%v, want %q", e, want)
	}
}

// With split masters a bf16 parameter trains as an fp32 one does, bit for bit.
func TestSplitMastersTrainAsFP32Does(t *testing.T) {
	torchtest.NoLeaks(t)
	for _, moments := range []torch.Dtype{torch.Float32, torch.BFloat16} {
		do(t, func(s *torch.Scope) {
			wide, split := newAdamRun(s, startValues(adamElements), torch.Float32, moments),
				newAdamRun(s, startValues(adamElements), torch.BFloat16, moments)
			for step := 1; step <= 6; step++ {
				wide.step(s, step)
				split.step(s, step)
				for i, want := range wide.bits(s) {
					sameBits(t, fmt.Sprintf("buffer %d after step %d", i, step), split.bits(s)[i], want)
				}
			}
			masters := split.master(s)
			for i, x := range read(s, split.param) { // what the model computes with is the master, rounded
				if want := nearestBF16Away(masters[i]); float32(x) != want {
					t.Fatalf("parameter %d is %v, want %v", i, x, want)
				}
			}
		})
	}
}

// nearestBF16Away rounds to the nearest bf16, ties away from zero.
func nearestBF16Away(x float32) float32 {
	return math.Float32frombits((math.Float32bits(x) + 0x8000) &^ 0xffff)
}

func checkSplit(t interface {
	Helper()
	Fatalf(format string, args ...any)
}, values []float32) {
	t.Helper()
	err := torch.Do(func(s *torch.Scope) {
		n := []int64{int64(len(values))}
		param, remainder := torch.Empty(s, n, torch.BFloat16, torch.CPU), torch.Empty(s, n, torch.Int16, torch.CPU)
		torch.SplitMaster(torch.From(s, values, n, torch.CPU), param, remainder)
		merged, high := torch.Read[float32](torch.MergeMaster(s, param, remainder)),
			torch.Read[float32](torch.To(s, param, torch.Float32))
		for i, x := range values {
			if math.Float32bits(merged[i]) != math.Float32bits(x) {
				t.Fatalf("%v (%08x) comes back as %v (%08x)", x, math.Float32bits(x), merged[i],
					math.Float32bits(merged[i]))
			}
			if want := nearestBF16Away(x); math.Float32bits(high[i]) != math.Float32bits(want) {
				t.Fatalf("the bf16 half of %v (%08x) is %v, want %v", x, math.Float32bits(x), high[i], want)
			}
		}
	})
	if err != nil {
		t.Fatalf("%v", err)
	}
}

func TestSplitMastersAreExact(t *testing.T) {
	torchtest.NoLeaks(t)
	var edges []float32
	// zero, denormal, normal, largest
	for _, high := range []uint32{0x0000, 0x0001, 0x007f, 0x0080, 0x3f7f, 0x3f80, 0x7f7e, 0x7f7f} {
		for _, low := range []uint32{0x0000, 0x0001, 0x7fff, 0x8000, 0x8001, 0xffff} { // below, at and above halfway
			for _, sign := range []uint32{0, 1 << 31} {
				edges = append(edges, math.Float32frombits(sign|high<<16|low))
			}
		}
	}
	checkSplit(t, edges)
	rapid.Check(t, func(t *rapid.T) {
		checkSplit(t, rapid.SliceOfN(rapid.Float32(), 1, 64).Draw(t, "values"))
	})
	rapid.Check(t, func(t *rapid.T) { // all bit patterns alike, the finite ones
		bits := rapid.SliceOfN(rapid.Uint32(), 1, 64).Draw(t, "bits")
		var values []float32
		for _, b := range bits {
			if x := math.Float32frombits(b); !math.IsNaN(float64(x)) && !math.IsInf(float64(x), 0) {
				values = append(values, x)
			}
		}
		checkSplit(t, values)
	})
}

func sumSquares(s *torch.Scope, x *torch.Tensor) float64 {
	total := torch.Zeros(s, []int64{1}, torch.Float64, torch.CPU)
	torch.SumSquares(x, total)
	return read(s, total)[0]
}

func TestSumSquaresIsExactAndTheSameOnAnyNumberOfThreads(t *testing.T) {
	torchtest.NoLeaks(t)
	for _, dtype := range []torch.Dtype{torch.Float32, torch.BFloat16} {
		for _, n := range []int{0, 1, 7, 1<<16 - 1, 1<<16 + 3, 5*(1<<16) + 5} {
			values := numbers(n, uint64(n))
			for i := range values {
				values[i] *= math.Exp2(float64(i%40 - 20)) // from 1e-6 to 1e6: fp32 sums would lose the small ones
			}
			do(t, func(s *torch.Scope) {
				x := tensor(s, values, dtype, int64(n))
				want := dot(values, values)
				var got []float64
				for _, threads := range []int{1, 2} {
					withThreads(t, threads)
					got = append(got, sumSquares(s, x))
				}
				if got[0] != got[1] {
					t.Errorf("%v, %d values: %v on one thread, %v on two", dtype, n, got[0], got[1])
				}
				if math.Abs(got[0]-want) > 1e-12*want {
					t.Errorf("%v, %d values: %v, want %v", dtype, n, got[0], want)
				}
			})
		}
	}
}

func TestSumSquaresShowsWhatIsNotFinite(t *testing.T) {
	torchtest.NoLeaks(t)
	for _, dtype := range []torch.Dtype{torch.Float32, torch.BFloat16} {
		do(t, func(s *torch.Scope) {
			values := slices.Repeat([]float64{1}, 100_000)
			values[70_000] = math.NaN()
			if got := sumSquares(s, tensor(s, values, dtype, 100_000)); !math.IsNaN(got) {
				t.Errorf("%v: a NaN sums to %v", dtype, got)
			}
			values[70_000] = math.Inf(-1)
			if got := sumSquares(s, tensor(s, values, dtype, 100_000)); !math.IsInf(got, 1) {
				t.Errorf("%v: an infinity sums to %v", dtype, got)
			}
		})
	}
}
