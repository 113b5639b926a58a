// Products of small matrices on one thread, for operands that stay in the caches. The right operand lies in panels: sixteen of its columns
// at a time, row after row, so that it is read from front to back.
#pragma once
#include "simd.h"

namespace lt {

constexpr int64_t kTile = 6;  // rows computed together: their sums, and a row of the panel, fit the registers of AVX2

LT_INLINE int64_t panels(int64_t columns) { return (columns + kLanes - 1) / kLanes; }

// c [R,16] = sum over p < k of a(i,p) panel[p], added to what is there where add; a(i,p) = a[i * row + p * step].
template <int R>
LT_INLINE void tile(int64_t k, const float *a, int64_t row, int64_t step, const float *panel, bool add, float *c, int64_t c_row) {
  vec sums[R];
#pragma GCC unroll 6
  for (int i = 0; i < R; i++) {
    sums[i] = add ? load(c + i * c_row) : (vec){};
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
    store(c + i * c_row, sums[i]);
  }
}

// tile for any number of rows up to kTile.
LT_INLINE void tile_of(int64_t rows, int64_t k, const float *a, int64_t row, int64_t step, const float *panel, bool add, float *c, int64_t c_row) {
  switch (rows) {
    case 1: return tile<1>(k, a, row, step, panel, add, c, c_row);
    case 2: return tile<2>(k, a, row, step, panel, add, c, c_row);
    case 3: return tile<3>(k, a, row, step, panel, add, c, c_row);
    case 4: return tile<4>(k, a, row, step, panel, add, c, c_row);
    case 5: return tile<5>(k, a, row, step, panel, add, c, c_row);
    default: return tile<6>(k, a, row, step, panel, add, c, c_row);
  }
}

// x [n,d], its rows x_row apart -> panels [ceil(d/16)][n][16], zeros behind the last column.
LT_SIMD static void pack(const float *x, int64_t x_row, int64_t n, int64_t d, float *out) {
  for (int64_t j = 0; j < d; j += kLanes) {
    int64_t take = d - j < kLanes ? d - j : kLanes;
    for (int64_t i = 0; i < n; i++, out += kLanes) {
      store(out, take == kLanes ? load(x + i * x_row + j) : load_part(x + i * x_row + j, take));
    }
  }
}

// The same of the transpose of x [n,d]: panels [ceil(n/16)][d][16], zeros behind the last row of x.
LT_SIMD static void pack_transposed(const float *x, int64_t x_row, int64_t n, int64_t d, float *out) {
  for (int64_t first = 0; first < n; first += kLanes, out += d * kLanes) {
    for (int64_t lane = 0; lane < kLanes; lane++) {
      const float *row = x + (first + lane) * x_row;
      for (int64_t p = 0; p < d; p++) {
        out[p * kLanes + lane] = first + lane < n ? row[p] : 0;
      }
    }
  }
}

}  // namespace lt
