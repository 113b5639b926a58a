// Products of a few rows. Their time is that of reading the weights from memory, once for all rows, so nothing is
// packed: a task reads some rows of the weights, and multiplies each by all rows of x, which stay in the caches.
#include "few_rows.h"

#include <immintrin.h>

#include <vector>

#include "panels.h"
#include "products.h"

namespace {

constexpr int64_t kTogether = 4;  // rows of x, and of weights, whose products are in registers at a time
constexpr int64_t kAhead = 12;    // how many rows of weights before their use they are fetched
constexpr int64_t kTask = 64;     // rows of weights that a thread takes at a time, at least

// x [m,k], kTogether rows at a time: [m / kTogether][k / 16][kTogether][16] with zeros at the end, so that a group of
// rows is read from one place.
struct Packed {
  std::vector<float> values;
  int64_t m, k, step;  // step: from group to group

  Packed(const float *x, int64_t m, int64_t k)
      : values((m + kTogether - 1) / kTogether * lt::panels(k) * kTogether * lt::kLanes),
        m(m),
        k(k),
        step(lt::panels(k) * kTogether * lt::kLanes) {
    for (int64_t i = 0; i < m; i++) {
      float *to = values.data() + i / kTogether * step + i % kTogether * lt::kLanes;
      for (int64_t p = 0; p < k; p += lt::kLanes, to += kTogether * lt::kLanes) {
        std::memcpy(to, x + i * k + p, std::min(lt::kLanes, k - p) * sizeof(float));
      }
    }
  }
};

template <typename W>
LT_INLINE lt::vec part(const W *p, int64_t n) {
  W room[lt::kLanes] = {};
  std::memcpy(room, p, n * sizeof(W));
  return lt::load(room);
}

// sums[r * M + m] += x[m] b[r]
template <int R, int M>
LT_INLINE void add(const float *x, const lt::vec (&b)[R], lt::vec (&sums)[lt::kLanes]) {
#pragma GCC unroll 4
  for (int m = 0; m < M; m++) {
    lt::vec a = lt::load(x + m * lt::kLanes);
#pragma GCC unroll 4
    for (int r = 0; r < R; r++) {
      sums[r * M + m] += a * b[r];
    }
  }
}

// Rows of weights that are fetched into the second-level cache while earlier ones are multiplied: by itself a processor
// fetches too little ahead, and none while it multiplies rows that it has. Past the end nothing is fetched, or what
// follows in memory, which does no harm.
template <typename W>
struct Ahead {
  const W *from;
  int64_t row, rows;
};

template <typename W>
LT_INLINE void fetch(const Ahead<W> &ahead, int64_t p) {
  for (int64_t r = 0; r < ahead.rows; r++) {
    __builtin_prefetch(ahead.from + r * ahead.row + p, 0, 2);
  }
}

// The products of R rows of w and M of x, which are at most sixteen.
template <int R, int M, typename W>
LT_INLINE void dots(const W *w, int64_t w_row, const float *x, int64_t k, Ahead<W> ahead, float *y, int64_t y_row) {
  lt::vec sums[lt::kLanes] = {};
  int64_t p = 0;
  for (; p + lt::kLanes <= k; p += lt::kLanes, x += kTogether * lt::kLanes) {
    fetch(ahead, p);
    lt::vec b[R];
#pragma GCC unroll 4
    for (int r = 0; r < R; r++) {
      b[r] = lt::load(w + r * w_row + p);
    }
    add<R, M>(x, b, sums);
  }
  if (p < k) {
    lt::vec b[R];
#pragma GCC unroll 4
    for (int r = 0; r < R; r++) {
      b[r] = part(w + r * w_row + p, k - p);
    }
    add<R, M>(x, b, sums);
  }
  lt::vec totals = lt::sums(sums);
#pragma GCC unroll 4
  for (int r = 0; r < R; r++) {
#pragma GCC unroll 4
    for (int m = 0; m < M; m++) {
      y[m * y_row + r] = totals[r * M + m];
    }
  }
}

// y [m,R] = x times R rows of w, which stay in the first-level cache for all groups of rows of x.
template <int R, typename W>
LT_INLINE void rows(const W *w, int64_t w_row, const Packed &x, float *y, int64_t y_row) {
  const float *group = x.values.data();
  int64_t groups = (x.m + kTogether - 1) / kTogether, share = (kTogether + groups - 1) / groups;
  for (int64_t g = 0; g < groups; g++, group += x.step, y += kTogether * y_row) {
    int64_t first = g * share;
    Ahead<W> ahead{w + (kAhead + first) * w_row, w_row, std::clamp<int64_t>(R - first, 0, share)};
    switch (x.m - g * kTogether) {
      case 1: dots<R, 1>(w, w_row, group, x.k, ahead, y, y_row); break;
      case 2: dots<R, 2>(w, w_row, group, x.k, ahead, y, y_row); break;
      case 3: dots<R, 3>(w, w_row, group, x.k, ahead, y, y_row); break;
      default: dots<R, 4>(w, w_row, group, x.k, ahead, y, y_row);
    }
  }
}

// y [m,n] = x w^T for n rows of w.
template <typename W>
LT_INLINE void multiply(const W *w, int64_t w_row, int64_t n, const Packed &x, float *y, int64_t y_row) {
  int64_t r = 0;
  for (; r + kTogether <= n; r += kTogether) {
    rows<kTogether>(w + r * w_row, w_row, x, y + r, y_row);
  }
  for (; r < n; r++) {
    rows<1>(w + r * w_row, w_row, x, y + r, y_row);
  }
}

// Processors with AVX-512 BF16 multiply pairs of bf16 and add both products in fp32, so that x stays in bf16: twice as
// many products at a time.
#define LT_BF16 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")))
constexpr int64_t kPairs = 2 * lt::kLanes;

bool multiplies_half() {
  static const bool can = __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512dq");
  return can;
}

// x [m,k] as Packed has it, in bf16: [m / kTogether][k / 32][kTogether][32].
struct PackedHalf {
  std::vector<uint16_t> values;
  int64_t m, k, step;

  PackedHalf(const uint16_t *x, int64_t x_row, int64_t m, int64_t k)
      : values((m + kTogether - 1) / kTogether * ((k + kPairs - 1) / kPairs) * kTogether * kPairs),
        m(m),
        k(k),
        step((k + kPairs - 1) / kPairs * kTogether * kPairs) {
    for (int64_t i = 0; i < m; i++) {
      uint16_t *to = values.data() + i / kTogether * step + i % kTogether * kPairs;
      for (int64_t p = 0; p < k; p += kPairs, to += kTogether * kPairs) {
        std::memcpy(to, x + i * x_row + p, std::min(kPairs, k - p) * sizeof(uint16_t));
      }
    }
  }
};

template <int R, int M>
LT_BF16 void dots_half(const uint16_t *w, int64_t w_row, const uint16_t *x, int64_t k, Ahead<uint16_t> ahead, float *y,
                       int64_t y_row) {
  __m512 sums[lt::kLanes];
  for (auto &sum : sums) {
    sum = _mm512_setzero_ps();
  }
  for (int64_t p = 0; p < k; p += kPairs, x += kTogether * kPairs) {
    fetch(ahead, p);
    __m512bh b[R];
    __mmask32 mask = k - p >= kPairs ? ~0u : (1u << (k - p)) - 1;
#pragma GCC unroll 4
    for (int r = 0; r < R; r++) {
      b[r] = (__m512bh)_mm512_maskz_loadu_epi16(mask, w + r * w_row + p);
    }
#pragma GCC unroll 4
    for (int m = 0; m < M; m++) {
      __m512bh a = (__m512bh)_mm512_loadu_si512(x + m * kPairs);
#pragma GCC unroll 4
      for (int r = 0; r < R; r++) {
        sums[r * M + m] = _mm512_dpbf16_ps(sums[r * M + m], a, b[r]);
      }
    }
  }
  lt::vec all[lt::kLanes];
  std::memcpy(all, sums, sizeof all);
  lt::vec totals = lt::sums(all);
  for (int r = 0; r < R; r++) {
    for (int m = 0; m < M; m++) {
      y[m * y_row + r] = totals[r * M + m];
    }
  }
}

template <int R>
void rows_half(const uint16_t *w, int64_t w_row, const PackedHalf &x, float *y, int64_t y_row) {
  const uint16_t *group = x.values.data();
  int64_t groups = (x.m + kTogether - 1) / kTogether, share = (kTogether + groups - 1) / groups;
  for (int64_t g = 0; g < groups; g++, group += x.step, y += kTogether * y_row) {
    int64_t first = g * share;
    Ahead<uint16_t> ahead{w + (kAhead + first) * w_row, w_row, std::clamp<int64_t>(R - first, 0, share)};
    switch (x.m - g * kTogether) {
      case 1: dots_half<R, 1>(w, w_row, group, x.k, ahead, y, y_row); break;
      case 2: dots_half<R, 2>(w, w_row, group, x.k, ahead, y, y_row); break;
      case 3: dots_half<R, 3>(w, w_row, group, x.k, ahead, y, y_row); break;
      default: dots_half<R, 4>(w, w_row, group, x.k, ahead, y, y_row);
    }
  }
}

void multiply_pairs(const uint16_t *w, int64_t w_row, int64_t n, const PackedHalf &x, float *y, int64_t y_row) {
  int64_t r = 0;
  for (; r + kTogether <= n; r += kTogether) {
    rows_half<kTogether>(w + r * w_row, w_row, x, y + r, y_row);
  }
  for (; r < n; r++) {
    rows_half<1>(w + r * w_row, w_row, x, y + r, y_row);
  }
}

LT_SIMD void multiply_float(const float *w, int64_t w_row, int64_t n, const Packed &x, float *y, int64_t y_row) {
  multiply(w, w_row, n, x, y, y_row);
}

LT_SIMD void multiply_half(const uint16_t *w, int64_t w_row, int64_t n, const Packed &x, float *y, int64_t y_row) {
  multiply(w, w_row, n, x, y, y_row);
}

}  // namespace

bool lt::few_rows_fit(const at::Tensor &x, const at::Tensor &w) {
  auto good = [](const at::Tensor &t) { return t.is_cpu() && t.dim() == 2 && t.stride(1) == 1 && t.numel() > 0; };
  auto of_x = x.scalar_type(), of_w = w.scalar_type();
  return fused() && good(x) && good(w) && x.size(0) <= kFewRows &&
         ((of_x == at::kFloat && (of_w == at::kFloat || of_w == at::kBFloat16)) ||
          (of_x == at::kBFloat16 && of_w == at::kBFloat16));
}

at::Tensor lt::few_rows_product(const at::Tensor &x, const at::Tensor &w, const at::Tensor &base) {
  RECORD_FUNCTION("llavatrain::few_rows_product", {});
  int64_t m = x.size(0), n = w.size(0), k = x.size(1), w_row = w.stride(0);
  auto y = at::empty({m, n}, x.options().dtype(at::kFloat));
  auto *to = y.data_ptr<float>();
  // few tasks, because what is fetched at a task's end is another thread's
  int64_t rows_of_task = std::max(kTask, (n / (2 * at::get_num_threads()) + kTogether - 1) / kTogether * kTogether);
  auto each = [&](auto &&multiply) {
    share((n + rows_of_task - 1) / rows_of_task, [&](int64_t task) {
      int64_t first = task * rows_of_task;
      multiply(first, std::min(rows_of_task, n - first), to + first);
    });
  };
  auto *bits = static_cast<const uint16_t *>(w.const_data_ptr());
  if (w.scalar_type() == at::kBFloat16 && multiplies_half()) {
    auto half = x.to(at::kBFloat16);
    PackedHalf packed(static_cast<const uint16_t *>(half.const_data_ptr()), half.stride(0), m, k);
    each([&](int64_t first, int64_t count, float *out) {
      multiply_pairs(bits + first * w_row, w_row, count, packed, out, n);
    });
  } else {
    auto rows = x.to(at::kFloat).contiguous();
    Packed packed(rows.const_data_ptr<float>(), m, k);
    each([&](int64_t first, int64_t count, float *out) {
      if (w.scalar_type() == at::kFloat) {
        multiply_float(w.const_data_ptr<float>() + first * w_row, w_row, count, packed, out, n);
      } else {
        multiply_half(bits + first * w_row, w_row, count, packed, out, n);
      }
    });
  }
  if (base.defined()) {
    y.add_(base);
  }
  return y.to(x.scalar_type());
}

at::Tensor lt::generation_product(const at::Tensor &x, const at::Tensor &w, const at::Tensor &base) {
  if (few_rows_fit(x, w)) {
    return few_rows_product(x, w, base);
  }
  if (x.scalar_type() == w.scalar_type()) {
    return product(x, w, base);
  }
  auto y = product(x.to(w.scalar_type()), w).to(x.scalar_type());
  return base.defined() ? y.add_(base) : y;
}
