package torch_test

import (
	"math"
	"testing"

	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/model/torch/torchtest"
)

// The known answers of Random123's kat_vectors, philox4x32 with 10 rounds.
func TestPhilox(t *testing.T) {
	for _, c := range []struct {
		counter [4]uint32
		key     [2]uint32
		want    [4]uint32
	}{
		{[4]uint32{}, [2]uint32{}, [4]uint32{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
		{[4]uint32{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, [2]uint32{0xffffffff, 0xffffffff},
			[4]uint32{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
		{[4]uint32{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, [2]uint32{0xa4093822, 0x299f31d0},
			[4]uint32{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
	} {
		if got := torchtest.Philox(c.counter, c.key); got != c.want {
			t.Errorf("philox of %08x by %08x is %08x, want %08x", c.counter, c.key, got, c.want)
		}
	}
}

// adamOnce updates bf16 moments that are m and v everywhere, by a gradient that is g everywhere, and returns them.
func adamOnce(s *torch.Scope, n int, m, v, g float64, a torch.Adam) (first, second []float64) {
	fill := func(x float64, dtype torch.Dtype) *torch.Tensor {
		return torch.Scale(s, torch.To(s, ones(s, int64(n)), dtype), x)
	}
	firsts, seconds := fill(m, torch.BFloat16), fill(v, torch.BFloat16)
	torch.AdamW(fill(0, torch.Float32), nil, fill(g, torch.Float32), firsts, seconds,
		torch.Zeros(s, []int64{1}, torch.Float64, torch.CPU), a)
	return read(s, firsts), read(s, seconds)
}

func moments(x []float64) (mean, deviation float64) {
	for _, v := range x {
		mean += v / float64(len(x))
	}
	for _, v := range x {
		deviation += (v - mean) * (v - mean) / float64(len(x))
	}
	return mean, math.Sqrt(deviation)
}

func TestMomentsAreRoundedWithoutBias(t *testing.T) {
	torchtest.NoLeaks(t)
	const n = 200_000
	a := torch.Adam{Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, Step: 7, Seed: 3}
	for _, fused := range []bool{true, false} {
		defer torchtest.SetFused(torchtest.SetFused(fused))
		for _, x := range []float64{1, -1, 0.75, 1e-30, -3e20, 1e-40} { // the last is denormal
			do(t, func(s *torch.Scope) {
				x := float64(nearestBF16Away(float32(x)))
				first, second := adamOnce(s, n, x, math.Abs(x), 0, a)
				for _, row := range []struct {
					what string
					got  []float64
					want float64
				}{
					{"first", first, x + 0.1*(0-x)}, {"second", second, math.Abs(x) * 0.999},
				} {
					mean, deviation := moments(row.got)
					// between neighbours in bf16
					step := math.Exp2(max(math.Floor(math.Log2(math.Abs(row.want))), -126) - 7)
					limit := 5*deviation/math.Sqrt(n) + 1e-6*step
					if math.Abs(mean-row.want) > limit {
						t.Errorf("%s moment of %g: the mean is %g, want %g within %g", row.what, x, mean, row.want,
							limit)
					}
					for _, v := range row.got {
						if math.Abs(v-mean) > step {
							t.Fatalf("%s moment of %g: %g is no neighbour of %g", row.what, x, v, mean)
						}
					}
				}
			})
		}
	}
}

// With beta2 = 0.999 a second moment changes by an eighth of what bf16 can tell apart: rounded to the nearest it
// would never move.
func TestMomentsMoveByLessThanBF16Resolves(t *testing.T) {
	torchtest.NoLeaks(t)
	const n, steps = 10_000, 100
	do(t, func(s *torch.Scope) {
		shape := []int64{n}
		param, m, v := torch.Zeros(s, shape, torch.Float32, torch.CPU),
			torch.Zeros(s, shape, torch.BFloat16, torch.CPU), torch.To(s, ones(s, n), torch.BFloat16)
		grad, total := torch.Zeros(s, shape, torch.Float32, torch.CPU),
			torch.Zeros(s, []int64{1}, torch.Float64, torch.CPU)
		for step := 1; step <= steps; step++ {
			torch.AdamW(param, nil, grad, m, v, total,
				torch.Adam{Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, Step: int64(step), Seed: 1})
		}
		mean, _ := moments(read(s, v))
		if want := math.Pow(0.999, steps); math.Abs(mean-want) > 2e-3 {
			t.Errorf("after %d steps the mean is %v, want %v", steps, mean, want)
		}
	})
}

// The random bits are those of the seed, the step, the moment and the place.
func TestMomentsAreRoundedAnewEachTime(t *testing.T) {
	torchtest.NoLeaks(t)
	const n = 4096
	a := torch.Adam{Beta1: 0.9, Beta2: 0.9, Eps: 1e-8, Step: 7, Seed: 3}
	do(t, func(s *torch.Scope) {
		first, second := adamOnce(s, n, 1, 1, 0, a)
		again, _ := adamOnce(s, n, 1, 1, 0, a)
		differ := func(what string, x, y []float64, some bool) {
			t.Helper()
			count := 0
			for i := range x {
				if x[i] != y[i] {
					count++
				}
			}
			// two draws that have nothing in common differ in 2 p (1-p) of the places, with p about 0.2
			if some != (count > n/5 && count < n/2) || !some && count > 0 {
				t.Errorf("%s: %d of %d values differ", what, count, n)
			}
		}
		differ("the same again", first, again, false)
		differ("the two moments", first, second, true)
		b := a
		b.Seed = 1 << 40
		other, _ := adamOnce(s, n, 1, 1, 0, b)
		differ("another seed", first, other, true)
		b = a
		b.Step = 7 + 1<<33
		other, _ = adamOnce(s, n, 1, 1, 0, b)
		differ("another step", first, other, true)
		differ("neighbours", first[:n-1], append([]float64{}, first[1:]...), true)
	})
}
