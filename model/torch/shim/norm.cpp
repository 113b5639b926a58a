// RMSNorm (Zhang and Sennrich 2019), with the addition that precedes it in a decoder layer.
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>

#include "device.h"
#include "layer_ops.h"
#include "simd.h"

namespace {

constexpr int64_t kRows = 64;  // rows of a partial sum: fixed, so that sums do not depend on the number of threads

// y and sum may be null.
LT_SIMD void norm_rows(const float *x, const float *y, const float *weight, float *sum, float *out, float *inverse,
                       int64_t rows, int64_t size, float eps) {
  for (int64_t r = 0; r < rows; r++, x += size, out += size) {
    const float *row = x;
    int64_t i = 0;
    if (y) {
      for (; i + lt::kLanes <= size; i += lt::kLanes) {
        lt::store(sum + i, lt::load(x + i) + lt::load(y + i));
      }
      for (; i < size; i++) {
        sum[i] = x[i] + y[i];
      }
      row = sum, y += size, sum += size;
    }
    lt::vec squares = {};
    for (i = 0; i + lt::kLanes <= size; i += lt::kLanes) {
      auto v = lt::load(row + i);
      squares += v * v;
    }
    float total = lt::sum(squares);
    for (; i < size; i++) {
      total += row[i] * row[i];
    }
    float scale = 1 / std::sqrt(total / size + eps);
    inverse[r] = scale;
    for (i = 0; i + lt::kLanes <= size; i += lt::kLanes) {
      lt::store(out + i, lt::load(row + i) * scale * lt::load(weight + i));
    }
    for (; i < size; i++) {
      out[i] = row[i] * scale * weight[i];
    }
  }
}

// dx = also + s (w g - x s^2 mean(x w g)) with s = 1/rms; dw += x s g. also and dw may be null.
LT_SIMD void norm_rows_backward(const float *x, const float *weight, const float *inverse, const float *g,
                                const float *also, float *dx, float *dw, int64_t rows, int64_t size) {
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
      auto d = scale * (lt::load(weight + i) * lt::load(g + i) - lt::load(x + i) * pull);
      lt::store(dx + i, also ? lt::load(also + i) + d : d);
    }
    for (; i < size; i++) {
      float d = scale * (weight[i] * g[i] - x[i] * pull);
      dx[i] = also ? also[i] + d : d;
    }
    also = also ? also + size : nullptr;
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

const float *data_or_null(const at::Tensor &x) { return x.defined() ? x.const_data_ptr<float>() : nullptr; }

lt::Normed forward_cpu(const at::Tensor &x, const at::Tensor &y, const at::Tensor &weight, double eps) {
  int64_t size = x.size(-1), rows = x.numel() / size;
  auto sum = y.defined() ? at::empty_like(x) : x, out = at::empty_like(x), inverse = at::empty({rows}, x.options());
  auto *in = x.const_data_ptr<float>(), *also = data_or_null(y), *w = weight.const_data_ptr<float>();
  auto *s = also ? sum.data_ptr<float>() : nullptr, *o = out.data_ptr<float>(), *scale = inverse.data_ptr<float>();
  at::parallel_for(0, rows, lt::grain(size), [&](int64_t begin, int64_t end) {
    int64_t at = begin * size;
    norm_rows(in + at, also ? also + at : nullptr, w, s ? s + at : nullptr, o + at, scale + begin, end - begin, size,
              static_cast<float>(eps));
  });
  return {sum, out, inverse};
}

lt::NormGradients backward_cpu(const at::Tensor &x, const at::Tensor &inverse, const at::Tensor &weight,
                               const at::Tensor &grad, const at::Tensor &also, bool wants_weight) {
  int64_t size = x.size(-1), rows = x.numel() / size, blocks = (rows + kRows - 1) / kRows;
  auto dx = at::empty_like(x), partial = wants_weight ? at::zeros({blocks, size}, x.options()) : at::Tensor();
  auto *in = x.const_data_ptr<float>(), *w = weight.const_data_ptr<float>(), *scale = inverse.const_data_ptr<float>();
  auto *g = grad.const_data_ptr<float>(), *add = data_or_null(also);
  auto *out = dx.data_ptr<float>(), *dw = wants_weight ? partial.data_ptr<float>() : nullptr;
  at::parallel_for(0, blocks, std::max<int64_t>(1, lt::grain(size) / kRows), [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; b++) {
      int64_t first = b * kRows, n = std::min(kRows, rows - first), at = first * size;
      norm_rows_backward(in + at, w, scale + first, g + at, add ? add + at : nullptr, out + at,
                         dw ? dw + b * size : nullptr, n, size);
    }
  });
  return {dx, wants_weight ? partial.sum(0) : at::Tensor()};
}

// The reference's formula, the statistics in fp32 (transformers LlamaRMSNorm).
lt::Normed forward_plain(const at::Tensor &x, const at::Tensor &y, const at::Tensor &weight, double eps) {
  auto sum = y.defined() ? x + y : x, wide = sum.to(at::kFloat);
  auto inverse = at::rsqrt(wide.square().mean({-1}, true) + eps);
  return {sum, weight * (wide * inverse).to(x.scalar_type()), inverse.reshape({-1})};
}

lt::NormGradients backward_plain(const at::Tensor &x, const at::Tensor &inverse, const at::Tensor &weight,
                                 const at::Tensor &grad, const at::Tensor &also, bool wants_weight) {
  auto shape = x.sizes().vec();
  shape.back() = 1;
  auto scale = inverse.view(shape), wide = x.to(at::kFloat), g = grad.to(at::kFloat),
       scaled = g * weight.to(at::kFloat);
  auto dx = scale * (scaled - wide * scale.square() * (wide * scaled).mean({-1}, true));
  auto dw = wants_weight ? (g * wide * scale).reshape({-1, x.size(-1)}).sum(0).to(weight.scalar_type()) : at::Tensor();
  return {(also.defined() ? also.to(at::kFloat) + dx : dx).to(x.scalar_type()), dw};
}

// Whether our own kernels take the rows, on either device.
bool ours(const at::Tensor &x, const at::Tensor &weight) {
  return lt::device::rms_norm_ready(x, weight) || lt::cpu_fits(x);
}

struct RMSNorm : torch::autograd::Function<RMSNorm> {
  static at::Tensor forward(torch::autograd::AutogradContext *context, const at::Tensor &x, const at::Tensor &weight,
                            double eps) {
    at::AutoDispatchBelowAutograd below;
    auto n = lt::rms_norm_forward(x, {}, weight, eps);
    context->save_for_backward({n.sum, weight, n.inverse});
    return n.out;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext *context,
                                                 torch::autograd::variable_list grads) {
    auto saved = context->get_saved_variables();
    auto d = lt::rms_norm_backward(saved[0], saved[2], saved[1], grads[0], {}, context->needs_input_grad(1));
    return {d.x, d.weight, at::Tensor()};
  }
};

// Both results or only one of them may be used; the gradient of an unused one is undefined.
struct AddRMSNorm : torch::autograd::Function<AddRMSNorm> {
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext *context, const at::Tensor &x,
                                                const at::Tensor &y, const at::Tensor &weight, double eps) {
    at::AutoDispatchBelowAutograd below;
    TORCH_CHECK(x.sizes() == y.sizes(), "x ", x.sizes(), " and y ", y.sizes());
    auto n = lt::rms_norm_forward(x, y, weight, eps);
    context->save_for_backward({n.sum, weight, n.inverse});
    context->set_materialize_grads(false);
    if (!x.requires_grad() && !y.requires_grad()) {
      context->mark_non_differentiable({n.sum});
    }
    return {n.sum, n.out};
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext *context,
                                                 torch::autograd::variable_list grads) {
    auto saved = context->get_saved_variables();
    if (!grads[1].defined()) {
      return {grads[0], grads[0], at::Tensor(), at::Tensor()};
    }
    auto d = lt::rms_norm_backward(saved[0], saved[2], saved[1], grads[1], grads[0], context->needs_input_grad(2));
    return {d.x, d.x, d.weight, at::Tensor()};
  }
};

at::Tensor norm(const at::Tensor &x, const at::Tensor &weight, double eps) {
  if (ours(x, weight)) {
    return RMSNorm::apply(x, weight, eps);
  }
  return x.scalar_type() == at::kFloat ? at::rms_norm(x, {x.size(-1)}, weight, eps)
                                       : forward_plain(x, {}, weight, eps).out;
}

}  // namespace

lt::Normed lt::rms_norm_forward(const at::Tensor &x, const at::Tensor &y, const at::Tensor &weight, double eps) {
  RECORD_FUNCTION("llavatrain::rms_norm", {});
  TORCH_CHECK(weight.numel() == x.size(-1) && weight.is_contiguous(), "weight ", weight.sizes(), " for rows of ",
              x.size(-1));
  auto rows = x.contiguous(), also = y.defined() ? y.contiguous() : y;
  if (device::rms_norm_ready(rows, weight) && (!also.defined() || device::ready(device::kRMSNorm, {rows, also}))) {
    auto out = at::empty_like(rows),
         inverse = at::empty({rows.numel() / rows.size(-1)}, rows.options().dtype(at::kFloat));
    auto sum = also.defined() ? at::empty_like(rows) : rows;
    device::rms_norm(rows, also, weight, eps, sum, out, inverse);
    return {sum, out, inverse};
  }
  return cpu_fits(rows) ? forward_cpu(rows, also, weight, eps) : forward_plain(rows, also, weight, eps);
}

lt::NormGradients lt::rms_norm_backward(const at::Tensor &sum, const at::Tensor &inverse, const at::Tensor &weight,
                                        const at::Tensor &grad, const at::Tensor &also, bool wants_weight) {
  RECORD_FUNCTION("llavatrain::rms_norm_backward", {});
  auto g = grad.contiguous(), add = also.defined() ? also.contiguous() : also;
  if (device::rms_norm_ready(sum, weight)) {
    NormGradients d{at::empty_like(sum), {}};
    device::rms_norm_backward(sum, inverse, weight, g, add, d.x, wants_weight ? &d.weight : nullptr);
    return d;
  }
  return cpu_fits(sum) ? backward_cpu(sum, inverse, weight, g, add, wants_weight)
                       : backward_plain(sum, inverse, weight, g, add, wants_weight);
}

char *lt_rms_norm(lt_tensor x, lt_tensor weight, double eps, lt_tensor *out) {
  LT_PROTECT(*out = own(norm(ref(x), ref(weight), eps)))
}

// sum = x + y, and its RMSNorm.
char *lt_add_rms_norm(lt_tensor x, lt_tensor y, lt_tensor weight, double eps, lt_tensor *sum, lt_tensor *out) {
  LT_PROTECT({
    if (ours(ref(x), ref(weight)) && ref(x).scalar_type() == ref(y).scalar_type()) {
      auto both = AddRMSNorm::apply(ref(x), ref(y), ref(weight), eps);
      *sum = own(both[0]);
      *out = own(both[1]);
    } else {
      auto both = ref(x) + ref(y);
      *out = own(norm(both, ref(weight), eps));
      *sum = own(both);
    }
  })
}
