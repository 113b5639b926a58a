package nn

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/model/torch/torchtest"
)

// toyStack is residual blocks of a norm, a linear layer and a Gelu; trains says which blocks learn.
type toyStack struct {
	params *Params
	norms  []*RMSNorm
	fcs    []*Linear
	runs   []int // how often each block ran
}

const toyWidth = 8

func newToyStack(t *testing.T, dtype torch.Dtype, trains []bool) *toyStack {
	m := &toyStack{params: NewParams(), runs: make([]int, len(trains))}
	for i := range trains {
		p := m.params.Root("language", "").Layer("layers", i)
		m.norms = append(m.norms, NewRMSNorm(p.Sub("norm"), toyWidth, 1e-5))
		m.fcs = append(m.fcs, NewLinear(p.Sub("fc"), toyWidth, toyWidth, true, LinearInit(toyWidth)))
	}
	place(t, m.params, dtype, func(p *Param) bool {
		var layer int
		fmt.Sscanf(p.Name, "layers.%d.", &layer)
		return trains[layer]
	})
	do(t, func(s *torch.Scope) {
		for _, p := range m.params.All() {
			p.Initialise(s, 5)
		}
	})
	return m
}

func (m *toyStack) layers() (layers []Layer) {
	for i := range m.fcs {
		layers = append(layers, func(s *torch.Scope, x *torch.Tensor) *torch.Tensor {
			m.runs[i]++
			y := m.fcs[i].Forward(s, m.norms[i].Forward(s, x), DropoutKeys{})
			return torch.Add(s, x, torch.Gelu(s, y))
		})
	}
	return layers
}

func toyInput(s *torch.Scope, rows int64, dtype torch.Dtype, grad bool) *torch.Tensor {
	x := torch.Empty(s, []int64{rows, toyWidth}, dtype, torch.CPU)
	x.FillNormal(1, 9)
	return torch.Detach(s, x, grad)
}

// pass runs the stack forward and back and returns every value that came of it, by name.
func (m *toyStack) pass(t *testing.T, recompute, inputGrad bool) map[string][]float32 {
	t.Helper()
	return m.passBy(t, inputGrad, func(s *torch.Scope, x *torch.Tensor) *Tape {
		return Run(s, m.layers(), x, recompute)
	})
}

// passBy is pass for any way to run the stack.
func (m *toyStack) passBy(
	t *testing.T, inputGrad bool, run func(s *torch.Scope, x *torch.Tensor) *Tape,
) map[string][]float32 {
	t.Helper()
	results := map[string][]float32{}
	keep := func(s *torch.Scope, name string, x *torch.Tensor) {
		if x != nil {
			results[name] = torch.Read[float32](torch.To(s, x, torch.Float32))
		}
	}
	do(t, func(s *torch.Scope) {
		dtype := m.params.Dtype()
		leaf := toyInput(s, 5, dtype, inputGrad)
		x := torch.Mul(s, leaf, leaf) // the stack's input has a graph of its own, as embeddings do
		tape := run(s, x)
		keep(s, "output", tape.Out)
		if loss := torch.Mul(s, tape.Out, tape.Out); loss.RequiresGrad() {
			torch.Backward(loss, torch.Ones(s, []int64{5, toyWidth}, dtype, torch.CPU))
			tape.Backward(s)
		}
		keep(s, "input", torch.Grad(s, leaf))
		for _, p := range m.params.All() {
			keep(s, p.Name, p.Gradient(s))
		}
	})
	return results
}

func TestRecomputationGivesTheSameBits(t *testing.T) {
	for _, dtype := range []torch.Dtype{torch.Float32, torch.BFloat16} {
		for _, trains := range [][]bool{
			{true, true, true}, {false, false, false}, {true, false, true}, {false, true, false}, {false, false, true},
			{true, false, false}, {true},
		} {
			for _, inputGrad := range []bool{false, true} {
				t.Run(fmt.Sprintf("%v/trains=%v/input=%v", dtype, trains, inputGrad), func(t *testing.T) {
					kept := newToyStack(t, dtype, trains).pass(t, false, inputGrad)
					recomputed := newToyStack(t, dtype, trains).pass(t, true, inputGrad)
					if _, has := kept["input"]; has != inputGrad {
						t.Fatalf("the input's gradient: %v, want %v", has, inputGrad)
					}
					checkSameResults(t, kept, recomputed)
				})
			}
		}
	}
}

// A cut graph gives the same bits, and after each layer that trains, or lies above one that does, its gradients are
// complete.
func TestACutGraphGivesTheSameBits(t *testing.T) {
	for _, dtype := range []torch.Dtype{torch.Float32, torch.BFloat16} {
		for _, trains := range [][]bool{
			{true, true, true}, {false, false, false}, {true, false, true}, {false, true, false}, {false, false, true},
		} {
			for _, inputGrad := range []bool{false, true} {
				for _, recompute := range []bool{false, true} {
					want := newToyStack(t, dtype, trains).pass(t, false, inputGrad)
					m, done := newToyStack(t, dtype, trains), map[string][]float32{}
					order := ""
					note := func(what string) func(int) {
						return func(layer int) { order += fmt.Sprint(what, layer, " ") }
					}
					got := m.passBy(t, inputGrad, func(s *torch.Scope, x *torch.Tensor) *Tape {
						hooks := Hooks{Forward: note("forward"), Backward: note("backward")}
						hooks.After = func(layer int) {
							note("after")(layer)
							prefix := fmt.Sprintf("layers.%d.", layer)
							for _, p := range m.params.All() {
								if g := p.Gradient(s); g != nil && strings.HasPrefix(p.Name, prefix) {
									done[p.Name] = torch.Read[float32](torch.To(s, g, torch.Float32))
								}
							}
						}
						return RunCut(s, m.layers(), x, recompute, hooks)
					})
					all := "forward0 forward1 forward2 backward2 after2 backward1 after1 backward0 after0 "
					if !strings.HasPrefix(all, order) || len(order) < len("forward0 forward1 forward2 ") {
						t.Errorf("%v, recompute %t: the hooks were called so: %s", trains, recompute, order)
					}
					checkSameResults(t, want, got)
					for _, p := range m.params.All() {
						if p.Trainable && !slices.Equal(done[p.Name], want[p.Name]) {
							t.Errorf("%v, recompute %t: the gradient of %s was not complete", trains, recompute, p.Name)
						}
					}
				}
			}
		}
	}
}

func checkSameResults(t *testing.T, want, got map[string][]float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%d results, want %d", len(got), len(want))
	}
	for name := range want {
		if len(got[name]) != len(want[name]) {
			t.Fatalf("%s: %d values, want %d", name, len(got[name]), len(want[name]))
		}
		for i, x := range want[name] {
			if math.Float32bits(got[name][i]) != math.Float32bits(x) {
				t.Fatalf("%s differs at %d: %v and %v", name, i, got[name][i], x)
			}
		}
		if name != "output" && allZero(want[name]) {
			t.Errorf("%s has no gradient at all: nothing was compared", name)
		}
	}
}

func allZero(values []float32) bool {
	for _, x := range values {
		if x != 0 {
			return false
		}
	}
	return true
}

func TestLayersRunAgainInBackwardOnly(t *testing.T) {
	for recompute, want := range map[bool]int{false: 1, true: 2} {
		m := newToyStack(t, torch.Float32, []bool{true, true})
		m.pass(t, recompute, true)
		if m.runs[0] != want || m.runs[1] != want {
			t.Errorf("recompute %v: layers ran %v times, want %d each", recompute, m.runs, want)
		}
	}
}

// With recomputation a tape holds the input of each layer and its output, and layers leave nothing else in the scope.
func TestATapeHoldsOneTensorALayer(t *testing.T) {
	for _, recompute := range []bool{false, true} {
		m := newToyStack(t, torch.Float32, []bool{true, true, true})
		do(t, func(s *torch.Scope) {
			x := toyInput(s, 5, torch.Float32, true)
			before := torch.Live()
			tape := Run(s, m.layers(), x, recompute)
			want := int64(3)
			if recompute {
				want++ // Out stands apart from the last layer's output
			}
			if n := torch.Live() - before; n != want {
				t.Errorf("recompute %v: %d tensors after forward, want %d", recompute, n, want)
			}
			if (len(tape.Inputs) == 3) != recompute {
				t.Errorf("recompute %v: %d kept inputs", recompute, len(tape.Inputs))
			}
		})
	}
}

func TestBackwardWithoutAGradientFromAbove(t *testing.T) {
	m := newToyStack(t, torch.Float32, []bool{true})
	do(t, func(s *torch.Scope) {
		Run(s, m.layers(), toyInput(s, 5, torch.Float32, true), true).Backward(s)
		if g := torch.Read[float32](m.params.Groups()[0].Grad); !allZero(g) {
			t.Error("a gradient came from nowhere")
		}
	})
}

func TestAFailingLayerLeavesTheGradientMode(t *testing.T) {
	torchtest.NoLeaks(t)
	broken := []Layer{func(s *torch.Scope, x *torch.Tensor) *torch.Tensor { return torch.Reshape(s, x, 7, 7) }}
	if err := torch.Do(func(s *torch.Scope) { Run(s, broken, toyInput(s, 5, torch.Float32, true), true) }); err == nil {
		t.Fatal("no error")
	}
	do(t, func(s *torch.Scope) {
		x := toyInput(s, 1, torch.Float32, true)
		if !torch.Mul(s, x, x).RequiresGrad() {
			t.Error("no graph is recorded after the failure")
		}
	})
}
