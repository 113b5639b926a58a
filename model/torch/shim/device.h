// Operations in our own kernels on a GPU. Each has a reference version over libtorch's operations, which runs if ready
// says no.
#pragma once
#include <initializer_list>
#include <string>
#include <tuple>

#include "kernels.h"
#include "shim_internal.h"

namespace lt {
namespace device {

enum Operation { kRMSNorm, kRotary, kSwiGLU, kQuickGelu, kCrossEntropy, kAdamW, kOperations };

// Whether an operation's kernels can take these tensors: they are loaded and not switched off, and the tensors are on
// that GPU, share one dtype, fp32 or bf16, and are not empty.
bool ready(Operation operation, std::initializer_list<at::Tensor> tensors);

struct Grid {
  int64_t blocks;
  int threads = kThreads;  // of a block: a multiple of a warp's
};

// Queues a kernel on the device's current stream. args are addresses of the arguments.
void launch(const std::string &kernel, Grid grid, void **args);

// The same for arguments of exactly the kernel's types; addresses may be void*.
template <typename... Args>
void run(const std::string &kernel, Grid grid, Args... args) {
  void *list[] = {&args...};
  launch(kernel, grid, list);
}

// The part of a kernel's name that gives its dtype.
inline std::string suffix(const at::Tensor &x) { return x.scalar_type() == at::kFloat ? "_float" : "_bf16"; }

bool rms_norm_ready(const at::Tensor &x, const at::Tensor &weight);

// The operations of layer_ops.h where ready, or rms_norm_ready, says yes, into tensors that the caller made.
void rms_norm(const at::Tensor &x, const at::Tensor &y, const at::Tensor &weight, double eps, at::Tensor sum,
              at::Tensor out, at::Tensor inverse);
void rms_norm_backward(const at::Tensor &sum, const at::Tensor &inverse, const at::Tensor &weight,
                       const at::Tensor &grad, const at::Tensor &also, at::Tensor dx,
                       at::Tensor *dw);  // dw may be null
void rotate(const at::Tensor &x, const at::Tensor &cos, const at::Tensor &sin, at::Tensor y, bool back);
void swiglu(const at::Tensor &gate, const at::Tensor &up, at::Tensor y);
void swiglu_backward(const at::Tensor &gate, const at::Tensor &up, const at::Tensor &grad, at::Tensor d_gate,
                     at::Tensor d_up);
void quick_gelu(const at::Tensor &x, at::Tensor y);
void quick_gelu_backward(const at::Tensor &x, const at::Tensor &grad, at::Tensor dx);

// logits [r,V] and labels [r] i64 -> each [r] fp32; with gradient, the logits become softmax - onehot. A label outside
// the classes gives NaN.
void cross_entropy(at::Tensor logits, const at::Tensor &labels, at::Tensor each, bool gradient);

void sum_squares(const at::Tensor &x, at::Tensor total);
void adamw(at::Tensor param, const at::Tensor &remainder, at::Tensor grad, at::Tensor m, at::Tensor v,
           const at::Tensor &total, const AdamW &a);

}  // namespace device
}  // namespace lt
