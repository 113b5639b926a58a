// The optimizer's arithmetic, one pass over flat buffers: on the CPU here, on a GPU in kernels_optimizer.cu, and for
// other dtypes, and with lt_set_fused(0), by libtorch's operations.
#include <ATen/Parallel.h>

#include <xmmintrin.h>

#include <cmath>

#include "device.h"
#include "simd.h"

// Every instruction set must give the same bits, so none may fuse a multiplication with an addition.
#pragma GCC optimize("fp-contract=off")

namespace {

// elements of a partial sum: fixed, so that sums do not depend on the number of threads
constexpr int64_t kBlock = 1 << 16;
constexpr int64_t kSlice = 1LL << 24;  // elements that libtorch's operations process at a time

// ---- on the CPU ----

constexpr int64_t kTile = 256;  // elements that pass through the three loops of adamw_tiles at a time

LT_INLINE float master(float p, short) { return p; }
LT_INLINE float master(const lt::bf16 &p, short low) { return lt::merge_master(p, low); }
LT_INLINE void keep_master(float x, float *p, short *) { *p = x; }
LT_INLINE void keep_master(float x, lt::bf16 *p, short *low) { lt::split_master(x, p, low); }

// Four at a time by an intrinsic: the compiler does not vectorize a square root that might set errno.
LT_INLINE void square_roots(float *x) {
  for (int64_t k = 0; k < kTile; k += 4) {
    _mm_store_ps(x + k, _mm_sqrt_ps(_mm_load_ps(x + k)));
  }
}

// n elements from the buffers' element `first`, a multiple of four; low holds the remainders and is not used for fp32
// parameters.
template <typename P, typename M>
LT_INLINE void adamw_tiles(P *__restrict p, short *__restrict low, P *__restrict g, M *__restrict m, M *__restrict v,
                           int64_t first, int64_t n, float scale, const lt::AdamW &a) {
  constexpr bool draws = sizeof(M) == sizeof(lt::bf16), halves = sizeof(P) == sizeof(lt::bf16);
  alignas(64) float means[kTile], roots[kTile] = {0};
  unsigned random[kTile] = {0};
  for (int64_t begin = 0; begin < n; begin += kTile) {
    if (draws) {
#pragma omp simd
      for (int64_t group = 0; group < kTile / 4; group++) {
        auto words = lt::moment_words((a.first + first + begin) / 4 + group, a.step, a.seed);
        random[4 * group] = words.w[0];
        random[4 * group + 1] = words.w[1];
        random[4 * group + 2] = words.w[2];
        random[4 * group + 3] = words.w[3];
      }
    }
    const int64_t count = std::min(kTile, n - begin);
#pragma omp simd
    for (int64_t k = 0; k < count; k++) {
      const int64_t i = begin + k;
      float mean = lt::widen(m[i]), square = lt::widen(v[i]);
      lt::adamw_moments(lt::widen(g[i]) * scale, &mean, &square, a);
      lt::narrow(0, &g[i]);
      lt::store_moment(mean, random[k] & 0xffffu, &m[i]);
      lt::store_moment(square, random[k] >> 16, &v[i]);
      means[k] = mean;
      roots[k] = square;
    }
    square_roots(roots);
#pragma omp simd
    for (int64_t k = 0; k < count; k++) {
      const int64_t i = begin + k;
      short rest = halves ? low[i] : 0;
      keep_master(lt::adamw_parameter(master(p[i], rest), means[k], roots[k], a), &p[i], &rest);
      if (halves) {
        low[i] = rest;
      }
    }
  }
}

#define LT_ADAMW_LOOP(P, M)                                                                                         \
  LT_SIMD void adamw_loop(P *p, short *low, P *g, M *m, M *v, int64_t first, int64_t n, float scale, lt::AdamW a) { \
    adamw_tiles(p, low, g, m, v, first, n, scale, a);                                                               \
  }

LT_ADAMW_LOOP(float, float)
LT_ADAMW_LOOP(float, lt::bf16)
LT_ADAMW_LOOP(lt::bf16, float)
LT_ADAMW_LOOP(lt::bf16, lt::bf16)

template <typename P, typename M>
void adamw_flat(const at::Tensor &param, const at::Tensor &remainder, const at::Tensor &grad, const at::Tensor &m,
                const at::Tensor &v, float scale, const lt::AdamW &a) {
  auto *p = static_cast<P *>(param.data_ptr()), *g = static_cast<P *>(grad.data_ptr());
  auto *first = static_cast<M *>(m.data_ptr()), *second = static_cast<M *>(v.data_ptr());
  auto *low = remainder.defined() ? static_cast<short *>(remainder.data_ptr()) : nullptr;
  int64_t n = param.numel();
  at::parallel_for(0, (n + kBlock - 1) / kBlock, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin * kBlock; i < std::min(n, end * kBlock); i += kBlock) {
      adamw_loop(p + i, low ? low + i : nullptr, g + i, first + i, second + i, i, std::min(kBlock, n - i), scale, a);
    }
  });
}

void adamw_cpu(const at::Tensor &param, const at::Tensor &remainder, const at::Tensor &grad, const at::Tensor &m,
               const at::Tensor &v, double total, const lt::AdamW &a) {
  bool wide = param.scalar_type() == at::kFloat, wide_moments = m.scalar_type() == at::kFloat;
  auto run = wide ? (wide_moments ? adamw_flat<float, float> : adamw_flat<float, lt::bf16>)
                  : (wide_moments ? adamw_flat<lt::bf16, float> : adamw_flat<lt::bf16, lt::bf16>);
  run(param, remainder, grad, m, v, lt::clip_scale(total, a.clip), a);
}

// ---- sum of squares ----

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

// ---- by libtorch's operations ----

// An fp32 value is held exactly as the nearest bf16 (ties away from zero) and the signed 16-bit distance of their bit
// patterns.
at::Tensor merge(const at::Tensor &high, const at::Tensor &low) {
  return (high.view(at::kShort).to(at::kInt).mul_(1 << 16)).add_(low.to(at::kInt)).view(at::kFloat);
}

void split(const at::Tensor &master, at::Tensor high, at::Tensor low) {
  auto bits = master.view(at::kInt);
  auto top = (bits + 0x8000).bitwise_right_shift(16);
  high.view(at::kShort).copy_(top.to(at::kShort));
  low.copy_((bits - top.mul(1 << 16)).to(at::kShort));
}

// The random words of n elements from `first`, [n] int32 on the CPU.
at::Tensor random_words(int64_t first, int64_t n, const lt::AdamW &a) {
  auto words = at::empty({(n + 3) / 4 * 4}, at::kInt);
  auto *out = words.data_ptr<int32_t>();
  at::parallel_for(0, words.numel() / 4, kBlock, [&](int64_t begin, int64_t end) {
    for (int64_t group = begin; group < end; group++) {
      auto drawn = lt::moment_words((a.first + first) / 4 + group, a.step, a.seed);
      std::memcpy(out + 4 * group, drawn.w, sizeof drawn.w);
    }
  });
  return words.narrow(0, 0, n);
}

// Stores fp32 values in a buffer; in bf16 rounded up or down by 16 random bits, as lt::store_moment does.
void store(const at::Tensor &values, const at::Tensor &random, at::Tensor to) {
  if (to.scalar_type() != at::kBFloat16) {
    to.copy_(values);
    return;
  }
  auto drawn = (values.view(at::kInt) + random).bitwise_right_shift(16).to(at::kShort).view(at::kBFloat16);
  to.copy_(at::where(values.isfinite(), drawn, values.to(at::kBFloat16)));
}

// A slice of the buffers, from their element `first`.
void adamw_tensor(at::Tensor p, const at::Tensor &g, at::Tensor m, at::Tensor v, float scale, int64_t first,
                  const lt::AdamW &a) {
  auto grad = g.to(at::kFloat) * scale, mean = m.to(at::kFloat), square = v.to(at::kFloat);
  mean.add_(grad - mean, a.rest1);
  square.mul_(a.beta2).addcmul_(grad, grad, a.rest2);
  p.mul_(a.keep).addcdiv_(mean, (square.sqrt() / a.correction).add_(a.eps), -a.step_size);
  auto random = m.scalar_type() == at::kBFloat16 ? random_words(first, p.numel(), a).to(p.device()) : at::Tensor();
  store(mean, random.defined() ? random.bitwise_and(0xffff) : random, m);
  store(square, random.defined() ? random.bitwise_right_shift(16).bitwise_and(0xffff) : random, v);
}

void adamw_slices(at::Tensor param, at::Tensor remainder, at::Tensor grad, at::Tensor m, at::Tensor v, float scale,
                  const lt::AdamW &a) {
  for (int64_t first = 0; first < param.numel(); first += kSlice) {
    auto slice = [&](const at::Tensor &t) { return t.narrow(0, first, std::min(kSlice, param.numel() - first)); };
    if (remainder.defined()) {
      auto master = merge(slice(param), slice(remainder));
      adamw_tensor(master, slice(grad), slice(m), slice(v), scale, first, a);
      split(master, slice(param), slice(remainder));
    } else {
      adamw_tensor(slice(param), slice(grad), slice(m), slice(v), scale, first, a);
    }
  }
}

bool float_or_bf16(const at::Tensor &t) { return t.scalar_type() == at::kFloat || t.scalar_type() == at::kBFloat16; }

// Whether the buffers have the form that our own loops and kernels take: fp32 parameters, or bf16 ones with remainders.
bool flat(const at::Tensor &p, const at::Tensor &remainder, const at::Tensor &g, const at::Tensor &m,
          const at::Tensor &v) {
  bool masters = remainder.defined() ? p.scalar_type() == at::kBFloat16 : p.scalar_type() == at::kFloat;
  bool fits = lt::fused() && masters && g.scalar_type() == p.scalar_type() && float_or_bf16(m);
  for (auto *t : {&p, &remainder, &g, &m, &v}) {
    fits =
        fits && (!t->defined() || (t->is_contiguous() && reinterpret_cast<uintptr_t>(t->const_data_ptr()) % 16 == 0));
  }
  return fits;
}

void check_total(const at::Tensor &total, const at::Tensor &of) {
  TORCH_CHECK(total.numel() == 1 && total.scalar_type() == at::kDouble && total.device() == of.device(),
              "the sum of squares must be one fp64 value on ", of.device());
}

}  // namespace

// Adds the sum of squared values, accumulated in fp64, to total [1] fp64.
char *lt_sum_squares_into(lt_tensor t, lt_tensor total) {
  LT_PROTECT({
    at::NoGradGuard no_grad;
    RECORD_FUNCTION("llavatrain::sum_squares", {});
    auto &x = ref(t);
    check_total(ref(total), x);
    if (lt::device::ready(lt::device::kAdamW, {x}) && x.is_contiguous()) {
      lt::device::sum_squares(x, ref(total));
    } else if (x.is_cpu() && x.scalar_type() == at::kFloat) {
      *ref(total).data_ptr<double>() += sum_squares_of(x.const_data_ptr<float>(), x.numel());
    } else if (x.is_cpu() && x.scalar_type() == at::kBFloat16) {
      *ref(total).data_ptr<double>() += sum_squares_of(x.const_data_ptr<at::BFloat16>(), x.numel());
    } else {
      for (int64_t first = 0; first < x.numel(); first += kSlice) {
        auto part = x.narrow(0, first, std::min(kSlice, x.numel() - first)).to(at::kDouble);
        ref(total) += part.dot(part);
      }
    }
  })
}

// If total is not finite, nothing else changes; the gradient becomes zero in any case.
char *lt_adamw(lt_tensor param, lt_tensor remainder, lt_tensor grad, lt_tensor m, lt_tensor v, lt_tensor total,
               double lr, double beta1, double beta2, double eps, double weight_decay, double clip, int64_t step,
               uint64_t seed, int64_t offset) {
  LT_PROTECT({
    at::NoGradGuard no_grad;
    RECORD_FUNCTION("llavatrain::adamw", {});
    auto &p = ref(param), &g = ref(grad), &first = ref(m), &second = ref(v);
    auto low = remainder ? ref(remainder) : at::Tensor();
    for (auto *other : {&g, &first, &second}) {
      TORCH_CHECK(other->numel() == p.numel(), "a buffer has ", other->numel(), " values for ", p.numel(),
                  " parameters");
    }
    TORCH_CHECK(first.scalar_type() == second.scalar_type() && float_or_bf16(first), "moments of ", first.scalar_type(),
                " and ", second.scalar_type());
    check_total(ref(total), p);
    TORCH_CHECK(offset % 4 == 0, "a slice from element ", offset, ", which is no multiple of 4");
    double correction1 = 1 - std::pow(beta1, static_cast<double>(step)),
           correction2 = std::sqrt(1 - std::pow(beta2, static_cast<double>(step)));
    lt::AdamW a = {static_cast<float>(1 - lr * weight_decay),
                   static_cast<float>(lr / correction1),
                   static_cast<float>(correction2),
                   static_cast<float>(1 - beta1),
                   static_cast<float>(beta2),
                   static_cast<float>(1 - beta2),
                   static_cast<float>(eps),
                   clip,
                   static_cast<unsigned long long>(step),
                   static_cast<unsigned long long>(seed),
                   static_cast<unsigned long long>(offset)};
    bool ours = flat(p, low, g, first, second);
    if (ours && lt::device::ready(lt::device::kAdamW, {p, g})) {
      // it clears the gradient and checks the total itself
      lt::device::adamw(p, low, g, first, second, ref(total), a);
    } else {
      double squares = ref(total).item<double>();
      if (lt::is_finite(squares) && ours && p.is_cpu()) {
        adamw_cpu(p, low, g, first, second, squares, a);  // it clears the gradient
      } else if (lt::is_finite(squares)) {
        adamw_slices(p, low, g, first, second, lt::clip_scale(squares, clip), a);
        g.zero_();
      } else {
        g.zero_();
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
