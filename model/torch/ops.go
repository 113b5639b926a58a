package torch

/*
#include "shim/shim.h"
*/
import "C"

import (
	"unsafe"

	"github.com/sugarme/gotch/libtch"
)

// gotch runs one of gotch's operations and returns its single result.
func gotch(s *Scope, op string, run func(out *libtch.Ctensor)) *Tensor {
	var out libtch.Ctensor
	run(&out)
	checkLast(op)
	return s.wrap(op, unsafe.Pointer(out))
}

func (t *Tensor) g() libtch.Ctensor { return libtch.Ctensor(t.ptr()) }

// Add is a + b, broadcast.
func Add(s *Scope, a, b *Tensor) *Tensor {
	return gotch(s, "add", func(out *libtch.Ctensor) { libtch.AtgAdd(out, a.g(), b.g()) })
}

// Mul is a * b, broadcast.
func Mul(s *Scope, a, b *Tensor) *Tensor {
	return gotch(s, "mul", func(out *libtch.Ctensor) { libtch.AtgMul(out, a.g(), b.g()) })
}

// Scale is x * factor.
func Scale(s *Scope, x *Tensor, factor float64) *Tensor {
	c := libtch.AtsFloat(factor)
	defer libtch.AtsFree(c)
	return gotch(s, "scale", func(out *libtch.Ctensor) { libtch.AtgMulScalar(out, x.g(), c) })
}

// Linear is x weight^T + bias. x [R,in], weight [out,in], bias [out] or nil -> [R,out]. If the weight has a gradient
// buffer, the matrix product of backward adds to it directly.
func Linear(s *Scope, x, weight, bias *Tensor) *Tensor {
	var out C.lt_tensor
	message := C.lt_linear(x.c(), weight.c(), bias.optional(), &out)
	return s.take("linear", out, message)
}

// MatMul is a b. a [m,k], b [k,n] -> [m,n].
func MatMul(s *Scope, a, b *Tensor) *Tensor {
	return gotch(s, "matmul", func(out *libtch.Ctensor) { libtch.AtgMatmul(out, a.g(), b.g()) })
}

// Gelu is the exact Gaussian error linear unit, x * Phi(x) (Hendrycks and Gimpel 2016).
func Gelu(s *Scope, x *Tensor) *Tensor {
	var out C.lt_tensor
	message := C.lt_gelu(x.c(), &out) // gotch's leaks a string in each call
	return s.take("gelu", out, message)
}

// GeluTanh is the tanh approximation of Gelu (Hendrycks and Gimpel 2016; transformers' gelu_pytorch_tanh).
func GeluTanh(s *Scope, x *Tensor) *Tensor {
	var out C.lt_tensor
	message := C.lt_gelu_tanh(x.c(), &out)
	return s.take("gelu tanh", out, message)
}

// LayerNorm normalises the last dimension (Ba et al. 2016). x [R,D], weight and bias [D].
func LayerNorm(s *Scope, x, weight, bias *Tensor, eps float64) *Tensor {
	size := []int64{weight.Size(0)}
	return gotch(s, "layer norm", func(out *libtch.Ctensor) {
		libtch.AtgLayerNorm(out, x.g(), size, 1, weight.g(), bias.g(), eps, 1)
	})
}

// Embedding looks up rows. weight [V,D], ids [T] -> [T,D].
func Embedding(s *Scope, weight, ids *Tensor) *Tensor {
	return gotch(s, "embedding", func(out *libtch.Ctensor) { libtch.AtgEmbedding(out, weight.g(), ids.g(), -1, 0, 0) })
}

// IndexSelect takes the rows at index along a dimension.
func IndexSelect(s *Scope, x *Tensor, dim int64, index *Tensor) *Tensor {
	return gotch(s, "index select", func(out *libtch.Ctensor) { libtch.AtgIndexSelect(out, x.g(), dim, index.g()) })
}

// IndexCopy is x with the rows at index replaced by those of source; differentiable in both.
func IndexCopy(s *Scope, x, index, source *Tensor) *Tensor {
	return gotch(s, "index copy", func(out *libtch.Ctensor) {
		libtch.AtgIndexCopy(out, x.g(), 0, index.g(), source.g())
	})
}

// Reshape is x in the given shape, as a view or a copy; one size may be -1.
func Reshape(s *Scope, x *Tensor, shape ...int64) *Tensor {
	return gotch(s, "reshape", func(out *libtch.Ctensor) { libtch.AtgReshape(out, x.g(), shape, len(shape)) })
}

// Narrow is length rows from start along a dimension; it shares memory with x.
func Narrow(s *Scope, x *Tensor, dim, start, length int64) *Tensor {
	return gotch(s, "narrow", func(out *libtch.Ctensor) { libtch.AtgNarrow(out, x.g(), dim, start, length) })
}

// Split splits the last dimension into parts of the given sizes, which share memory with x.
func Split(s *Scope, x *Tensor, sizes ...int64) []*Tensor {
	out := make([]C.lt_tensor, len(sizes))
	p, n := dims(sizes)
	check("split", C.lt_split(x.c(), p, n, &out[0]))
	parts := make([]*Tensor, len(sizes))
	for i := range parts {
		parts[i] = s.take("split", out[i], nil)
	}
	return parts
}

// Cat joins tensors along a dimension.
func Cat(s *Scope, dim int64, parts ...*Tensor) *Tensor {
	handles := make([]libtch.Ctensor, len(parts))
	for i, p := range parts {
		handles[i] = p.g()
	}
	return gotch(s, "cat", func(out *libtch.Ctensor) { libtch.AtgCat(out, handles, len(handles), dim) })
}

// Expand repeats dimensions of size 1 without copying; -1 keeps a size.
func Expand(s *Scope, x *Tensor, shape ...int64) *Tensor {
	return gotch(s, "expand", func(out *libtch.Ctensor) { libtch.AtgExpand(out, x.g(), shape, len(shape), 0) })
}

// To converts x to a dtype; it is x itself if x has that dtype.
func To(s *Scope, x *Tensor, dtype Dtype) *Tensor {
	return gotch(s, "to", func(out *libtch.Ctensor) { libtch.AtgToDtype(out, x.g(), int32(dtype), 0, 0) })
}

// RMSNorm is x / rms(x) * weight over the last dimension, with statistics in fp32 (Zhang and Sennrich 2019).
func RMSNorm(s *Scope, x, weight *Tensor, eps float64) *Tensor {
	var out C.lt_tensor
	message := C.lt_rms_norm(x.c(), weight.c(), C.double(eps), &out)
	return s.take("rms norm", out, message)
}

// AddRMSNorm is x + y and its RMSNorm; both are differentiable. x, y [R,D], weight [D] -> [R,D], [R,D]
func AddRMSNorm(s *Scope, x, y, weight *Tensor, eps float64) (sum, normed *Tensor) {
	var sumOut, normedOut C.lt_tensor
	check("add rms norm", C.lt_add_rms_norm(x.c(), y.c(), weight.c(), C.double(eps), &sumOut, &normedOut))
	return s.take("add rms norm", sumOut, nil), s.take("add rms norm", normedOut, nil)
}

// Rotary rotates each pair (i, i+d/2) of each head by its position's angle (Su et al. 2021). x [T,H,d]; cos, sin
// [T,1,d].
func Rotary(s *Scope, x, cos, sin *Tensor) *Tensor {
	var out C.lt_tensor
	message := C.lt_rotary(x.c(), cos.c(), sin.c(), &out)
	return s.take("rotary", out, message)
}

// SwiGLU is silu(gate) * up (Shazeer 2020).
func SwiGLU(s *Scope, gate, up *Tensor) *Tensor {
	var out C.lt_tensor
	message := C.lt_swiglu(gate.c(), up.c(), &out)
	return s.take("swiglu", out, message)
}

// QuickGelu is x * sigmoid(1.702 x), CLIP's activation.
func QuickGelu(s *Scope, x *Tensor) *Tensor {
	var out C.lt_tensor
	message := C.lt_quick_gelu(x.c(), &out)
	return s.take("quick gelu", out, message)
}

// Attention is softmax(q k^T / sqrt(d)) v within each sample; starts [n+1] are the samples' offsets, and T. With
// causal, a position attends only to itself and those before it. q [T,H,d]; k, v [T,G,d] with G a divisor of H
// (grouped-query attention) -> [T,H,d].
func Attention(s *Scope, q, k, v *Tensor, starts []int64, causal bool) *Tensor {
	var out C.lt_tensor
	p, n := dims(starts)
	message := C.lt_attention(q.c(), k.c(), v.c(), p, n-1, flag(causal), &out)
	return s.take("attention", out, message)
}

// Normalize looks up pixel levels in a table of floats, so that the result is bit for bit that of the reference
// processor. pixels [n,3,S,S] u8, table [3,256] fp32 -> [n,3,S,S] of dtype.
func Normalize(s *Scope, pixels, table *Tensor, dtype Dtype) *Tensor {
	var out C.lt_tensor
	message := C.lt_normalize(pixels.c(), table.c(), C.int(dtype), &out)
	return s.take("normalize", out, message)
}

// Patches cuts images into rows of patch x patch pixels, channel first. [n,3,S,S] -> [n*(S/patch)^2, 3*patch*patch]
func Patches(s *Scope, pixels *Tensor, patch int64) *Tensor {
	var out C.lt_tensor
	message := C.lt_patches(pixels.c(), C.int64_t(patch), &out)
	return s.take("patches", out, message)
}

// CrossEntropy is the sum over rows of -log softmax(hidden weight^T)[label], and each row's term (not
// differentiable), computed chunk rows at a time so that the full logits are never in memory. hidden [N,D], weight
// [V,D], labels [N] i64 -> [] fp32, [N] fp32.
func CrossEntropy(s *Scope, hidden, weight, labels *Tensor, chunk int64) (sum, each *Tensor) {
	var sumOut, eachOut C.lt_tensor
	check("cross entropy", C.lt_cross_entropy(hidden.c(), weight.c(), labels.c(), C.int64_t(chunk), &sumOut, &eachOut))
	return s.take("cross entropy", sumOut, nil), s.take("cross entropy", eachOut, nil)
}
