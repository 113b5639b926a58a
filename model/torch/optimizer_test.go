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
	correction1, correction2 := 1-math.Pow(a.Beta1, float64(a.Step)), 1-math.Pow(a.Beta2, float64(a.Step))
	for i := range p {
		grad := g[i] * a.GradScale
		m[i] = a.Beta1*m[i] + (1-a.Beta1)*grad
		v[i] = a.Beta2*v[i] + (1-a.Beta2)*grad*grad
		p[i] -= a.LR*a.WeightDecay*p[i] + a.LR*(m[i]/correction1)/(math.Sqrt(v[i]/correction2)+a.Eps)
	}
}

func adamStep(step int) torch.Adam {
	return torch.Adam{LR: 0.01 / float64(step), Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: 0.1, Step: int64(step), GradScale: 0.7}
}

// adamRun is a parameter under AdamW, its gradients being numbers(n, step).
type adamRun struct{ param, remainder, m, v *torch.Tensor }

func newAdamRun(s *torch.Scope, values []float64, dtype torch.Dtype) adamRun {
	n := int64(len(values))
	zeros := func(dtype torch.Dtype) *torch.Tensor { return torch.Zeros(s, []int64{n}, dtype, torch.CPU) }
	r := adamRun{param: zeros(dtype), m: zeros(torch.Float32), v: zeros(torch.Float32)}
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
		torch.AdamW(r.param, r.remainder, tensor(s, numbers(int(r.param.Elements()), uint64(step)), r.param.Dtype(), r.param.Elements()), r.m, r.v, adamStep(step))
		return nil
	})
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
		run := newAdamRun(s, p, torch.Float32)
		for step := 1; step <= 6; step++ {
			adamInFloat64(p, numbers(len(p), uint64(step)), m, v, adamStep(step))
			run.step(s, step)
			near(t, fmt.Sprintf("parameters of step %d", step), read(s, run.param), p, 1e-6)
			near(t, fmt.Sprintf("first moments of step %d", step), read(s, run.m), m, 1e-6)
			near(t, fmt.Sprintf("second moments of step %d", step), read(s, run.v), v, 1e-6)
		}
	})
}

func TestAdamWIsTheSameOnAnyNumberOfThreads(t *testing.T) {
	torchtest.NoLeaks(t)
	for _, dtype := range []torch.Dtype{torch.Float32, torch.BFloat16} {
		var results [][]float32
		for _, threads := range []int{1, 2} {
			withThreads(t, threads)
			do(t, func(s *torch.Scope) {
				run := newAdamRun(s, startValues(adamElements), dtype)
				for step := 1; step <= 2; step++ {
					run.step(s, step)
				}
				results = append(results, run.master(s))
			})
		}
		sameBits(t, dtype.String(), results[1], results[0])
	}
}

func TestAdamWRefusesBuffersOfOtherSizes(t *testing.T) {
	torchtest.NoLeaks(t)
	for short := range 3 {
		e := fault(t, func(s *torch.Scope) {
			buffers := []*torch.Tensor{ones(s, 8), ones(s, 8), ones(s, 8)}
			buffers[short] = ones(s, 7)
			torch.AdamW(ones(s, 8), nil, buffers[0], buffers[1], buffers[2], adamStep(1))
		})
		if want := "a buffer has 7 values for 8 parameters"; e.Op != "adamw" || e.Msg != want {
			t.Errorf("%v, want %q", e, want)
		}
	}
}

// With split masters a bf16 parameter trains as an fp32 one does. The two are not equal bit for bit: the fp32 loop computes
// step * (m / denominator), the engine's addcdiv (step * m) / denominator, and its vector code fuses multiplications with additions.
// So an update may differ in its last bit, and the master in its own: two units in the first step, one more in each that follows.
func TestSplitMastersTrainAsFP32Does(t *testing.T) {
	torchtest.NoLeaks(t)
	do(t, func(s *torch.Scope) {
		wide, split := newAdamRun(s, startValues(adamElements), torch.Float32), newAdamRun(s, startValues(adamElements), torch.BFloat16)
		sameBits(t, "masters before the first step", split.master(s), wide.master(s))
		for step := 1; step <= 6; step++ {
			wide.step(s, step)
			split.step(s, step)
			got, want := split.master(s), wide.master(s)
			worst := 0.0
			for i := range got {
				scale := max(math.Abs(float64(want[i])), 0.01) // the size of the updates: near zero the difference is theirs
				worst = max(worst, math.Abs(float64(got[i])-float64(want[i]))/scale)
			}
			if limit := 1.2e-7 * float64(1+step); worst > limit {
				t.Errorf("step %d: masters differ by %g of their size, more than %g", step, worst, limit)
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
		merged, high := torch.Read[float32](torch.MergeMaster(s, param, remainder)), torch.Read[float32](torch.To(s, param, torch.Float32))
		for i, x := range values {
			if math.Float32bits(merged[i]) != math.Float32bits(x) {
				t.Fatalf("%v (%08x) comes back as %v (%08x)", x, math.Float32bits(x), merged[i], math.Float32bits(merged[i]))
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
	for _, high := range []uint32{0x0000, 0x0001, 0x007f, 0x0080, 0x3f7f, 0x3f80, 0x7f7e, 0x7f7f} { // zero, denormal, normal, largest
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
					got = append(got, torch.SumSquares(x))
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
			if got := torch.SumSquares(tensor(s, values, dtype, 100_000)); !math.IsNaN(got) {
				t.Errorf("%v: a NaN sums to %v", dtype, got)
			}
			values[70_000] = math.Inf(-1)
			if got := torch.SumSquares(tensor(s, values, dtype, 100_000)); !math.IsInf(got, 1) {
				t.Errorf("%v: an infinity sums to %v", dtype, got)
			}
		})
	}
}
