// Vectors of sixteen floats in the compiler's own notation, and the functions that our fused operations need. LT_SIMD
// compiles a function once for each instruction set and picks at load time; what it calls must be inlined into it.
#pragma once
#include <cstdint>
#include <cstring>

#define LT_SIMD __attribute__((target_clones("avx512f", "avx2", "default")))
#define LT_INLINE static inline __attribute__((always_inline))

namespace lt {

constexpr int64_t kLanes = 16;
typedef float vec __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(64), may_alias));

LT_INLINE vec load(const float *p) { return *reinterpret_cast<const vec *>(p); }
LT_INLINE void store(float *p, vec x) { *reinterpret_cast<vec *>(p) = x; }
LT_INLINE vec all(float x) { return x - (vec){}; }

// The first n < 16 floats, then zeros.
LT_INLINE vec load_part(const float *p, int64_t n) {
  vec x = {};
  for (int64_t i = 0; i < n; i++) {
    x[i] = p[i];
  }
  return x;
}

LT_INLINE void store_part(float *p, vec x, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    p[i] = x[i];
  }
}

// Pairwise, so that the result does not depend on the instruction set.
LT_INLINE float sum(vec x) {
  float y[kLanes];
  std::memcpy(y, &x, sizeof y);
  for (int width = kLanes / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; i++) {
      y[i] += y[i + width];
    }
  }
  return y[0];
}

LT_INLINE vec max(vec a, vec b) { return a > b ? a : b; }

LT_INLINE float largest(vec x) {
  float y = x[0];
  for (int i = 1; i < kLanes; i++) {
    y = x[i] > y ? x[i] : y;
  }
  return y;
}

// Of n values, at least one.
LT_INLINE float largest(const float *row, int64_t n) {
  float most = row[0];
  int64_t i = 0;
  if (n >= kLanes) {
    auto m = load(row);
    for (i = kLanes; i + kLanes <= n; i += kLanes) {
      m = max(m, load(row + i));
    }
    most = largest(m);
  }
  for (; i < n; i++) {
    most = row[i] > most ? row[i] : most;
  }
  return most;
}

// e^x within 2 units in the last place for -87 <= x <= 88, and e^x of the nearer bound outside; NaN stays NaN. Range
// reduction by ln 2 in two parts and a polynomial of degree 6 (Moshier, Cephes, expf).
LT_INLINE vec exp(vec x) {
  x = x < -87.0f ? all(-87.0f) : x;
  x = x > 88.0f ? all(88.0f) : x;
  // 1.5 * 2^23: adding it rounds to a whole number, and leaves that in the lowest bits
  const vec shift = all(12582912.0f);
  vec shifted = x * 1.44269504088896341f + shift, whole = shifted - shift;
  vec r = x - whole * 0.693359375f - whole * -2.12194440e-4f;
  vec p = all(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  ivec bits, power;
  std::memcpy(&bits, &p, sizeof bits);
  std::memcpy(&power, &shifted, sizeof power);
  bits += power << 23;  // times 2^whole
  std::memcpy(&p, &bits, sizeof p);
  return p;
}

LT_INLINE vec sigmoid(vec x) { return x < -88.0f ? (vec){} : 1.0f / (1.0f + exp(-x)); }

}  // namespace lt
