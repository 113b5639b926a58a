// Operations of a decoder layer in one pass over memory, forward and backward, on the CPU in fp32. Elsewhere, and with lt_set_fused(0),
// each is the reference's formula over libtorch's operations, which is also what the tests hold the kernels against.
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <atomic>
#include <cmath>

#include "device.h"
#include "simd.h"

namespace lt {
static std::atomic<bool> use_fused{true};
bool fused() { return use_fused; }
}  // namespace lt

int lt_set_fused(int on) { return lt::use_fused.exchange(on != 0); }

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

bool fits(const at::Tensor &x) { return lt::fused() && x.is_cpu() && x.scalar_type() == at::kFloat && x.numel() > 0; }

constexpr int64_t kRows = 64;         // rows of a partial sum: fixed, so that sums do not depend on the number of threads
constexpr int64_t kElements = 16384;  // elements a thread takes at least

int64_t grain(int64_t columns) { return std::max<int64_t>(1, kElements / columns); }

// ---- RMSNorm ----

LT_SIMD void rms_norm_rows(const float *x, const float *weight, float *y, float *inverse, int64_t rows, int64_t size, float eps) {
  for (int64_t r = 0; r < rows; r++, x += size, y += size) {
    lt::vec squares = {};
    int64_t i = 0;
    for (; i + lt::kLanes <= size; i += lt::kLanes) {
      auto v = lt::load(x + i);
      squares += v * v;
    }
    float total = lt::sum(squares);
    for (; i < size; i++) {
      total += x[i] * x[i];
    }
    float scale = 1 / std::sqrt(total / size + eps);
    inverse[r] = scale;
    for (i = 0; i + lt::kLanes <= size; i += lt::kLanes) {
      lt::store(y + i, lt::load(x + i) * scale * lt::load(weight + i));
    }
    for (; i < size; i++) {
      y[i] = x[i] * scale * weight[i];
    }
  }
}

// dx = s (w g - x s^2 mean(x w g)) with s = 1/rms; dw += x s g where dw is not null.
LT_SIMD void rms_norm_rows_backward(const float *x, const float *weight, const float *inverse, const float *g, float *dx, float *dw, int64_t rows,
                                    int64_t size) {
  for (int64_t r = 0; r < rows; r++, x += size, g += size, dx += size) {
    lt::vec products = {};
    int64_t i = 0;
    for (; i + lt::kLanes <= size; i += lt::kLanes) {
      products += lt::load(x + i) * lt::load(weight + i) * lt::load(g + i);
    }
    float total = lt::sum(products);
    for (; i < size; i++) {
      total += x[i] * weight[i] * g[i];
    }
    float scale = inverse[r], pull = scale * scale * total / size;
    for (i = 0; i + lt::kLanes <= size; i += lt::kLanes) {
      lt::store(dx + i, scale * (lt::load(weight + i) * lt::load(g + i) - lt::load(x + i) * pull));
    }
    for (; i < size; i++) {
      dx[i] = scale * (weight[i] * g[i] - x[i] * pull);
    }
    if (!dw) {
      continue;
    }
    for (i = 0; i + lt::kLanes <= size; i += lt::kLanes) {
      lt::store(dw + i, lt::load(dw + i) + lt::load(x + i) * scale * lt::load(g + i));
    }
    for (; i < size; i++) {
      dw[i] += x[i] * scale * g[i];
    }
  }
}

struct RMSNorm : torch::autograd::Function<RMSNorm> {
  static at::Tensor forward(AutogradContext *context, const at::Tensor &input, const at::Tensor &weight, double eps) {
    at::AutoDispatchBelowAutograd below;
    auto x = input.contiguous();
    int64_t size = x.size(-1), rows = x.numel() / size;
    TORCH_CHECK(weight.numel() == size && weight.is_contiguous(), "weight ", weight.sizes(), " for rows of ", size);
    auto y = at::empty_like(x), inverse = at::empty({rows}, x.options());
    auto *in = x.const_data_ptr<float>(), *w = weight.const_data_ptr<float>();
    auto *out = y.data_ptr<float>(), *scale = inverse.data_ptr<float>();
    at::parallel_for(0, rows, grain(size), [&](int64_t begin, int64_t end) {
      rms_norm_rows(in + begin * size, w, out + begin * size, scale + begin, end - begin, size, static_cast<float>(eps));
    });
    context->save_for_backward({x, weight, inverse});
    return y;
  }

  static variable_list backward(AutogradContext *context, variable_list grads) {
    auto saved = context->get_saved_variables();
    auto &x = saved[0], &weight = saved[1], &inverse = saved[2];
    auto grad = grads[0].contiguous();
    int64_t size = x.size(-1), rows = x.numel() / size, blocks = (rows + kRows - 1) / kRows;
    auto dx = at::empty_like(x), partial = context->needs_input_grad(1) ? at::zeros({blocks, size}, x.options()) : at::Tensor();
    auto *in = x.const_data_ptr<float>(), *w = weight.const_data_ptr<float>(), *scale = inverse.const_data_ptr<float>();
    auto *g = grad.const_data_ptr<float>();
    auto *out = dx.data_ptr<float>(), *dw = partial.defined() ? partial.data_ptr<float>() : nullptr;
    at::parallel_for(0, blocks, std::max<int64_t>(1, grain(size) / kRows), [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; b++) {
        int64_t first = b * kRows, n = std::min(kRows, rows - first);
        rms_norm_rows_backward(in + first * size, w, scale + first, g + first * size, out + first * size, dw ? dw + b * size : nullptr, n, size);
      }
    });
    return {dx, partial.defined() ? partial.sum(0) : at::Tensor(), at::Tensor()};
  }
};

at::Tensor plain_rms_norm(const at::Tensor &x, const at::Tensor &weight, double eps) {
  if (x.scalar_type() == at::kFloat) {
    return at::rms_norm(x, {x.size(-1)}, weight, eps);
  }
  auto wide = x.to(at::kFloat);
  auto scaled = wide * at::rsqrt(wide.square().mean({-1}, true) + eps);
  return weight * scaled.to(x.scalar_type());
}

// ---- Rotary positions ----

// y = x*cos + rotate_half(x)*sin, for each head of each row; back is its transpose, which brings a gradient down.
LT_SIMD void rotate_rows(const float *x, const float *cos, const float *sin, float *y, int64_t rows, int64_t heads, int64_t dim, bool back) {
  const int64_t half = dim / 2, low = back ? half : 0, high = half - low;
  const float turn = back ? -1.0f : 1.0f;
  for (int64_t r = 0; r < rows; r++, cos += dim, sin += dim) {
    for (int64_t h = 0; h < heads; h++, x += dim, y += dim) {
      int64_t i = 0;
      for (; i + lt::kLanes <= half; i += lt::kLanes) {
        auto a = lt::load(x + i), b = lt::load(x + half + i);
        lt::store(y + i, a * lt::load(cos + i) - b * lt::load(sin + low + i) * turn);
        lt::store(y + half + i, b * lt::load(cos + half + i) + a * lt::load(sin + high + i) * turn);
      }
      for (; i < half; i++) {
        float a = x[i], b = x[half + i];
        y[i] = a * cos[i] - b * sin[low + i] * turn;
        y[half + i] = b * cos[half + i] + a * sin[high + i] * turn;
      }
    }
  }
}

at::Tensor rotate(const at::Tensor &x, const at::Tensor &cos, const at::Tensor &sin, bool back) {
  auto y = at::empty_like(x);
  int64_t heads = x.size(1), dim = x.size(2);
  auto *in = x.const_data_ptr<float>(), *c = cos.const_data_ptr<float>(), *s = sin.const_data_ptr<float>();
  auto *out = y.data_ptr<float>();
  at::parallel_for(0, x.size(0), grain(heads * dim), [&](int64_t begin, int64_t end) {
    rotate_rows(in + begin * heads * dim, c + begin * dim, s + begin * dim, out + begin * heads * dim, end - begin, heads, dim, back);
  });
  return y;
}

// The tables are constants: no gradient reaches them.
struct Rotary : torch::autograd::Function<Rotary> {
  static at::Tensor forward(AutogradContext *context, const at::Tensor &x, const at::Tensor &cos, const at::Tensor &sin) {
    at::AutoDispatchBelowAutograd below;
    auto each = {x.size(0), int64_t{1}, x.size(2)};
    TORCH_CHECK(cos.sizes() == each && sin.sizes() == each, "rotary tables ", cos.sizes(), " and ", sin.sizes(), " for positions ", x.sizes());
    auto c = cos.contiguous(), s = sin.contiguous();
    context->save_for_backward({c, s});
    return rotate(x.contiguous(), c, s, false);
  }

  static variable_list backward(AutogradContext *context, variable_list grads) {
    auto saved = context->get_saved_variables();
    return {rotate(grads[0].contiguous(), saved[0], saved[1], true), at::Tensor(), at::Tensor()};
  }
};

at::Tensor plain_rotary(const at::Tensor &x, const at::Tensor &cos, const at::Tensor &sin) {
  auto halves = x.chunk(2, -1);
  auto turned = at::cat({-halves[1], halves[0]}, -1);
  return x * cos + turned * sin;
}

// ---- SwiGLU and quick GELU ----

LT_SIMD void swiglu_run(const float *gate, const float *up, float *y, int64_t n) {
  int64_t i = 0;
  for (; i + lt::kLanes <= n; i += lt::kLanes) {
    auto g = lt::load(gate + i);
    lt::store(y + i, g * lt::sigmoid(g) * lt::load(up + i));
  }
  auto g = lt::load_part(gate + i, n - i);
  lt::store_part(y + i, g * lt::sigmoid(g) * lt::load_part(up + i, n - i), n - i);
}

// The part of a run that both loops below share: d silu(g) u = s (1 + g (1 - s)) u, d up = g s, with s = sigmoid(g).
LT_INLINE void swiglu_gradients(lt::vec g, lt::vec u, lt::vec grad, lt::vec *d_gate, lt::vec *d_up) {
  auto s = lt::sigmoid(g);
  *d_gate = grad * u * s * (1.0f + g * (1.0f - s));
  *d_up = grad * g * s;
}

LT_SIMD void swiglu_run_backward(const float *gate, const float *up, const float *grad, float *d_gate, float *d_up, int64_t n) {
  int64_t i = 0;
  lt::vec dg, du;
  for (; i + lt::kLanes <= n; i += lt::kLanes) {
    swiglu_gradients(lt::load(gate + i), lt::load(up + i), lt::load(grad + i), &dg, &du);
    lt::store(d_gate + i, dg);
    lt::store(d_up + i, du);
  }
  swiglu_gradients(lt::load_part(gate + i, n - i), lt::load_part(up + i, n - i), lt::load_part(grad + i, n - i), &dg, &du);
  lt::store_part(d_gate + i, dg, n - i);
  lt::store_part(d_up + i, du, n - i);
}

struct SwiGLU : torch::autograd::Function<SwiGLU> {
  static at::Tensor forward(AutogradContext *context, const at::Tensor &gate_, const at::Tensor &up_) {
    at::AutoDispatchBelowAutograd below;
    TORCH_CHECK(gate_.sizes() == up_.sizes(), "gate ", gate_.sizes(), " must match the size of up ", up_.sizes());
    auto gate = gate_.contiguous(), up = up_.contiguous(), y = at::empty_like(gate);
    auto *g = gate.const_data_ptr<float>(), *u = up.const_data_ptr<float>();
    auto *out = y.data_ptr<float>();
    at::parallel_for(0, y.numel(), kElements, [&](int64_t begin, int64_t end) { swiglu_run(g + begin, u + begin, out + begin, end - begin); });
    context->save_for_backward({gate, up});
    return y;
  }

  static variable_list backward(AutogradContext *context, variable_list grads) {
    auto saved = context->get_saved_variables();
    auto &gate = saved[0], &up = saved[1];
    auto grad = grads[0].contiguous(), d_gate = at::empty_like(gate), d_up = at::empty_like(up);
    auto *g = gate.const_data_ptr<float>(), *u = up.const_data_ptr<float>(), *in = grad.const_data_ptr<float>();
    auto *dg = d_gate.data_ptr<float>(), *du = d_up.data_ptr<float>();
    at::parallel_for(0, grad.numel(), kElements,
                     [&](int64_t begin, int64_t end) { swiglu_run_backward(g + begin, u + begin, in + begin, dg + begin, du + begin, end - begin); });
    return {d_gate, d_up};
  }
};

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

LT_SIMD void quick_gelu_run_backward(const float *x, const float *grad, float *dx, int64_t n) {
  for (int64_t i = 0; i < n; i += lt::kLanes) {
    int64_t take = std::min(lt::kLanes, n - i);
    auto v = lt::load_part(x + i, take), s = lt::sigmoid(kQuick * v);
    lt::store_part(dx + i, lt::load_part(grad + i, take) * s * (1.0f + kQuick * v * (1.0f - s)), take);
  }
}

struct QuickGelu : torch::autograd::Function<QuickGelu> {
  static at::Tensor forward(AutogradContext *context, const at::Tensor &input) {
    at::AutoDispatchBelowAutograd below;
    auto x = input.contiguous(), y = at::empty_like(x);
    auto *in = x.const_data_ptr<float>();
    auto *out = y.data_ptr<float>();
    at::parallel_for(0, x.numel(), kElements, [&](int64_t begin, int64_t end) { quick_gelu_run(in + begin, out + begin, end - begin); });
    context->save_for_backward({x});
    return y;
  }

  static variable_list backward(AutogradContext *context, variable_list grads) {
    auto x = context->get_saved_variables()[0];
    auto grad = grads[0].contiguous(), dx = at::empty_like(x);
    auto *in = x.const_data_ptr<float>(), *g = grad.const_data_ptr<float>();
    auto *out = dx.data_ptr<float>();
    at::parallel_for(0, x.numel(), kElements, [&](int64_t begin, int64_t end) { quick_gelu_run_backward(in + begin, g + begin, out + begin, end - begin); });
    return {dx};
  }
};

at::Tensor norm(const at::Tensor &x, const at::Tensor &weight, double eps) {
  if (lt::device::rms_norm_ready(x, weight)) {
    return lt::device::rms_norm(x, weight, eps);
  }
  return fits(x) ? RMSNorm::apply(x, weight, eps) : plain_rms_norm(x, weight, eps);
}

}  // namespace

// x * rsqrt(mean(x^2) + eps) * weight, the statistics in fp32 (Zhang and Sennrich 2019; transformers LlamaRMSNorm).
char *lt_rms_norm(lt_tensor x, lt_tensor weight, double eps, lt_tensor *out) {
  LT_PROTECT(*out = own(norm(ref(x), ref(weight), eps)))
}

// sum = x + y, and its RMSNorm.
char *lt_add_rms_norm(lt_tensor x, lt_tensor y, lt_tensor weight, double eps, lt_tensor *sum, lt_tensor *out) {
  LT_PROTECT({
    if (lt::device::rms_norm_ready(ref(x), ref(weight)) && lt::device::ready(lt::device::kRMSNorm, {ref(x), ref(y)})) {
      auto [both, normed] = lt::device::add_rms_norm(ref(x), ref(y), ref(weight), eps);
      *sum = own(both);
      *out = own(normed);
    } else {
      auto both = ref(x) + ref(y);
      *out = own(norm(both, ref(weight), eps));
      *sum = own(both);
    }
  })
}

// x*cos + rotate_half(x)*sin (Su et al. 2021, in the half-split layout of transformers' Llama). x [T,H,d], cos and sin [T,1,d].
char *lt_rotary(lt_tensor x, lt_tensor cos, lt_tensor sin, lt_tensor *out) {
  LT_PROTECT(*out = own(lt::device::ready(lt::device::kRotary, {ref(x), ref(cos), ref(sin)}) ? lt::device::rotary(ref(x), ref(cos), ref(sin))
                        : fits(ref(x)) ? Rotary::apply(ref(x), ref(cos), ref(sin)) : plain_rotary(ref(x), ref(cos), ref(sin))))
}

char *lt_swiglu(lt_tensor gate, lt_tensor up, lt_tensor *out) {
  LT_PROTECT(*out = own(lt::device::ready(lt::device::kSwiGLU, {ref(gate), ref(up)}) ? lt::device::swiglu(ref(gate), ref(up))
                        : fits(ref(gate)) ? SwiGLU::apply(ref(gate), ref(up)) : at::silu(ref(gate)) * ref(up)))
}

// x * sigmoid(1.702 x) (Hendrycks and Gimpel 2016; CLIP's activation).
char *lt_quick_gelu(lt_tensor x, lt_tensor *out) {
  LT_PROTECT(*out = own(lt::device::ready(lt::device::kQuickGelu, {ref(x)}) ? lt::device::quick_gelu(ref(x))
                        : fits(ref(x)) ? QuickGelu::apply(ref(x)) : ref(x) * at::sigmoid(ref(x) * 1.702)))
}
