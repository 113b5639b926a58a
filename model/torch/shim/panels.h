// Matrix products on one thread, whose right operand is packed in panels: sixteen of its columns at a time, row after
// row, so that it is read sequentially (after Goto and van de Geijn 2008, "Anatomy of High-Performance Matrix
// Multiplication").
#pragma once
#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>

#include "simd.h"

namespace lt {

constexpr int64_t kTile = 6;  // rows computed together: their sums, and a row of the panel, fit the registers of AVX2

LT_INLINE int64_t panels(int64_t columns) { return (columns + kLanes - 1) / kLanes; }

// c [R,16] = base + the sum over p < k of a(i,p) panel[p], with a(i,p) = a[i * row + p * step]; base may be null for
// zeros, or c.
template <int R>
LT_INLINE void tile(int64_t k, const float *a, int64_t row, int64_t step, const float *panel, const float *base,
                    int64_t base_row, float *c, int64_t c_row) {
  vec sums[R];
#pragma GCC unroll 6
  for (int i = 0; i < R; i++) {
    sums[i] = (vec){};
  }
  for (int64_t p = 0; p < k; p++, a += step, panel += kLanes) {
    vec b = load(panel);
#pragma GCC unroll 6
    for (int i = 0; i < R; i++) {
      sums[i] += a[i * row] * b;
    }
  }
#pragma GCC unroll 6
  for (int i = 0; i < R; i++) {
    store(c + i * c_row, base ? load(base + i * base_row) + sums[i] : sums[i]);
  }
}

// tile for any number of rows up to kTile.
LT_INLINE void tile_of(int64_t rows, int64_t k, const float *a, int64_t row, int64_t step, const float *panel,
                       const float *base, int64_t base_row, float *c, int64_t c_row) {
  switch (rows) {
    case 1: return tile<1>(k, a, row, step, panel, base, base_row, c, c_row);
    case 2: return tile<2>(k, a, row, step, panel, base, base_row, c, c_row);
    case 3: return tile<3>(k, a, row, step, panel, base, base_row, c, c_row);
    case 4: return tile<4>(k, a, row, step, panel, base, base_row, c, c_row);
    case 5: return tile<5>(k, a, row, step, panel, base, base_row, c, c_row);
    default: return tile<6>(k, a, row, step, panel, base, base_row, c, c_row);
  }
}

// x [n,d], its rows x_row apart -> panels [ceil(d/16)][n][16], zeros after the last column.
LT_SIMD static void pack(const float *x, int64_t x_row, int64_t n, int64_t d, float *out) {
  for (int64_t j = 0; j < d; j += kLanes) {
    int64_t take = d - j < kLanes ? d - j : kLanes;
    for (int64_t i = 0; i < n; i++, out += kLanes) {
      store(out, take == kLanes ? load(x + i * x_row + j) : load_part(x + i * x_row + j, take));
    }
  }
}

// The same of the transpose of x [n,d]: panels [ceil(n/16)][d][16], zeros after the last row of x.
LT_SIMD static void pack_transposed(const float *x, int64_t x_row, int64_t n, int64_t d, float *out) {
  for (int64_t first = 0; first < n; first += kLanes, out += d * kLanes) {
    int64_t lanes = n - first < kLanes ? n - first : kLanes;
    if (lanes < kLanes) {
      std::memset(out, 0, d * kLanes * sizeof(float));
    }
    // a square at a time, so that what is written stays in the first-level cache
    for (int64_t p = 0; p < d; p += kLanes) {
      int64_t end = d - p < kLanes ? d : p + kLanes;
      for (int64_t lane = 0; lane < lanes; lane++) {
        const float *row = x + (first + lane) * x_row;
        for (int64_t q = p; q < end; q++) {
          out[q * kLanes + lane] = row[q];
        }
      }
    }
  }
}

// Memory that a thread keeps, handed out piece by piece. A thread has one Scratch at a time.
class Scratch {
 public:
  explicit Scratch(int64_t floats) : left_(floats) {
    thread_local std::unique_ptr<float, decltype(&std::free)> room(nullptr, &std::free);
    thread_local int64_t size = 0;
    if (size < floats) {
      size = (floats + kLanes - 1) / kLanes * kLanes;
      room.reset(static_cast<float *>(std::aligned_alloc(64, size * sizeof(float))));
      TORCH_CHECK(room, "out of memory: ", size, " floats of room for a product");
    }
    next_ = room.get();
  }

  float *take(int64_t floats) {
    left_ -= floats;
    TORCH_INTERNAL_ASSERT(left_ >= 0);
    return (next_ += floats) - floats;
  }

 private:
  float *next_;
  int64_t left_;
};

// Runs run(i) for all i < tasks; threads take the next one when they are done with theirs.
template <typename Run>
void share(int64_t tasks, const Run &run) {
  std::atomic<int64_t> next{0};
  at::parallel_for(0, std::min<int64_t>(tasks, at::get_num_threads()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t worker = begin; worker < end; worker++) {
      for (int64_t i = next++; i < tasks; i = next++) {
        run(i);
      }
    }
  });
}

}  // namespace lt
