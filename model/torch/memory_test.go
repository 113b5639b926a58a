package torch_test

import (
	"testing"

	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/model/torch/torchtest"
)

// Tensors on the CPU are counted while they live, and the peak holds what was freed since.
func TestAllocated(t *testing.T) {
	torchtest.NoLeaks(t)
	if _, err := torch.Open(); err != nil {
		t.Fatal(err)
	}
	const bytes = 4 << 20
	near := func(what string, got, want int64) {
		t.Helper()
		if got < want || got > want+64<<10 {
			t.Errorf("%s: %d bytes, want %d", what, got, want)
		}
	}
	before := torch.Allocated()
	torch.ResetPeakAllocated()
	if err := torch.Do(func(s *torch.Scope) {
		torch.Zeros(s, []int64{bytes / 4}, torch.Float32, torch.CPU)
		near("one tensor", torch.Allocated()-before, bytes)
		s.Sub(func(s *torch.Scope) *torch.Tensor {
			torch.Zeros(s, []int64{bytes / 2}, torch.Float32, torch.CPU)
			return nil
		})
		near("one tensor after another", torch.Allocated()-before, bytes)
	}); err != nil {
		t.Fatal(err)
	}
	near("none", torch.Allocated()-before, 0)
	near("the peak", torch.PeakAllocated()-before, 3*bytes)
	torch.ResetPeakAllocated()
	near("a new peak", torch.PeakAllocated()-before, 0)
}
