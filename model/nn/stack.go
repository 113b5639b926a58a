package nn

import "github.com/llavatrain/llavatrain/model/torch"

// Layer is one block of a stack: rows [R,D] in, rows [R,D] out. The last layer may return fewer rows.
type Layer func(s *torch.Scope, x *torch.Tensor) *torch.Tensor

// Recompute is what backward recomputes instead of keeping it in memory.
type Recompute string

const (
	RecomputeNothing Recompute = "none"
	// RecomputeSelective is outputs of norms and of SwiGLU: they save much memory for little work (after Korthikanti
	// et al. 2022).
	RecomputeSelective Recompute = "selective"
	// RecomputeLayers is whole layers: only their inputs are kept.
	RecomputeLayers Recompute = "layers"
)

// Tape is one pass through a stack, with what its backward needs.
//
// Run without recomputation makes one graph of all layers, and Backward has nothing to do. Otherwise the graph is cut
// before every layer, and Backward walks the layers in reverse: with recomputation forward ran without a graph and kept
// each layer's input, and backward runs each layer again (Chen et al. 2016, "Training Deep Nets with Sublinear Memory
// Cost", with one segment per layer); without it each layer's own graph is kept (RunCut). All ways do the same
// arithmetic on the same values, so gradients are equal bit for bit.
type Tape struct {
	Out *torch.Tensor // [R,D] the last layer's output; where the graph is cut, a leaf that collects its gradient

	layers []Layer
	Inputs []*torch.Tensor // Inputs[i] is the input of the i-th layer; nil where the graph is not cut
	kept   []cutLayer      // each layer's own graph; nil with recomputation
	hooks  Hooks
}

// Hooks are called around the layers of a stack, with their numbers. Any may be nil.
type Hooks struct {
	Forward  func(layer int) // before a layer is computed
	Backward func(layer int) // before its backward
	After    func(layer int) // when the gradients of its weights are complete
}

func call(hook func(layer int), layer int) {
	if hook != nil {
		hook(layer)
	}
}

// cutLayer is a layer's output, and the leaf that stands for its input.
type cutLayer struct{ leaf, out *torch.Tensor }

// Run passes x [R,D] through layers. Tensors that the tape keeps belong to s.
func Run(s *torch.Scope, layers []Layer, x *torch.Tensor, recompute bool) *Tape {
	if recompute {
		return recomputed(s, layers, x, Hooks{})
	}
	t := &Tape{layers: layers}
	for _, layer := range layers {
		x = s.Sub(func(s *torch.Scope) *torch.Tensor { return layer(s, x) })
	}
	t.Out = x
	return t
}

// recomputed runs layers without a graph and keeps their inputs.
func recomputed(s *torch.Scope, layers []Layer, x *torch.Tensor, hooks Hooks) *Tape {
	t := &Tape{layers: layers, hooks: hooks}
	torch.NoGrad(func() {
		for i, layer := range layers {
			call(hooks.Forward, i)
			t.Inputs = append(t.Inputs, x)
			x = s.Sub(func(s *torch.Scope) *torch.Tensor { return layer(s, x) })
		}
	})
	t.Out = torch.Detach(s, x, true)
	return t
}

// RunCut is Run with hooks around the layers. Backward calls them from the last layer to the first, as far down as
// anything trains.
func RunCut(s *torch.Scope, layers []Layer, x *torch.Tensor, recompute bool, hooks Hooks) *Tape {
	if recompute {
		return recomputed(s, layers, x, hooks)
	}
	t := &Tape{layers: layers, hooks: hooks}
	for i, layer := range layers {
		call(hooks.Forward, i)
		leaf := torch.Detach(s, x, x.RequiresGrad())
		y := s.Sub(func(s *torch.Scope) *torch.Tensor { return layer(s, leaf) })
		t.Inputs, t.kept = append(t.Inputs, x), append(t.kept, cutLayer{leaf, y})
		x = y
	}
	t.Out = torch.Detach(s, x, true)
	return t
}

// Backward takes the gradient of Out back to the first layer's input, after the caller has run backward down to Out.
func (t *Tape) Backward(s *torch.Scope) {
	if t.Inputs == nil {
		return
	}
	grad := torch.Grad(s, t.Out)
	for i := len(t.layers) - 1; i >= 0 && grad != nil; i-- {
		call(t.hooks.Backward, i)
		grad = s.Sub(func(s *torch.Scope) *torch.Tensor { return t.backwardLayer(s, i, grad) })
		call(t.hooks.After, i)
	}
	if first := t.Inputs[0]; grad != nil && first.RequiresGrad() {
		torch.Backward(first, grad)
	}
}

// backwardLayer returns the gradient of the layer's input, or nil if no earlier layer needs it.
func (t *Tape) backwardLayer(s *torch.Scope, i int, grad *torch.Tensor) *torch.Tensor {
	input, y := t.graph(s, i)
	if !y.RequiresGrad() {
		return nil
	}
	torch.Backward(y, grad)
	return torch.Grad(s, input)
}

// graph is the graph of one layer: the leaf at its input, and its output.
func (t *Tape) graph(s *torch.Scope, i int) (input, y *torch.Tensor) {
	if t.kept != nil {
		return t.kept[i].leaf, t.kept[i].out
	}
	input = torch.Detach(s, t.Inputs[i], i > 0 || t.Inputs[0].RequiresGrad())
	return input, t.layers[i](s, input)
}
