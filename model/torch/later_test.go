package torch_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/model/torch/torchtest"
)

// What is read later is what the tensor held then.
func TestReadLater(t *testing.T) {
	torchtest.NoLeaks(t)
	var later, dropped *torch.Later
	do(t, func(s *torch.Scope) {
		x := torch.From(s, []float64{1, 2, 3}, []int64{3}, torch.CPU)
		later, dropped = torch.ReadLater(x), torch.ReadLater(x)
		x.Zero()
	})
	do(t, func(*torch.Scope) {
		if got := torch.Values[float64](later); !slices.Equal(got, []float64{1, 2, 3}) {
			t.Errorf("%v", got)
		}
	})
	if err := torch.Do(func(*torch.Scope) { torch.Values[float32](dropped) }); err == nil {
		t.Error("fp64 values were read as fp32")
	}
	for range 2 {
		dropped.Free()
		later.Free()
		(*torch.Later)(nil).Free()
	}
}

func TestNaNIfNotFinite(t *testing.T) {
	torchtest.NoLeaks(t)
	do(t, func(s *torch.Scope) {
		for _, test := range []struct {
			values []float32
			spoils bool
		}{
			{[]float32{1, -2, math.MaxFloat32, math.MaxFloat32}, false}, {[]float32{0, float32(math.Inf(1)), 1}, true},
			{[]float32{float32(math.Inf(-1))}, true}, {[]float32{1, float32(math.NaN())}, true},
		} {
			total := torch.From(s, []float64{7}, []int64{1}, torch.CPU)
			torch.NaNIfNotFinite(total, torch.From(s, test.values, []int64{int64(len(test.values))}, torch.CPU))
			if got := torch.Read[float64](total)[0]; math.IsNaN(got) != test.spoils || !test.spoils && got != 7 {
				t.Errorf("%v makes 7 %v", test.values, got)
			}
		}
	})
}

func TestMark(t *testing.T) {
	do(t, func(*torch.Scope) {
		first := torch.MarkTime(torch.CPU)
		time.Sleep(2 * time.Millisecond)
		second := torch.MarkTime(torch.CPU)
		if took := first.Until(second); took < 2*time.Millisecond {
			t.Errorf("2 ms were %v", took)
		}
		first.Free()
		(*torch.Timestamp)(nil).Free()
	})
}
