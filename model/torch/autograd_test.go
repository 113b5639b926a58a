package torch_test

import (
	"testing"

	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/model/torch/torchtest"
)

// recording says whether a graph is recorded now.
func recording(s *torch.Scope) bool {
	x := torch.Detach(s, ones(s, 2), true)
	return torch.Mul(s, x, x).RequiresGrad()
}

func TestGradientModeNests(t *testing.T) {
	torchtest.NoLeaks(t)
	do(t, func(s *torch.Scope) {
		expect := func(where string, want bool) {
			if got := recording(s); got != want {
				t.Errorf("%s: recording is %v, want %v", where, got, want)
			}
		}
		expect("at first", true)
		torch.NoGrad(func() {
			expect("in NoGrad", false)
			torch.NoGrad(func() { expect("in a second NoGrad", false) })
			expect("after the second NoGrad", false)
		})
		expect("after NoGrad", true)
	})
}

func TestGradientModeIsRestoredByAPanic(t *testing.T) {
	torchtest.NoLeaks(t)
	fault(t, func(s *torch.Scope) {
		torch.NoGrad(func() { torch.Add(s, ones(s, 2), ones(s, 3)) })
	})
	do(t, func(s *torch.Scope) {
		if !recording(s) {
			t.Error("no graph is recorded after a failure inside NoGrad")
		}
	})
}

func TestBackwardAddsToTheGivenBuffer(t *testing.T) {
	torchtest.NoLeaks(t)
	do(t, func(s *torch.Scope) {
		flat := torch.From(s, []float32{1, 2, 3, 4, 5}, []int64{5}, torch.CPU)
		buffer := torch.Zeros(s, []int64{5}, torch.Float32, torch.CPU)
		weight := torch.LeafView(s, flat, 1, []int64{2, 2}) // 2 3 / 4 5
		weight.SetGrad(torch.LeafView(s, buffer, 1, []int64{2, 2}))
		x := torch.From(s, []float32{10, 20}, []int64{1, 2}, torch.CPU)
		for range 2 {
			y := torch.Linear(s, x, weight, nil)
			near(t, "output", read(s, y), []float64{80, 140}, 0)
			torch.Backward(y, torch.From(s, []float32{1, 3}, []int64{1, 2}, torch.CPU))
		}
		near(t, "flat gradient", read(s, buffer), []float64{0, 20, 40, 60, 120}, 0) // each twice over
	})
}

func TestBackwardOfAScalarNeedsNoGradient(t *testing.T) {
	torchtest.NoLeaks(t)
	do(t, func(s *torch.Scope) {
		x := leaf(s, []float64{3}, torch.Float32, 1)
		torch.Backward(torch.Reshape(s, torch.Mul(s, x, x), 1), nil)
		near(t, "gradient", read(s, torch.Grad(s, x)), []float64{6}, 0)
	})
	fault(t, func(s *torch.Scope) { // more than one value: the gradient is needed
		x := leaf(s, []float64{3, 4}, torch.Float32, 2)
		torch.Backward(torch.Mul(s, x, x), nil)
	})
}

func TestDetachCutsTheGraph(t *testing.T) {
	torchtest.NoLeaks(t)
	do(t, func(s *torch.Scope) {
		x := leaf(s, []float64{3}, torch.Float32, 1)
		y := torch.Mul(s, x, x)
		constant, cut := torch.Detach(s, y, false), torch.Detach(s, y, true)
		if constant.RequiresGrad() || !cut.RequiresGrad() {
			t.Error("Detach does not follow requiresGrad")
		}
		torch.Backward(torch.Mul(s, cut, cut), nil)
		near(t, "gradient at the cut", read(s, torch.Grad(s, cut)), []float64{18}, 0)
		if torch.Grad(s, x) != nil {
			t.Error("a gradient crossed the cut")
		}
	})
}
