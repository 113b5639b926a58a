package train

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/model/torch"
)

// Operations of one sample of a 7B model by hand: 6.476e9 matrix elements in the layers (32 (4 4096^2 + 3 4096 11008)), 131e6 in the head,
// 21e6 in the projector, a tower of 303e6 and its scores at 577 rows.
func TestFlops(t *testing.T) {
	for _, test := range []struct {
		stage              int
		tokens, supervised float64
		teraflops          float64
	}{
		{1, 600, 24, 16.25}, {2, 800, 300, 32.25},
	} {
		var got float64
		rehearse(t, Bench{Shape: "7b", Stage: test.stage}, func(m *model.LLaVA) {
			got = flops(m, sizeOf(m).trains, amounts{test.tokens, test.supervised, 1, test.tokens * test.tokens}) / 1e12
		})
		if math.Abs(got/test.teraflops-1) > 0.005 {
			t.Errorf("stage %d: %.3f Tflop, want %.2f", test.stage, got, test.teraflops)
		}
	}
}

// rehearse declares a shape's model without a value.
func rehearse(t *testing.T, b Bench, do func(*model.LLaVA)) {
	t.Helper()
	if _, err := torch.Open(); err != nil {
		t.Fatal(err)
	}
	r, stage, err := b.recipe(t.TempDir(), b.parts())
	if err != nil {
		t.Fatal(err)
	}
	p, err := newPlan(r, stage, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	m, err := model.Rehearse(r.Model, model.OpenOptions{Trains: p.trains})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Free()
	do(m)
}

func TestBench(t *testing.T) {
	r, err := Bench{Shape: "tiny", Stage: 2, Batch: 4, Steps: 2, Warmup: 1, Threads: 1, Device: "cpu", Dtype: "fp32"}.Run()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for part, share := range r.Share {
		if share <= 0 {
			t.Errorf("%s has a share of %v", part, share)
		}
		sum += share
	}
	if len(r.Share) != 6 || math.Abs(sum-1) > 1e-9 {
		t.Errorf("shares are %v", r.Share)
	}
	if r.Counts != "6N" || r.OfMatmul <= 0 || r.OfMatmul > 1.2 || math.Abs(r.OfMatmul*r.MatmulTflops/r.Tflops-1) > 1e-9 {
		t.Errorf("%s: %v of %v Tflop/s: %v", r.Counts, r.Tflops, r.MatmulTflops, r.OfMatmul)
	}
	if r.PredictedMB == 0 || math.Abs(float64(r.MeasuredMB)/float64(r.PredictedMB)-1) > 0.1 {
		t.Errorf("%d MB predicted, %d measured", r.PredictedMB, r.MeasuredMB)
	}
}

// A shape that does not fit is refused before its weights are made, with what would fit.
func TestBenchDoesNotFit(t *testing.T) {
	for _, test := range []struct {
		bench Bench
		want  string
	}{
		{Bench{Shape: "small", Stage: 2, Batch: 1 << 20}, "--batch "},
		{Bench{Shape: "13b", Stage: 2, Batch: 1}, "not even a batch of 1 does"},
	} {
		test.bench.Steps, test.bench.Device, test.bench.Dtype = 1, "cpu", "fp32"
		_, err := test.bench.Run()
		if !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", test.bench.Shape, err)
		}
	}
}
