package torch_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/model/torch/torchtest"
)

func ones(s *torch.Scope, shape ...int64) *torch.Tensor {
	return torch.Ones(s, shape, torch.Float32, torch.CPU)
}

// fault runs f and wants an engine error from it.
func fault(t *testing.T, f func(s *torch.Scope)) *torch.Error {
	t.Helper()
	var e *torch.Error
	if err := torch.Do(f); !errors.As(err, &e) {
		t.Fatalf("%v, want an engine error", err)
	}
	return e
}

func TestDoReturnsAnEngineFailureAndFreesEverything(t *testing.T) {
	torchtest.NoLeaks(t)
	for _, c := range []struct {
		op      string
		message string
		f       func(s *torch.Scope)
	}{
		// through gotch
		{"add", "must match the size", func(s *torch.Scope) { torch.Add(s, ones(s, 2), ones(s, 3)) }},
		// through the shim
		{"swiglu", "must match the size", func(s *torch.Scope) { torch.SwiGLU(s, ones(s, 2), ones(s, 3)) }},
		{"embedding", "out of range", func(s *torch.Scope) { torch.Embedding(s, ones(s, 2, 2), index(s, 2)) }},
	} {
		before := torch.Live()
		e := fault(t, func(s *torch.Scope) {
			ones(s, 4)
			s.Sub(func(s *torch.Scope) *torch.Tensor {
				kept := ones(s, 5)
				c.f(s)
				return kept
			})
			t.Errorf("%s: the code behind the failure ran", c.op)
		})
		if e.Op != c.op || !strings.Contains(e.Msg, c.message) || strings.Contains(e.Msg, "\n") {
			t.Errorf("error of %q: %q; want one line from %q that says %q", e.Op, e.Msg, c.op, c.message)
		}
		if e.OutOfMemory() {
			t.Errorf("%v counts as out of memory", e)
		}
		if n := torch.Live() - before; n != 0 {
			t.Errorf("%s: %d tensors left", c.op, n)
		}
	}
}

func TestOutOfMemoryIsTold(t *testing.T) {
	torchtest.NoLeaks(t)
	e := fault(t, func(s *torch.Scope) { torch.Empty(s, []int64{1 << 46}, torch.Float64, torch.CPU) })
	if !e.OutOfMemory() || e.Op != "empty" {
		t.Errorf("%v, want out of memory in empty", e)
	}
}

func TestOtherPanicsPassThroughDo(t *testing.T) {
	torchtest.NoLeaks(t)
	defer func() {
		if got := recover(); got != "mine" {
			t.Errorf("recovered %v, want the panic of the function", got)
		}
	}()
	_ = torch.Do(func(s *torch.Scope) {
		s.Sub(func(s *torch.Scope) *torch.Tensor {
			ones(s, 2)
			panic("mine")
		})
	})
	t.Error("Do returned")
}

func TestDoNests(t *testing.T) {
	torchtest.NoLeaks(t)
	do(t, func(s *torch.Scope) {
		x := ones(s, 2)
		if e := fault(t, func(s *torch.Scope) { torch.Add(s, x, ones(s, 3)) }); e.Op != "add" {
			t.Errorf("inner error is of %s", e.Op)
		}
		torch.Add(s, x, x) // the outer scope is whole
	})
}

func TestSubKeepsOnlyItsResult(t *testing.T) {
	torchtest.NoLeaks(t)
	do(t, func(s *torch.Scope) {
		before := torch.Live()
		var middle *torch.Tensor
		y := s.Sub(func(s *torch.Scope) *torch.Tensor {
			middle = torch.Add(s, ones(s, 2), ones(s, 2))
			return s.Sub(func(s *torch.Scope) *torch.Tensor {
				ones(s, 2)
				return s.Sub(func(s *torch.Scope) *torch.Tensor { return torch.Mul(s, middle, middle) })
			})
		})
		if n := torch.Live() - before; n != 1 {
			t.Errorf("%d tensors live, want the result alone", n)
		}
		near(t, "result", read(s, y), []float64{4, 4}, 0)
		if e := fault(t, func(s *torch.Scope) { torch.Gelu(s, middle) }); e.Op != "add" {
			t.Errorf("the intermediate result is blamed on %q, want add", e.Op)
		}
	})
}

func TestSubReturnsWhatItIsGiven(t *testing.T) {
	torchtest.NoLeaks(t)
	do(t, func(s *torch.Scope) {
		if y := s.Sub(func(s *torch.Scope) *torch.Tensor { ones(s, 1); return nil }); y != nil {
			t.Error("a nil result became a tensor")
		}
		x := ones(s, 2)
		before := torch.Live()
		if y := s.Sub(func(s *torch.Scope) *torch.Tensor { ones(s, 1); return x }); y != x {
			t.Error("a tensor of the outer scope came back as another")
		}
		if torch.Live() != before {
			t.Error("passing a tensor through changed the number of tensors")
		}
		x.Shape() // still alive
		owned := s.Sub(func(s *torch.Scope) *torch.Tensor { return torch.Own(ones(s, 3)) })
		owned.Shape()
		owned.Free()
	})
}

func TestUseAfterTheScopeEndedNamesTheOperation(t *testing.T) {
	torchtest.NoLeaks(t)
	var lost *torch.Tensor
	do(t, func(s *torch.Scope) { lost = torch.QuickGelu(s, ones(s, 2)) })
	uses := map[string]func(s *torch.Scope){
		"gotch":  func(s *torch.Scope) { torch.Add(s, ones(s, 2), lost) },
		"shim":   func(s *torch.Scope) { torch.SwiGLU(s, ones(s, 2), lost) },
		"method": func(*torch.Scope) { lost.Shape() },
	}
	for name, use := range uses {
		if e := fault(t, use); e.Op != "quick gelu" || !strings.Contains(e.Msg, "after its scope ended") {
			t.Errorf("%s: %v, want the operation that made the tensor", name, e)
		}
	}
}

func TestOwnedTensorsLiveUntilFreed(t *testing.T) {
	torchtest.NoLeaks(t)
	before := torch.Live()
	var kept *torch.Tensor
	do(t, func(s *torch.Scope) { kept = torch.Own(torch.Add(s, ones(s, 2), ones(s, 2))) })
	if n := torch.Live() - before; n != 1 {
		t.Fatalf("%d tensors live, want the owned one", n)
	}
	do(t, func(s *torch.Scope) { near(t, "owned", read(s, kept), []float64{2, 2}, 0) })
	kept.Free()
	kept.Free() // once is enough, twice is harmless
	if n := torch.Live() - before; n != 0 {
		t.Errorf("%d tensors live after Free", n)
	}
	if e := fault(t, func(*torch.Scope) { kept.Shape() }); e.Op != "add" {
		t.Errorf("use after Free is blamed on %q", e.Op)
	}
}

// Errors and the gradient mode are kept for each OS thread by the engine; Do must keep its goroutine on one.
func TestConcurrentDosDoNotMix(t *testing.T) {
	torchtest.NoLeaks(t)
	var group sync.WaitGroup
	for worker := range 8 {
		group.Go(func() {
			for round := range 30 {
				var err error
				switch worker % 4 {
				case 0: // fails, with sizes that only this worker uses
					err = mixedUp(torch.Do(func(s *torch.Scope) {
						torch.Reshape(s, ones(s, int64(worker+100)), int64(round+1000))
					}), fmt.Sprintf("%d", round+1000), fmt.Sprintf("%d", worker+100))
				case 1, 2:
					err = torch.Do(func(s *torch.Scope) { checkGradMode(worker%4 == 1) })
				case 3:
					err = torch.Do(func(s *torch.Scope) { torch.Add(s, ones(s, 3), ones(s, 3)) })
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
}

func mixedUp(err error, want ...string) error {
	for _, text := range want {
		if err == nil || !strings.Contains(err.Error(), text) {
			return fmt.Errorf("a failing operation returned %v, want an error that names %s", err, text)
		}
	}
	return nil
}

func checkGradMode(graph bool) {
	check := func() {
		for range 50 {
			err := torch.Do(func(s *torch.Scope) {
				x := torch.Detach(s, ones(s, 2), true)
				if torch.Mul(s, x, x).RequiresGrad() != graph {
					panic(&torch.Error{Op: "test", Msg: "the gradient mode of another goroutine"})
				}
			})
			if err != nil {
				panic(err)
			}
		}
	}
	if graph {
		check()
	} else {
		torch.NoGrad(check)
	}
}
