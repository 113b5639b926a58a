package torch

/*
#include "shim/shim.h"
*/
import "C"

// NoGrad runs f without recording a graph. It nests, and the mode is restored even if f panics.
func NoGrad(f func()) {
	before := C.lt_grad_mode(0)
	defer C.lt_grad_mode(before)
	f()
}

// LeafView is a part of a flat tensor, from offset, as a tensor of the given shape. It shares memory and is a leaf.
func LeafView(s *Scope, flat *Tensor, offset int64, shape []int64) *Tensor {
	var out C.lt_tensor
	p, n := dims(shape)
	message := C.lt_leaf_view(flat.c(), C.int64_t(offset), p, n, &out)
	return s.take("leaf view", out, message)
}

// Detach is a leaf that shares t's memory, outside the graph that made t.
func Detach(s *Scope, t *Tensor, requiresGrad bool) *Tensor {
	var out C.lt_tensor
	message := C.lt_detach(t.c(), flag(requiresGrad), &out)
	return s.take("detach", out, message)
}

// SetGrad makes a leaf trainable with a gradient buffer of the same shape, to which backward adds in place.
func (t *Tensor) SetGrad(grad *Tensor) { check("set grad", C.lt_set_grad(t.c(), grad.optional())) }

// Grad is the gradient accumulated in a leaf, or nil if there is none.
func Grad(s *Scope, leaf *Tensor) *Tensor {
	var out C.lt_tensor
	check("grad", C.lt_grad(leaf.c(), &out))
	if out == nil {
		return nil
	}
	return s.take("grad", out, nil)
}

// RequiresGrad says whether t is trainable or was computed from a trainable tensor.
func (t *Tensor) RequiresGrad() bool { return C.lt_requires_grad(t.c()) != 0 }

// Backward adds the gradients of t to the leaves of its graph. grad is the gradient of the final result with respect
// to t; nil for a scalar t.
func Backward(t, grad *Tensor) { check("backward", C.lt_backward(t.c(), grad.optional())) }
