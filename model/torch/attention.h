// Attention within samples that lie end to end, forward and backward without a graph.
#pragma once
#include "shim_internal.h"

namespace lt {

struct Samples {
  std::vector<int64_t> starts;  // [n+1] borders
  bool causal;                  // a position sees only itself and those before it

  int64_t count() const { return static_cast<int64_t>(starts.size()) - 1; }
  int64_t length(int64_t i) const { return starts[i + 1] - starts[i]; }
  int64_t longest() const;
};

// Whether the kernels of attention_cpu.cpp take these operands.
bool attention_fits(const at::Tensor &q);

// q [T,H,d]; k, v [T,G,d]; the rows of each may lie apart, as parts of wider ones. -> out [T,H,d], log sums [H,T] for backward.
std::tuple<at::Tensor, at::Tensor> attention_forward(const at::Tensor &q, const at::Tensor &k, const at::Tensor &v, const Samples &samples);

// Writes the gradients of q, k and v into tensors of their shapes, whose rows may lie apart.
void attention_backward(const at::Tensor &q, const at::Tensor &k, const at::Tensor &v, const at::Tensor &out, const at::Tensor &log_sums,
                        const at::Tensor &dout, const Samples &samples, at::Tensor dq, at::Tensor dk, at::Tensor dv);

}  // namespace lt
