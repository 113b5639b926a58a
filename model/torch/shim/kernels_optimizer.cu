// Kernels of the optimizer, over flat buffers. What one computes for the next stays on the GPU: nothing waits for the
// host.
#ifndef __CUDACC_RTC__
#include "kernels.h"
#endif

namespace {

using namespace lt;

// ---- Sum of squares, in fp64: a value for each block of kSumBlock, then their sum ----

// The block's sum of one value of each thread, in thread 0 of it.
__device__ double block_sum(double x) {
  __shared__ double values[kThreads];
  values[threadIdx.x] = x;
  for (int distance = kThreads / 2; distance > 0; distance /= 2) {
    __syncthreads();
    if (threadIdx.x < distance) {
      values[threadIdx.x] += values[threadIdx.x + distance];
    }
  }
  return values[0];
}

template <typename T>
__device__ void sum_squares_block(const T *x, double *partial, long long n) {
  const long long first = static_cast<long long>(blockIdx.x) * kSumBlock,
                  last = first + kSumBlock < n ? first + kSumBlock : n;
  double sum = 0;
#pragma unroll 8
  for (long long i = first + threadIdx.x; i < last; i += kThreads) {
    const double value = widen(x[i]);
    sum += value * value;
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) {
    partial[blockIdx.x] = sum;
  }
}

// ---- AdamW ----

// Up to four neighbours, which share one draw of random words.
constexpr int kFour = 4;

template <typename T>
struct alignas(sizeof(T) * kFour) Four {
  T v[kFour];
};

template <typename T>
__device__ __forceinline__ void load_four(const T *from, int count, Four<T> *to) {
  if (count == kFour) {
    *to = *reinterpret_cast<const Four<T> *>(from);
    return;
  }
  for (int k = 0; k < kFour; k++) {
    if (k < count) {
      to->v[k] = from[k];
    }
  }
}

template <typename T>
__device__ __forceinline__ void store_four(const Four<T> &from, int count, T *to) {
  if (count == kFour) {
    *reinterpret_cast<Four<T> *>(to) = from;
    return;
  }
  for (int k = 0; k < kFour; k++) {
    if (k < count) {
      to[k] = from.v[k];
    }
  }
}

// A parameter's fp32 value: itself, or it joined with its remainder.
__device__ __forceinline__ float master(float p, short) { return p; }
__device__ __forceinline__ float master(bf16 p, short low) { return merge_master(p, low); }
__device__ __forceinline__ void keep_master(float x, float *p, short *) { *p = x; }
__device__ __forceinline__ void keep_master(float x, bf16 *p, short *low) { split_master(x, p, low); }

// Parameters of one block. remainder is null for fp32 parameters. If the gradients are not finite, they are cleared and
// nothing else changes. All buffers start at a multiple of 16 bytes.
template <typename P, typename M>
__device__ void adamw_block(P *param, short *remainder, P *grad, M *m, M *v, const double *total, long long n,
                            const AdamW &a) {
  __shared__ float scale;
  if (threadIdx.x == 0) {
    scale = clip_scale(*total, a.clip);
  }
  __syncthreads();
  const bool sound = is_finite(*total);
  const long long begin = static_cast<long long>(blockIdx.x) * kUpdateBlock,
                  end = begin + kUpdateBlock < n ? begin + kUpdateBlock : n;
  for (long long i = begin + threadIdx.x * kFour; i < end; i += kThreads * kFour) {
    const int count = end - i < kFour ? static_cast<int>(end - i) : kFour;
    if (sound) {
      Four<P> p = {}, g = {};
      Four<M> first = {}, second = {};
      Four<short> low = {};
      load_four(param + i, count, &p);
      load_four(grad + i, count, &g);
      load_four(m + i, count, &first);
      load_four(v + i, count, &second);
      if (remainder) {
        load_four(remainder + i, count, &low);
      }
      const Words random = sizeof(M) == sizeof(bf16) ? moment_words((a.first + i) / kFour, a.step, a.seed) : Words{};
#pragma unroll
      for (int k = 0; k < kFour; k++) {
        float x = master(p.v[k], low.v[k]), mean = widen(first.v[k]), square = widen(second.v[k]);
        adamw_moments(widen(g.v[k]) * scale, &mean, &square, a);
        x = adamw_parameter(x, mean, sqrtf(square), a);
        keep_master(x, &p.v[k], &low.v[k]);
        store_moment(mean, random.w[k] & 0xffffu, &first.v[k]);
        store_moment(square, random.w[k] >> 16, &second.v[k]);
      }
      store_four(p, count, param + i);
      store_four(first, count, m + i);
      store_four(second, count, v + i);
      if (remainder) {
        store_four(low, count, remainder + i);
      }
    }
    store_four(Four<P>{}, count, grad + i);
  }
}

}  // namespace

#define LT_OPTIMIZER_KERNEL extern "C" __global__ void __launch_bounds__(kThreads)

LT_OPTIMIZER_KERNEL sum_squares_float(const float *x, double *partial, long long n) {
  sum_squares_block(x, partial, n);
}
LT_OPTIMIZER_KERNEL sum_squares_bf16(const bf16 *x, double *partial, long long n) { sum_squares_block(x, partial, n); }

// One block: adds the partial sums to the total.
LT_OPTIMIZER_KERNEL add_partial_sums(const double *partial, long long count, double *total) {
  double sum = 0;
  for (long long i = threadIdx.x; i < count; i += kThreads) {
    sum += partial[i];
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) {
    *total += sum;
  }
}

#define LT_ADAMW_KERNEL(P, M)                                                                               \
  LT_OPTIMIZER_KERNEL adamw_##P##_##M(P *param, short *remainder, P *grad, M *m, M *v, const double *total, \
                                      long long n, AdamW a) {                                               \
    adamw_block(param, remainder, grad, m, v, total, n, a);                                                 \
  }

LT_ADAMW_KERNEL(float, float)
LT_ADAMW_KERNEL(float, bf16)
LT_ADAMW_KERNEL(bf16, float)
LT_ADAMW_KERNEL(bf16, bf16)
