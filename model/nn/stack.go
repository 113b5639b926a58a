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
// Without recomputation the graph covers all layers and Backward has nothing to do. With it, the graph is cut before
// every layer: forward runs without a graph and keeps the layer's input; Backward walks the layers in reverse, runs
// each again with a graph and calls backward with the gradient of its output. Both ways do the same arithmetic on the
// same values, so gradients are equal bit for bit (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost",
// with one segment per layer).
type Tape struct {
	Out *torch.Tensor // [R,D] the last layer's output; with recomputation, a leaf that collects its gradient

	layers []Layer
	Inputs []*torch.Tensor // Inputs[i] is the input of the i-th layer; nil without recomputation
}

// Run passes x [R,D] through layers. Tensors that the tape keeps belong to s.
func Run(s *torch.Scope, layers []Layer, x *torch.Tensor, recompute bool) *Tape {
	t := &Tape{layers: layers}
	if !recompute {
		for _, layer := range layers {
			x = s.Sub(func(s *torch.Scope) *torch.Tensor { return layer(s, x) })
		}
		t.Out = x
		return t
	}
	torch.NoGrad(func() {
		for _, layer := range layers {
			t.Inputs = append(t.Inputs, x)
			x = s.Sub(func(s *torch.Scope) *torch.Tensor { return layer(s, x) })
		}
	})
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
		grad = s.Sub(func(s *torch.Scope) *torch.Tensor { return t.backwardLayer(s, i, grad) })
	}
	if first := t.Inputs[0]; grad != nil && first.RequiresGrad() {
		torch.Backward(first, grad)
	}
}

// backwardLayer returns the gradient of the layer's input, or nil if no earlier layer needs it.
func (t *Tape) backwardLayer(s *torch.Scope, i int, grad *torch.Tensor) *torch.Tensor {
	below := i > 0 || t.Inputs[0].RequiresGrad()
	input := torch.Detach(s, t.Inputs[i], below)
	y := t.layers[i](s, input)
	if !y.RequiresGrad() {
		return nil
	}
	torch.Backward(y, grad)
	return torch.Grad(s, input)
}
