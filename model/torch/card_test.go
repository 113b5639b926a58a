package torch_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/model/torch/torchtest"
)

// Collectives on a GPU, which scripts/gpu-suite.sh ranks runs. One is enough: NCCL with one rank, and two ranks by way
// of the host's memory.

// card is the first GPU; without one the test is skipped.
func card(t *testing.T) torch.Device {
	t.Helper()
	engine, err := torch.Open()
	if err != nil {
		t.Fatal(err)
	}
	if engine.CUDADevices == 0 {
		t.Skip("there is no GPU: " + engine.WhyNoCUDA)
	}
	return 0
}

func TestNCCLOnACard(t *testing.T) {
	device := card(t)
	torchtest.NoLeaks(t)
	collectives(t, "NCCL", ncclOn(device), 1, device)
	noErrors(t, together(t, 1, long, ncclOn(device), func(s *torch.Scope, _ int, c *torch.Comm) {
		for _, dtype := range []torch.Dtype{torch.Float32, torch.BFloat16} {
			if !c.SumsRepeat(s, dtype, device) {
				t.Errorf("sums of %v do not repeat", dtype)
			}
		}
		if err := c.AsyncError(); err != nil {
			t.Error(err)
		}
		queuedOnACard(t, s, c, device)
		if err := torch.Do(func(s *torch.Scope) { c.AllReduce(of(s, values(4, 0), torch.Float32)) }); err == nil ||
			!strings.Contains(err.Error(), "a tensor on cpu in a collective on cuda:0") {
			t.Errorf("a tensor of the host: %v", err)
		}
		t.Logf("%s: all collectives and dtypes, sums repeat", c.Engine())
	}))
}

// queuedOnACard sends what is still being computed when the call is made, drops it, and computes on: the collective
// must come after the one and before the other, and the host must wait for neither.
func queuedOnACard(t *testing.T, s *torch.Scope, c *torch.Comm, device torch.Device) {
	const n, times = 8192, 20
	x := torch.Ones(s, []int64{n, n}, torch.BFloat16, device)
	w := torch.Zeros(s, []int64{n, n}, torch.BFloat16, device)
	out := torch.Zeros(s, []int64{n, n}, torch.BFloat16, device)
	for round := range 2 { // the first starts libraries and takes memory from the driver
		torch.Synchronize()
		began := time.Now()
		var work *torch.Work
		s.Sub(func(s *torch.Scope) *torch.Tensor {
			y := x
			for range times { // 20 to 40 ms: zeros at the end
				y = torch.Linear(s, x, w, nil)
			}
			work = c.AllGather(out, torch.Add(s, y, x)) // ones
			return nil
		})
		over := torch.Zeros(s, []int64{n, n}, torch.BFloat16, device) // perhaps in the same memory
		work.Wait()
		queued := time.Since(began)
		got := inFp32(s, torch.Narrow(s, out, 0, n-1, 1))
		took := time.Since(began)
		if slices.Min(got) != 1 || slices.Max(got) != 1 {
			t.Errorf("a collective did not wait for what it sends: %v to %v, want 1", slices.Min(got), slices.Max(got))
		}
		if last := inFp32(s, torch.Narrow(s, over, 0, n-1, 1)); slices.Max(last) != 0 {
			t.Error("a collective has written into another tensor's memory")
		}
		if round == 0 {
			continue
		}
		if queued > took/2 {
			t.Errorf("the host waits for the GPU: queued after %v, done after %v", queued, took)
		}
		t.Logf("queued after %v, done after %v", queued, took)
	}
}

func TestTwoRanksOnACard(t *testing.T) {
	device := card(t)
	torchtest.NoLeaks(t)
	collectives(t, "Gloo", torch.NewGloo, 2, device)
	noErrors(t, together(t, 2, long, torch.NewGloo, func(s *torch.Scope, _ int, c *torch.Comm) {
		if !c.SumsRepeat(s, torch.BFloat16, device) {
			t.Error("sums do not repeat")
		}
	}))
	for rank, err := range together(t, 2, long, ncclOn(device), func(*torch.Scope, int, *torch.Comm) {
		t.Error("NCCL connects two ranks on one card")
	}) {
		if err == nil || !strings.Contains(err.Error(), "by Gloo, which goes through the host's memory") {
			t.Errorf("rank %d: %v, want what to do", rank, err)
		} else {
			t.Logf("rank %d is refused: %v", rank, err)
		}
	}
}
