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

// bf16 is the upper half of fp32.
typedef uint16_t bf16x16 __attribute__((vector_size(32), aligned(2), may_alias));
typedef uint32_t uvec __attribute__((vector_size(64), may_alias));
LT_INLINE vec load(const uint16_t *p) {
  uvec wide = __builtin_convertvector(*reinterpret_cast<const bf16x16 *>(p), uvec) << 16;
  vec x;
  std::memcpy(&x, &wide, sizeof x);
  return x;
}

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

// Lanes of a where the lane's bit W is 0, of b where it is 1, plus the lanes that differ from them in that bit.
template <int W>
LT_INLINE vec fold(vec a, vec b) {
#define LT_OWN(l) ((l) & W ? 16 + (l) : (l))
  const ivec own = {LT_OWN(0), LT_OWN(1), LT_OWN(2),  LT_OWN(3),  LT_OWN(4),  LT_OWN(5),  LT_OWN(6),  LT_OWN(7),
                    LT_OWN(8), LT_OWN(9), LT_OWN(10), LT_OWN(11), LT_OWN(12), LT_OWN(13), LT_OWN(14), LT_OWN(15)};
#undef LT_OWN
  return __builtin_shuffle(a, b, own) + __builtin_shuffle(a, b, own ^ W);
}

// The sums of sixteen vectors, one in each lane, each as sum adds it up. x is changed.
LT_INLINE vec sums(vec (&x)[kLanes]) {
#pragma GCC unroll 8
  for (int i = 0; i < 8; i++) {
    x[i] = fold<8>(x[i], x[i + 8]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    x[i] = fold<4>(x[i], x[i + 4]);
  }
  return fold<1>(fold<2>(x[0], x[2]), fold<2>(x[1], x[3]));
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
