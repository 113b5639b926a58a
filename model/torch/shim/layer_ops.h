// What a decoder layer is made of, forward and backward without a graph: on the CPU in fp32 by our own kernels,
// elsewhere by libtorch's operations. norm.cpp, rotary.cpp, gates.cpp.
#pragma once
#include "shim_internal.h"

namespace lt {

constexpr int64_t kElements = 16384;  // elements that a thread takes, at least

inline int64_t grain(int64_t columns) { return std::max<int64_t>(1, kElements / columns); }

struct Normed {
  at::Tensor sum, out;  // of x's shape; sum is x itself if nothing is added
  at::Tensor inverse;   // [rows] fp32: 1 / rms
};

// out = (x + y) / rms(x + y) * weight over the last dimension; y may be undefined. x [..,D], weight [D]
Normed rms_norm_forward(const at::Tensor &x, const at::Tensor &y, const at::Tensor &weight, double eps);

struct NormGradients {
  at::Tensor x, weight;  // of the sum; of the weight, undefined unless requested
};

// The gradients, given that of out; also, which may be undefined, is added to that of the sum.
NormGradients rms_norm_backward(const at::Tensor &sum, const at::Tensor &inverse, const at::Tensor &weight,
                                const at::Tensor &grad, const at::Tensor &also, bool wants_weight);

// y = the heads of x [T,heads,d] rotated by their positions' angles; rows of x and y may be strided, and y may be x.
// back applies the transpose, for a gradient. cos, sin [T,1,d]
void rotate(const at::Tensor &x, const at::Tensor &cos, const at::Tensor &sin, at::Tensor y, bool back);

// silu(gate) * up, [N,I] each; rows of gate and up may be strided.
at::Tensor swiglu_forward(const at::Tensor &gate, const at::Tensor &up);

// Writes the gradients of gate and up, whose rows may be strided.
void swiglu_backward(const at::Tensor &gate, const at::Tensor &up, const at::Tensor &grad, at::Tensor d_gate,
                     at::Tensor d_up);

}  // namespace lt
