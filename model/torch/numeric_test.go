package torch_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/llavatrain/llavatrain/model/torch"
)

// do runs f in a scope of the engine and fails the test when the engine fails.
func do(t testing.TB, f func(s *torch.Scope)) {
	t.Helper()
	if err := torch.Do(f); err != nil {
		t.Fatal(err)
	}
}

// numbers are n multiples of 1/64 in [-2,2): every float dtype holds them exactly.
func numbers(n int, seed uint64) []float64 {
	random := rand.New(rand.NewPCG(seed, 0))
	out := make([]float64, n)
	for i := range out {
		out[i] = float64(random.IntN(256)-128) / 64
	}
	return out
}

// tensor is values in a dtype, without a gradient.
func tensor(s *torch.Scope, values []float64, dtype torch.Dtype, shape ...int64) *torch.Tensor {
	return torch.To(s, torch.From(s, values, shape, torch.CPU), dtype)
}

// leaf is values in a dtype, with a gradient to come.
func leaf(s *torch.Scope, values []float64, dtype torch.Dtype, shape ...int64) *torch.Tensor {
	return torch.Detach(s, tensor(s, values, dtype, shape...), true)
}

// read widens a tensor of any dtype.
func read(s *torch.Scope, x *torch.Tensor) []float64 {
	return torch.Read[float64](torch.To(s, x, torch.Float64))
}

// near compares values; the tolerance is relative to the wanted value, and absolute below 1.
func near(t testing.TB, what string, got, want []float64, tolerance float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s has %d values, want %d", what, len(got), len(want))
	}
	for i := range got {
		if !(math.Abs(got[i]-want[i]) <= tolerance*max(1, math.Abs(want[i]))) {
			t.Fatalf("%s: value %d is %v, want %v (tolerance %g)", what, i, got[i], want[i], tolerance)
		}
	}
}

func sameBits(t testing.TB, what string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s has %d values, want %d", what, len(got), len(want))
	}
	for i := range got {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			t.Fatalf("%s: value %d is %v, want %v bit for bit", what, i, got[i], want[i])
		}
	}
}

func product(shape []int64) int {
	n := 1
	for _, d := range shape {
		n *= int(d)
	}
	return n
}

func dot(a, b []float64) (sum float64) {
	for i := range a {
		sum += a[i] * b[i]
	}
	return sum
}

// slope is the gradient of formula's outputs, weighted by w, with respect to one of its inputs: central differences
// in float64.
func slope(formula func(x [][]float64) []float64, x [][]float64, input int, w []float64) []float64 {
	const h = 1e-5
	out := make([]float64, len(x[input]))
	for i, kept := range x[input] {
		x[input][i] = kept + h
		above := dot(formula(x), w)
		x[input][i] = kept - h
		out[i] = (above - dot(formula(x), w)) / (2 * h)
		x[input][i] = kept
	}
	return out
}
