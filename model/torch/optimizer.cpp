// The optimizer's arithmetic, one pass over flat buffers.
#include <ATen/Parallel.h>

#include <cmath>

#include "shim_internal.h"

namespace {

constexpr int64_t kBlock = 1 << 16;       // elements of a partial sum: fixed, so that sums do not depend on the number of threads
constexpr int64_t kSlice = 1LL << 24;     // elements widened at a time where buffers are not fp32

struct Adam {
  double lr, beta1, beta2, eps, weight_decay, grad_scale;
  int64_t step;
  double correction1() const { return 1 - std::pow(beta1, static_cast<double>(step)); }
  double correction2() const { return std::sqrt(1 - std::pow(beta2, static_cast<double>(step))); }
};

// Decoupled weight decay (Loshchilov and Hutter 2019), the arithmetic of torch.optim.AdamW.
void adamw_float(float *p, const float *g, float *m, float *v, int64_t n, const Adam &a) {
  const float keep = static_cast<float>(1 - a.lr * a.weight_decay), scale = static_cast<float>(a.grad_scale);
  const float beta2 = static_cast<float>(a.beta2);
  const float rest1 = static_cast<float>(1 - a.beta1), rest2 = static_cast<float>(1 - a.beta2), eps = static_cast<float>(a.eps);
  const float step_size = static_cast<float>(a.lr / a.correction1()), correction = static_cast<float>(a.correction2());
  at::parallel_for(0, n, kBlock, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) {
      float grad = g[i] * scale;
      m[i] += rest1 * (grad - m[i]);
      v[i] = v[i] * beta2 + rest2 * grad * grad;
      p[i] = p[i] * keep - step_size * (m[i] / (std::sqrt(v[i]) / correction + eps));
    }
  });
}

// The same over any dtype and device, through fp32 copies of a slice.
void adamw_tensor(at::Tensor p, const at::Tensor &g, at::Tensor m, at::Tensor v, const Adam &a) {
  auto grad = g.to(at::kFloat) * a.grad_scale;
  m.add_(grad - m, 1 - a.beta1);
  v.mul_(a.beta2).addcmul_(grad, grad, 1 - a.beta2);
  p.mul_(1 - a.lr * a.weight_decay).addcdiv_(m, (v.sqrt() / a.correction2()).add_(a.eps), -a.lr / a.correction1());
}

// An fp32 value is held exactly as the nearest bf16 (ties away from zero) and the signed 16-bit distance of their bit patterns.
at::Tensor merge(const at::Tensor &high, const at::Tensor &low) {
  return (high.view(at::kShort).to(at::kInt).mul_(1 << 16)).add_(low.to(at::kInt)).view(at::kFloat);
}

void split(const at::Tensor &master, at::Tensor high, at::Tensor low) {
  auto bits = master.view(at::kInt);
  auto top = (bits + 0x8000).bitwise_right_shift(16);
  high.view(at::kShort).copy_(top.to(at::kShort));
  low.copy_((bits - top.mul(1 << 16)).to(at::kShort));
}

template <typename T>
double sum_squares_of(const T *x, int64_t n) {
  int64_t blocks = (n + kBlock - 1) / kBlock;
  std::vector<double> partial(static_cast<size_t>(blocks));
  at::parallel_for(0, blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; b++) {
      double lanes[8] = {0};
      int64_t first = b * kBlock, last = std::min(n, first + kBlock), i = first;
      for (; i + 8 <= last; i += 8) {
        for (int k = 0; k < 8; k++) {
          double value = static_cast<double>(x[i + k]);
          lanes[k] += value * value;
        }
      }
      for (; i < last; i++) {
        double value = static_cast<double>(x[i]);
        lanes[0] += value * value;
      }
      for (double lane : lanes) {
        partial[static_cast<size_t>(b)] += lane;
      }
    }
  });
  double total = 0;
  for (double p : partial) {
    total += p;
  }
  return total;
}

}  // namespace

char *lt_sum_squares(lt_tensor t, double *out) {
  LT_PROTECT({
    at::NoGradGuard no_grad;
    RECORD_FUNCTION("llavatrain::sum_squares", {});
    auto &x = ref(t);
    if (x.is_cpu() && x.scalar_type() == at::kFloat) {
      *out = sum_squares_of(x.const_data_ptr<float>(), x.numel());
    } else if (x.is_cpu() && x.scalar_type() == at::kBFloat16) {
      *out = sum_squares_of(x.const_data_ptr<at::BFloat16>(), x.numel());
    } else {
      auto total = at::zeros({}, x.options().dtype(at::kDouble));
      for (int64_t first = 0; first < x.numel(); first += kSlice) {
        auto part = x.narrow(0, first, std::min(kSlice, x.numel() - first)).to(at::kDouble);
        total += part.dot(part);
      }
      *out = total.item<double>();
    }
  })
}

char *lt_adamw(lt_tensor param, lt_tensor remainder, lt_tensor grad, lt_tensor m, lt_tensor v, double lr, double beta1, double beta2, double eps,
               double weight_decay, int64_t step, double grad_scale) {
  LT_PROTECT({
    at::NoGradGuard no_grad;
    RECORD_FUNCTION("llavatrain::adamw", {});
    Adam a{lr, beta1, beta2, eps, weight_decay, grad_scale, step};
    auto &p = ref(param);
    for (lt_tensor other : {grad, m, v}) {
      TORCH_CHECK(ref(other).numel() == p.numel(), "a buffer has ", ref(other).numel(), " values for ", p.numel(), " parameters");
    }
    if (p.is_cpu() && p.scalar_type() == at::kFloat) {
      adamw_float(p.data_ptr<float>(), ref(grad).const_data_ptr<float>(), ref(m).data_ptr<float>(), ref(v).data_ptr<float>(), p.numel(), a);
    } else {
      for (int64_t first = 0; first < p.numel(); first += kSlice) {
        auto slice = [&](lt_tensor t) { return ref(t).narrow(0, first, std::min(kSlice, p.numel() - first)); };
        if (remainder) {
          auto master = merge(slice(param), slice(remainder));
          adamw_tensor(master, slice(grad), slice(m), slice(v), a);
          split(master, slice(param), slice(remainder));
        } else {
          adamw_tensor(slice(param), slice(grad), slice(m), slice(v), a);
        }
      }
    }
  })
}

char *lt_merge_master(lt_tensor param, lt_tensor remainder, lt_tensor *out) {
  LT_PROTECT({
    at::NoGradGuard no_grad;
    *out = own(merge(ref(param), ref(remainder)));
  })
}

char *lt_split_master(lt_tensor master, lt_tensor param, lt_tensor remainder) {
  LT_PROTECT({
    at::NoGradGuard no_grad;
    split(ref(master), ref(param), ref(remainder));
  })
}
