// What the GPU's kernels and the CPU's loops share, so that both compute the same bits: bf16, fp32 masters in two
// halves, stochastic rounding, AdamW's arithmetic. NVRTC reads it too and has no header files: nothing is included for
// it.
#pragma once

#ifdef __CUDACC_RTC__
#define LT_BOTH __device__ __forceinline__
#define LT_UNROLL(n) _Pragma("unroll")
#else
#include <cmath>
#include <cstring>
#define LT_BOTH static inline __attribute__((always_inline))
#define LT_PRAGMA(text) _Pragma(#text)
#define LT_UNROLL(n) LT_PRAGMA(GCC unroll n)
#endif

// Every kernel. Both the GPU's and the emulator's are found by these names.
#define LT_KERNELS(X)                                                                                       \
  X(rms_norm_float) X(rms_norm_bf16) X(rms_norm_backward_float) X(rms_norm_backward_bf16) X(rotary_float)   \
  X(rotary_bf16) X(swiglu_float) X(swiglu_bf16) X(swiglu_backward_float) X(swiglu_backward_bf16)            \
  X(quick_gelu_float) X(quick_gelu_bf16) X(quick_gelu_backward_float) X(quick_gelu_backward_bf16)           \
  X(cross_entropy_float) X(cross_entropy_bf16) X(sum_squares_float) X(sum_squares_bf16) X(add_partial_sums) \
  X(adamw_float_float) X(adamw_float_bf16) X(adamw_bf16_float) X(adamw_bf16_bf16)

namespace lt {

constexpr int kThreads = 256;                 // of a block that is not assigned a row
constexpr int kWarp = 32;
constexpr int kHold = 8;                      // values of a row that a thread keeps in registers
constexpr int kRowThreads = 1024;             // of a block that is assigned a row, at most
constexpr int kLongRow = kRowThreads * kHold;
constexpr int kSumBlock = 1 << 16;         // values that a block of sum_squares adds
constexpr int kUpdateBlock = 1 << 13;      // parameters that a block of adamw updates

// ---- bf16: the upper half of an fp32 ----

struct bf16 {
  unsigned short bits;
};

#ifdef __CUDACC_RTC__
LT_BOTH unsigned bits_of(float x) { return __float_as_uint(x); }
LT_BOTH float float_of(unsigned bits) { return __uint_as_float(bits); }
#else
LT_BOTH unsigned bits_of(float x) {
  unsigned bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}
LT_BOTH float float_of(unsigned bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}
#endif

LT_BOTH float widen(float x) { return x; }
LT_BOTH float widen(const bf16 &x) { return float_of(static_cast<unsigned>(x.bits) << 16); }

// The nearest bf16, ties to even; a NaN stays one.
LT_BOTH void narrow(float x, bf16 *out) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(out->bits) : "f"(x));  // one instruction in place of seven
#else
  unsigned bits = bits_of(x);
  bool is_nan = (bits & 0x7fffffffu) > 0x7f800000u;
  out->bits = static_cast<unsigned short>(is_nan ? 0x7fc0u : (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
#endif
}
LT_BOTH void narrow(float x, float *out) { *out = x; }

// x as it is after being stored as a T.
template <typename T>
LT_BOTH float rounded(float x) {
  T stored;
  narrow(x, &stored);
  return widen(stored);
}

// ---- fp32 masters: the nearest bf16, ties away from zero, and the signed distance of the bit patterns ----

LT_BOTH float merge_master(const bf16 &high, short low) {
  return float_of((static_cast<unsigned>(high.bits) << 16) + static_cast<unsigned>(static_cast<int>(low)));
}

LT_BOTH void split_master(float master, bf16 *high, short *low) {
  unsigned bits = bits_of(master), top = (bits + 0x8000u) >> 16;
  high->bits = static_cast<unsigned short>(top);
  *low = static_cast<short>(bits - (top << 16));
}

// ---- Random bits that are a function of their element and step ----

struct Words {
  unsigned w[4];
};

// Philox 4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
LT_BOTH Words philox(unsigned c0, unsigned c1, unsigned c2, unsigned c3, unsigned key0, unsigned key1) {
  LT_UNROLL(10)
  for (int round = 0; round < 10; round++) {
    unsigned long long a = 0xd2511f53ull * c0, b = 0xcd9e8d57ull * c2;
    c0 = static_cast<unsigned>(b >> 32) ^ c1 ^ key0;
    c2 = static_cast<unsigned>(a >> 32) ^ c3 ^ key1;
    c1 = static_cast<unsigned>(b);
    c3 = static_cast<unsigned>(a);
    key0 += 0x9e3779b9u;
    key1 += 0xbb67ae85u;
  }
  return {{c0, c1, c2, c3}};
}

// Random words of elements 4*group to 4*group+3 in an update: the lower 16 bits are the first moment's, the upper ones
// the second's.
LT_BOTH Words moment_words(unsigned long long group, unsigned long long step, unsigned long long seed) {
  return philox(static_cast<unsigned>(group), static_cast<unsigned>(group >> 32), static_cast<unsigned>(step),
                static_cast<unsigned>(step >> 32), static_cast<unsigned>(seed), static_cast<unsigned>(seed >> 32));
}

// Rounds up with the probability of the part cut off, so that the mean is x; random has 16 bits.
LT_BOTH void store_moment(float x, unsigned random, bf16 *out) {
  unsigned bits = bits_of(x);
  bool finite = (bits & 0x7f800000u) != 0x7f800000u;
  bf16 nearest;
  narrow(x, &nearest);
  out->bits = static_cast<unsigned short>(finite ? (bits + random) >> 16 : nearest.bits);
}
LT_BOTH void store_moment(float x, unsigned, float *out) { *out = x; }

// ---- AdamW (Loshchilov and Hutter 2019), the arithmetic of torch.optim.AdamW ----

struct AdamW {
  float keep;                // 1 - lr * weight_decay
  float step_size;           // lr / (1 - beta1^step)
  float correction;          // sqrt(1 - beta2^step)
  float rest1, beta2, rest2;  // 1 - beta1, beta2, 1 - beta2
  float eps;
  double clip;               // the largest norm of all gradients; 0: no limit
  unsigned long long step, seed;
  unsigned long long first;  // index of the first element in the buffer that these are a slice of
};

LT_BOTH bool is_finite(double x) { return x - x == 0; }

// The factor on gradients whose squares sum to total (torch.nn.utils.clip_grad_norm_).
LT_BOTH float clip_scale(double total, double clip) {
  if (clip <= 0) {
    return 1;
  }
  double scale = clip / (sqrt(total) + 1e-6);
  return static_cast<float>(scale < 1 ? scale : 1);
}

LT_BOTH void adamw_moments(float grad, float *m, float *v, const AdamW &a) {
  *m += a.rest1 * (grad - *m);
  *v = *v * a.beta2 + a.rest2 * grad * grad;
}

// root is the square root of the second moment.
LT_BOTH float adamw_parameter(float p, float m, float root, const AdamW &a) {
  return p * a.keep - a.step_size * (m / (root / a.correction + a.eps));
}

}  // namespace lt
