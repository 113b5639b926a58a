// The activations that transformers' MLPs use, in one pass: SwiGLU (Shazeer 2020) and quick GELU (Hendrycks and Gimpel
// 2016, as CLIP has it).
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include "device.h"
#include "layer_ops.h"
#include "simd.h"

namespace {

// ---- SwiGLU ----

LT_SIMD void swiglu_row(const float *gate, const float *up, float *y, int64_t n) {
  int64_t i = 0;
  for (; i + lt::kLanes <= n; i += lt::kLanes) {
    auto g = lt::load(gate + i);
    lt::store(y + i, g * lt::sigmoid(g) * lt::load(up + i));
  }
  auto g = lt::load_part(gate + i, n - i);
  lt::store_part(y + i, g * lt::sigmoid(g) * lt::load_part(up + i, n - i), n - i);
}

// d silu(g) u = s (1 + g (1 - s)) u, d up = g s, with s = sigmoid(g).
LT_INLINE void swiglu_gradients(lt::vec g, lt::vec u, lt::vec grad, lt::vec *d_gate, lt::vec *d_up) {
  auto s = lt::sigmoid(g);
  *d_gate = grad * u * s * (1.0f + g * (1.0f - s));
  *d_up = grad * g * s;
}

LT_SIMD void swiglu_row_backward(const float *gate, const float *up, const float *grad, float *d_gate, float *d_up,
                                 int64_t n) {
  int64_t i = 0;
  lt::vec dg, du;
  for (; i + lt::kLanes <= n; i += lt::kLanes) {
    swiglu_gradients(lt::load(gate + i), lt::load(up + i), lt::load(grad + i), &dg, &du);
    lt::store(d_gate + i, dg);
    lt::store(d_up + i, du);
  }
  swiglu_gradients(lt::load_part(gate + i, n - i), lt::load_part(up + i, n - i), lt::load_part(grad + i, n - i), &dg,
                   &du);
  lt::store_part(d_gate + i, dg, n - i);
  lt::store_part(d_up + i, du, n - i);
}

// Calls run(row, column, length) for pieces of rows that together are a [rows,columns] tensor.
template <typename Run>
void each_piece(const at::Tensor &x, const Run &run) {
  int64_t columns = x.size(1), pieces = (columns + lt::kElements - 1) / lt::kElements;
  at::parallel_for(0, x.size(0) * pieces, lt::grain(std::min(columns, lt::kElements)), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) {
      int64_t first = i % pieces * lt::kElements;
      run(i / pieces, first, std::min(lt::kElements, columns - first));
    }
  });
}

// Whether the GPU's kernel takes them: it needs one stride for the rows of gate and up.
bool on_card(const at::Tensor &gate, const at::Tensor &up) {
  return lt::device::ready(lt::device::kSwiGLU, {gate, up}) && gate.strides() == up.strides();
}

bool gates_fit(const at::Tensor &gate, const at::Tensor &up) { return on_card(gate, up) || lt::cpu_fits(gate); }

bool quick_fits(const at::Tensor &x) { return lt::device::ready(lt::device::kQuickGelu, {x}) || lt::cpu_fits(x); }

at::Tensor as_rows(const at::Tensor &x) {
  auto rows = x.dim() == 2 ? x : x.reshape({1, -1});
  return rows.stride(1) == 1 ? rows : rows.contiguous();
}

struct SwiGLU : torch::autograd::Function<SwiGLU> {
  static at::Tensor forward(torch::autograd::AutogradContext *context, const at::Tensor &gate, const at::Tensor &up) {
    at::AutoDispatchBelowAutograd below;
    TORCH_CHECK(gate.sizes() == up.sizes(), "gate ", gate.sizes(), " must match the size of up ", up.sizes());
    auto g = as_rows(gate), u = as_rows(up);
    context->save_for_backward({g, u});
    return lt::swiglu_forward(g, u).view(gate.sizes());
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext *context,
                                                 torch::autograd::variable_list grads) {
    auto saved = context->get_saved_variables();
    auto grad = grads[0].contiguous();
    auto d_gate = at::empty(saved[0].sizes(), grad.options()), d_up = at::empty(saved[0].sizes(), grad.options());
    lt::swiglu_backward(saved[0], saved[1], grad.view(saved[0].sizes()), d_gate, d_up);
    return {d_gate.view(grad.sizes()), d_up.view(grad.sizes())};
  }
};

// ---- Quick GELU ----

constexpr float kQuick = 1.702f;

LT_SIMD void quick_gelu_run(const float *x, float *y, int64_t n) {
  int64_t i = 0;
  for (; i + lt::kLanes <= n; i += lt::kLanes) {
    auto v = lt::load(x + i);
    lt::store(y + i, v * lt::sigmoid(kQuick * v));
  }
  auto v = lt::load_part(x + i, n - i);
  lt::store_part(y + i, v * lt::sigmoid(kQuick * v), n - i);
}

LT_INLINE lt::vec quick_gelu_gradient(lt::vec x, lt::vec grad) {
  auto s = lt::sigmoid(kQuick * x);
  return grad * s * (1.0f + kQuick * x * (1.0f - s));
}

LT_SIMD void quick_gelu_run_backward(const float *x, const float *grad, float *dx, int64_t n) {
  int64_t i = 0;
  for (; i + lt::kLanes <= n; i += lt::kLanes) {
    lt::store(dx + i, quick_gelu_gradient(lt::load(x + i), lt::load(grad + i)));
  }
  lt::store_part(dx + i, quick_gelu_gradient(lt::load_part(x + i, n - i), lt::load_part(grad + i, n - i)), n - i);
}

struct QuickGelu : torch::autograd::Function<QuickGelu> {
  static at::Tensor forward(torch::autograd::AutogradContext *context, const at::Tensor &input) {
    at::AutoDispatchBelowAutograd below;
    RECORD_FUNCTION("llavatrain::quick_gelu", {});
    auto x = input.contiguous(), y = at::empty_like(x);
    context->save_for_backward({x});
    if (lt::device::ready(lt::device::kQuickGelu, {x})) {
      lt::device::quick_gelu(x, y);
      return y;
    }
    auto *in = x.const_data_ptr<float>();
    auto *out = y.data_ptr<float>();
    at::parallel_for(0, x.numel(), lt::kElements,
                     [&](int64_t begin, int64_t end) { quick_gelu_run(in + begin, out + begin, end - begin); });
    return y;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext *context,
                                                 torch::autograd::variable_list grads) {
    RECORD_FUNCTION("llavatrain::quick_gelu_backward", {});
    auto x = context->get_saved_variables()[0];
    auto grad = grads[0].contiguous(), dx = at::empty_like(x);
    if (lt::device::ready(lt::device::kQuickGelu, {x, grad})) {
      lt::device::quick_gelu_backward(x, grad, dx);
      return {dx};
    }
    auto *in = x.const_data_ptr<float>(), *g = grad.const_data_ptr<float>();
    auto *out = dx.data_ptr<float>();
    at::parallel_for(0, x.numel(), lt::kElements, [&](int64_t begin, int64_t end) {
      quick_gelu_run_backward(in + begin, g + begin, out + begin, end - begin);
    });
    return {dx};
  }
};

}  // namespace

at::Tensor lt::swiglu_forward(const at::Tensor &gate, const at::Tensor &up) {
  if (!gates_fit(gate, up)) {
    return at::silu(gate) * up;
  }
  RECORD_FUNCTION("llavatrain::swiglu", {});
  auto y = at::empty(gate.sizes(), gate.options());
  if (on_card(gate, up)) {
    device::swiglu(gate, up, y);
    return y;
  }
  int64_t gate_row = gate.stride(0), up_row = up.stride(0), columns = gate.size(1);
  auto *g = gate.const_data_ptr<float>(), *u = up.const_data_ptr<float>();
  auto *out = y.data_ptr<float>();
  each_piece(gate, [&](int64_t r, int64_t c, int64_t n) {
    swiglu_row(g + r * gate_row + c, u + r * up_row + c, out + r * columns + c, n);
  });
  return y;
}

void lt::swiglu_backward(const at::Tensor &gate, const at::Tensor &up, const at::Tensor &grad, at::Tensor d_gate,
                         at::Tensor d_up) {
  if (!gates_fit(gate, up)) {
    d_gate.copy_(at::silu_backward(grad * up, gate));
    d_up.copy_(grad * at::silu(gate));
    return;
  }
  RECORD_FUNCTION("llavatrain::swiglu_backward", {});
  if (on_card(gate, up)) {
    device::swiglu_backward(gate, up, grad.contiguous(), d_gate, d_up);
    return;
  }
  int64_t gate_row = gate.stride(0), up_row = up.stride(0), grad_row = grad.stride(0), dg_row = d_gate.stride(0),
          du_row = d_up.stride(0);
  auto *g = gate.const_data_ptr<float>(), *u = up.const_data_ptr<float>(), *in = grad.const_data_ptr<float>();
  auto *dg = d_gate.data_ptr<float>(), *du = d_up.data_ptr<float>();
  each_piece(gate, [&](int64_t r, int64_t c, int64_t n) {
    swiglu_row_backward(g + r * gate_row + c, u + r * up_row + c, in + r * grad_row + c, dg + r * dg_row + c,
                        du + r * du_row + c, n);
  });
}

char *lt_swiglu(lt_tensor gate, lt_tensor up, lt_tensor *out) {
  LT_PROTECT(*out =
                 own(gates_fit(ref(gate), ref(up)) ? SwiGLU::apply(ref(gate), ref(up)) : at::silu(ref(gate)) * ref(up)))
}

// x * sigmoid(1.702 x).
char *lt_quick_gelu(lt_tensor x, lt_tensor *out) {
  LT_PROTECT(*out = own(quick_fits(ref(x)) ? QuickGelu::apply(ref(x)) : ref(x) * at::sigmoid(ref(x) * 1.702)))
}
