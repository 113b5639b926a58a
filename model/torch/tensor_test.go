package torch_test

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/model/torch/torchtest"
)

func roundTrip[E torch.Element](t *testing.T, dtype torch.Dtype, values ...E) {
	t.Helper()
	shape := []int64{2, int64(len(values)) / 2}
	do(t, func(s *torch.Scope) {
		x := torch.From(s, values, shape, torch.CPU)
		if x.Dtype() != dtype || x.Device() != torch.CPU || !slices.Equal(x.Shape(), shape) ||
			x.Elements() != int64(len(values)) {
			t.Errorf("from %T: %v %v on %v", values, x.Dtype(), x.Shape(), x.Device())
		}
		clear(values[:1]) // the tensor has a copy
		if got := torch.Read[E](x); got[0] == values[0] || !slices.Equal(got[1:], values[1:]) {
			t.Errorf("read %v, want %v", got, values)
		}
	})
}

func TestSlicesRoundTrip(t *testing.T) {
	torchtest.NoLeaks(t)
	roundTrip[uint8](t, torch.Uint8, 1, 0, 255, 128)
	roundTrip[int16](t, torch.Int16, 1, -1, math.MaxInt16, math.MinInt16)
	roundTrip[int32](t, torch.Int32, 1, -1, math.MaxInt32, math.MinInt32)
	roundTrip[int64](t, torch.Int64, 1, -1, math.MaxInt64, math.MinInt64)
	roundTrip[float32](t, torch.Float32, 1, -0.1, math.MaxFloat32, math.SmallestNonzeroFloat32)
	roundTrip[float64](t, torch.Float64, 1, -0.1, math.MaxFloat64, math.SmallestNonzeroFloat64)
}

func TestBytesRoundTripInEveryDtype(t *testing.T) {
	torchtest.NoLeaks(t)
	random := rand.New(rand.NewPCG(1, 2))
	for _, dtype := range []torch.Dtype{torch.Uint8, torch.Int16, torch.Int32, torch.Int64, torch.Float16,
		torch.Float32, torch.Float64, torch.Bool, torch.BFloat16} {
		t.Run(dtype.String(), func(t *testing.T) {
			data := make([]byte, 6*dtype.Size())
			for i := range data {
				data[i] = byte(random.Uint32())
				if dtype == torch.Bool {
					data[i] &= 1
				}
			}
			do(t, func(s *torch.Scope) {
				x := torch.Empty(s, []int64{3, 2}, dtype, torch.CPU)
				x.SetBytes(data, dtype, []int64{3, 2})
				if got := x.Bytes(); !bytes.Equal(got, data) {
					t.Errorf("bytes %x, want %x", got, data)
				}
				if z := torch.Zeros(s, []int64{3, 2}, dtype, torch.CPU); !bytes.Equal(z.Bytes(),
					make([]byte, len(data))) {
					t.Errorf("zeros are %x", z.Bytes())
				}
				x.Zero()
				if got := x.Bytes(); !bytes.Equal(got, make([]byte, len(data))) {
					t.Errorf("after Zero: %x", got)
				}
			})
		})
	}
}

func TestBytesOfAViewAreContiguous(t *testing.T) {
	torchtest.NoLeaks(t)
	do(t, func(s *torch.Scope) {
		x := torch.From(s, []uint8{0, 1, 2, 3, 4, 5}, []int64{2, 3}, torch.CPU)
		column := torch.Narrow(s, x, 1, 1, 1)
		if diff := cmp.Diff([]byte{1, 4}, column.Bytes()); diff != "" {
			t.Error(diff)
		}
		column.Copy(torch.From(s, []uint8{9, 8}, []int64{2, 1}, torch.CPU))
		if diff := cmp.Diff([]uint8{0, 9, 2, 3, 8, 5}, torch.Read[uint8](x)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestEmptyAndScalarShapes(t *testing.T) {
	torchtest.NoLeaks(t)
	do(t, func(s *torch.Scope) {
		none := torch.From(s, []int64(nil), []int64{0}, torch.CPU)
		if none.Elements() != 0 || len(torch.Read[int64](none)) != 0 || len(none.Bytes()) != 0 {
			t.Error("a tensor of no elements has some")
		}
		one := torch.From(s, []float32{7}, nil, torch.CPU)
		if len(one.Shape()) != 0 || one.Elements() != 1 || torch.Read[float32](one)[0] != 7 {
			t.Errorf("scalar has shape %v", one.Shape())
		}
		if got := torch.Read[float32](torch.Ones(s, []int64{2}, torch.Float32, torch.CPU)); !slices.Equal(got,
			[]float32{1, 1}) {
			t.Errorf("ones are %v", got)
		}
	})
}

// nearestBF16 rounds to the nearest bf16, ties to even, as the engine's conversions do.
func nearestBF16(x float32) float32 {
	bits := math.Float32bits(x)
	return math.Float32frombits((bits + 0x7fff + bits>>16&1) &^ 0xffff)
}

func TestConversionToBF16RoundsToNearestEven(t *testing.T) {
	torchtest.NoLeaks(t)
	values := []float32{0, 1, 1 + 0x1p-8, 1 + 3*0x1p-8, -1 - 0x1p-8, 1 + 0x1p-8 + 0x1p-20, 0x1p-133, 1e-40,
		math.MaxFloat32, float32(math.Inf(-1))}
	random := rand.New(rand.NewPCG(3, 4))
	for range 1000 {
		values = append(values, float32(random.NormFloat64()))
	}
	do(t, func(s *torch.Scope) {
		n := []int64{int64(len(values))}
		wide := torch.From(s, values, n, torch.CPU)
		copied, set := torch.Empty(s, n, torch.BFloat16, torch.CPU), torch.Empty(s, n, torch.BFloat16, torch.CPU)
		copied.Copy(wide)
		set.SetBytes(wide.Bytes(), torch.Float32, n)
		for what, narrow := range map[string]*torch.Tensor{"To": torch.To(s, wide, torch.BFloat16), "Copy": copied,
			"SetBytes": set} {
			for i, x := range read(s, narrow) {
				if want := nearestBF16(values[i]); float32(x) != want {
					t.Fatalf("%s: %v becomes %v, want %v", what, values[i], x, want)
				}
			}
		}
	})
}

func TestConversionToFP16(t *testing.T) {
	torchtest.NoLeaks(t)
	for _, c := range []struct{ value, want float64 }{
		{1, 1}, {65504, 65504}, {65519, 65504}, {65520, math.Inf(1)}, {1 + 0x1p-11, 1}, {1 + 3*0x1p-11, 1 + 0x1p-9},
		{0x1p-24, 0x1p-24}, {0x1p-26, 0},
	} {
		do(t, func(s *torch.Scope) {
			if got := read(s, tensor(s, []float64{c.value}, torch.Float16, 1))[0]; got != c.want {
				t.Errorf("%v becomes %v, want %v", c.value, got, c.want)
			}
		})
	}
}

func TestWrongSizesAndDtypesAreErrors(t *testing.T) {
	torchtest.NoLeaks(t)
	for _, c := range []struct {
		op, message string
		f           func(s *torch.Scope)
	}{
		{"from", "3 values for shape [2 2]", func(s *torch.Scope) {
			torch.From(s, []int64{1, 2, 3}, []int64{2, 2}, torch.CPU)
		}},
		{"read", "the tensor holds fp32, not i64",
			func(s *torch.Scope) { torch.Read[int64](torch.Ones(s, []int64{2}, torch.Float32, torch.CPU)) }},
		{"set bytes", "2 values for shape [3]", func(s *torch.Scope) {
			torch.Zeros(s, []int64{3}, torch.BFloat16, torch.CPU).SetBytes(make([]byte, 4), torch.BFloat16, []int64{3})
		}},
		{"set bytes", "", func(s *torch.Scope) {
			torch.Zeros(s, []int64{3}, torch.Float32, torch.CPU).SetBytes(make([]byte, 8), torch.Float32, []int64{2})
		}},
		{"describe", "9 dimensions", func(s *torch.Scope) {
			torch.Zeros(s, make([]int64, 9), torch.Float32, torch.CPU).Shape()
		}},
	} {
		var fault *torch.Error
		if err := torch.Do(c.f); !errors.As(err, &fault) || fault.Op != c.op ||
			!strings.Contains(fault.Msg, c.message) {
			t.Errorf("%v, want an error of %s that says %q", err, c.op, c.message)
		}
	}
}

func TestRandomFillsDependOnTheSeedAlone(t *testing.T) {
	torchtest.NoLeaks(t)
	shape := []int64{101, 99} // odd, so that a vectorised tail would show
	fills := map[string]func(x *torch.Tensor, seed uint64){
		"normal":  func(x *torch.Tensor, seed uint64) { x.FillNormal(0.5, seed) },
		"uniform": func(x *torch.Tensor, seed uint64) { x.FillUniform(0.5, seed) },
	}
	for name, fill := range fills {
		t.Run(name, func(t *testing.T) {
			do(t, func(s *torch.Scope) {
				draw := func(dtype torch.Dtype, seed uint64, threads int) *torch.Tensor {
					withThreads(t, threads)
					x := torch.Empty(s, shape, dtype, torch.CPU)
					fill(x, seed)
					return x
				}
				first := torch.Read[float32](draw(torch.Float32, 7, 1))
				sameBits(t, "the same seed", torch.Read[float32](draw(torch.Float32, 7, 2)), first)
				if slices.Equal(torch.Read[float32](draw(torch.Float32, 8, 1)), first) {
					t.Error("another seed draws the same values")
				}
				narrow := read(s, draw(torch.BFloat16, 7, 1))
				for i := range narrow {
					if want := nearestBF16(first[i]); float32(narrow[i]) != want {
						t.Fatalf("bf16 value %d is %v, want %v: the fp32 one, rounded", i, narrow[i], want)
					}
				}
				checkMoments(t, name, first)
			})
		})
	}
}

func checkMoments(t *testing.T, name string, values []float32) {
	t.Helper()
	mean, square, largest := 0.0, 0.0, 0.0
	for _, x := range values {
		mean += float64(x) / float64(len(values))
		square += float64(x) * float64(x) / float64(len(values))
		largest = max(largest, math.Abs(float64(x)))
	}
	deviation := map[string]float64{"normal": 0.5, "uniform": 0.5 / math.Sqrt(3)}[name]
	if math.Abs(mean) > 0.02 || math.Abs(math.Sqrt(square)-deviation) > 0.02 {
		t.Errorf("mean %v, deviation %v; want 0 and %v", mean, math.Sqrt(square), deviation)
	}
	if name == "uniform" && (largest > 0.5 || largest < 0.49) {
		t.Errorf("largest magnitude %v, want just below 0.5", largest)
	}
}

// withThreads sets the number of threads for the rest of the test.
func withThreads(t *testing.T, n int) {
	t.Helper()
	before := torch.Threads()
	torch.SetThreads(n)
	t.Cleanup(func() { torch.SetThreads(before) })
}
