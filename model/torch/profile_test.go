package torch_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/model/torch/torchtest"
)

// profiled runs f under the profiler.
func profiled(t *testing.T, f func(s *torch.Scope)) (events []torch.Event) {
	t.Helper()
	if err := torch.Do(func(s *torch.Scope) {
		torch.StartProfile(false)
		defer func() { events = torch.StopProfile() }()
		f(s)
	}); err != nil {
		t.Fatal(err)
	}
	return events
}

func TestProfile(t *testing.T) {
	torchtest.NoLeaks(t)
	began := time.Now()
	events := profiled(t, func(s *torch.Scope) {
		x, weight := tensor(s, numbers(64, 1), torch.Float32, 8, 8), tensor(s, numbers(8, 2), torch.Float32, 8)
		for range 3 {
			torch.LayerNorm(s, x, weight, weight, 1e-5)
		}
		torch.Add(s, x, x)
	})
	calls, inside := map[string]int{}, map[string]time.Duration{}
	for i, e := range events {
		calls[e.Name]++
		if e.Device != torch.CPU || e.Lane != events[0].Lane || e.Start.Before(began) || e.End().After(time.Now()) {
			t.Errorf("%s is at %v, lane %d, from %v to %v", e.Name, e.Device, e.Lane, e.Start, e.End())
		}
		if e.Parent < 0 {
			continue
		}
		caller := events[e.Parent]
		if e.Parent >= i || e.Start.Before(caller.Start) || e.End().After(caller.End()) {
			t.Errorf("%s is not inside its caller %s", e.Name, caller.Name)
		}
		inside[caller.Name] += e.Total
		if e.Name == "aten::native_layer_norm" && caller.Name != "aten::layer_norm" {
			t.Errorf("aten::native_layer_norm was called in %s", caller.Name)
		}
	}
	if calls["aten::layer_norm"] != 3 || calls["aten::native_layer_norm"] != 3 || calls["aten::add"] != 1 {
		t.Errorf("calls are %v", calls)
	}
	total, self := sumOf(events, "aten::layer_norm")
	if self <= 0 || self != total-inside["aten::layer_norm"] {
		t.Errorf("aten::layer_norm took %v, %v of it itself; what it called took %v", total, self,
			inside["aten::layer_norm"])
	}
}

func sumOf(events []torch.Event, name string) (total, self time.Duration) {
	for _, e := range events {
		if e.Name == name {
			total, self = total+e.Total, self+e.Self
		}
	}
	return total, self
}

// Every kernel of our own has a name in forward and in backward, where it stands inside autograd's node.
func TestProfileNamesOurKernels(t *testing.T) {
	torchtest.NoLeaks(t)
	positions, keys, starts := int64(4), []uint64{1}, []int64{0, 4}
	leaf := func(s *torch.Scope, shape ...int64) *torch.Tensor {
		n := int64(1)
		for _, size := range shape {
			n *= size
		}
		return torch.Detach(s, tensor(s, numbers(int(n), 3), torch.Float32, shape...), true)
	}
	for name, run := range map[string]func(s *torch.Scope) *torch.Tensor{
		"rms_norm": func(s *torch.Scope) *torch.Tensor {
			return torch.RMSNorm(s, leaf(s, positions, 8), leaf(s, 8), 1e-6)
		},
		"swiglu": func(s *torch.Scope) *torch.Tensor {
			return torch.SwiGLU(s, leaf(s, positions, 8), leaf(s, positions, 8))
		},
		"quick_gelu": func(s *torch.Scope) *torch.Tensor { return torch.QuickGelu(s, leaf(s, positions, 8)) },
		"dropout": func(s *torch.Scope) *torch.Tensor {
			return torch.Dropout(s, leaf(s, positions, 8), 0.5, keys, starts)
		},
		"rotary": func(s *torch.Scope) *torch.Tensor {
			return torch.Rotary(s, leaf(s, positions, 2, 8), torch.Ones(s, []int64{positions, 1, 8}, torch.Float32,
				torch.CPU), torch.Ones(s, []int64{positions, 1, 8}, torch.Float32, torch.CPU))
		},
		"attention": func(s *torch.Scope) *torch.Tensor {
			q := leaf(s, positions, 2, 8)
			return torch.Attention(s, q, q, q, starts, true)
		},
		"cross_entropy": func(s *torch.Scope) *torch.Tensor {
			sum, _ := torch.CrossEntropy(s, leaf(s, positions, 8), leaf(s, 5, 8),
				torch.From(s, []int64{0, 1, 2, 3}, []int64{positions}, torch.CPU), 2)
			return sum
		},
	} {
		forward, backward := "llavatrain::"+name, "llavatrain::"+name+"_backward"
		events := profiled(t, func(s *torch.Scope) {
			y := run(s)
			torch.Backward(y, torch.Add(s, y, y))
		})
		found := map[string]int{}
		for _, e := range events {
			found[e.Name]++
			if e.Name == backward && (e.Parent < 0 || !strings.Contains(events[e.Parent].Name, "CppNode")) {
				t.Errorf("%s is not inside a node of autograd", e.Name)
			}
		}
		if found[forward] != 1 || found[backward] != 1 {
			t.Errorf("%s: %d calls of %s, %d of %s", name, found[forward], forward, found[backward], backward)
		}
	}
	events := profiled(t, func(s *torch.Scope) {
		p, g, m, v := leaf(s, 8), leaf(s, 8), torch.Zeros(s, []int64{8}, torch.Float32, torch.CPU),
			torch.Zeros(s, []int64{8}, torch.Float32, torch.CPU)
		total := torch.Zeros(s, []int64{1}, torch.Float64, torch.CPU)
		torch.SumSquares(g, total)
		torch.AdamW(p, nil, g, m, v, total, torch.Adam{LR: 1e-3, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, Step: 1})
	})
	for _, name := range []string{"llavatrain::sum_squares", "llavatrain::adamw"} {
		if total, _ := sumOf(events, name); total <= 0 {
			t.Errorf("%s was not seen", name)
		}
	}
}

// A second profile, or the end of none, is an error and not a crash; after it the profiler works as before.
func TestProfileOutOfTurn(t *testing.T) {
	torchtest.NoLeaks(t)
	fault := new(torch.Error)
	if err := torch.Do(func(*torch.Scope) { torch.StopProfile() }); !errors.As(err, &fault) {
		t.Errorf("the end of no profile: %v", err)
	}
	events := profiled(t, func(s *torch.Scope) {
		if err := torch.Do(func(*torch.Scope) { torch.StartProfile(false) }); !errors.As(err, &fault) {
			t.Errorf("a profile in a profile: %v", err)
		}
		torch.Zeros(s, []int64{2}, torch.Float32, torch.CPU)
	})
	if total, _ := sumOf(events, "aten::zeros"); total <= 0 {
		t.Errorf("the first profile did not go on: %v", events)
	}
}
