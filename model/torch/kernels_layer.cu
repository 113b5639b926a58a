// Kernels of a decoder layer and of the loss. bf16 is rounded where the same formula over libtorch's operations rounds it, so that the
// results differ in last places only; products and sums are fp32. Sums have a fixed order: the same input gives the same bits.
#ifndef __CUDACC_RTC__
#include "kernels.h"
#endif

namespace {

using namespace lt;

// N neighbours that are loaded and stored at once.
template <typename T, int N>
struct alignas(sizeof(T) * N < 16 ? sizeof(T) * N : 16) Pack {
  T v[N];
};

template <typename T, int N>
__device__ __forceinline__ void load(const T *from, float (&to)[N]) {
  Pack<T, N> pack = *reinterpret_cast<const Pack<T, N> *>(from);
#pragma unroll
  for (int i = 0; i < N; i++) {
    to[i] = widen(pack.v[i]);
  }
}

template <typename T, int N>
__device__ __forceinline__ void store(const float (&from)[N], T *to) {
  Pack<T, N> pack;
#pragma unroll
  for (int i = 0; i < N; i++) {
    narrow(from[i], &pack.v[i]);
  }
  *reinterpret_cast<Pack<T, N> *>(to) = pack;
}

template <typename T>
constexpr int kWide = 16 / sizeof(T);  // values in 16 bytes

__device__ __forceinline__ long long thread_index() { return static_cast<long long>(blockIdx.x) * kThreads + threadIdx.x; }

struct Sum {
  template <typename V>
  __device__ V operator()(V a, V b) const { return a + b; }
};
struct Largest {
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
};

// One value of all threads that share a row (a warp, or the whole block), the same in each of them.
template <int kGroup, typename V, typename Combine>
__device__ V reduce(V x, Combine combine) {
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    x = combine(x, __shfl_xor_sync(0xffffffffu, x, distance));
  }
  if (kGroup == kWarp) {
    return x;
  }
  __shared__ V warps[kThreads / kWarp];
  __syncthreads();  // nobody reads the values of an earlier call any more
  if (threadIdx.x % kWarp == 0) {
    warps[threadIdx.x / kWarp] = x;
  }
  __syncthreads();
  x = warps[0];
#pragma unroll
  for (int w = 1; w < kThreads / kWarp; w++) {
    x = combine(x, warps[w]);
  }
  return x;
}

// ---- RMSNorm: out = weight * h / rms(h), with h = x + y where y is given ----

// A row's columns go round its threads, N neighbours at a time: turn t of a thread has columns (t * kGroup + lane) * N and following.
template <typename T, int kGroup, int N>
__device__ void rms_norm_rows(const T *x, const T *y, const T *weight, T *sum, T *out, float *inverse, long long rows, int size, float eps) {
  const int lane = threadIdx.x % kGroup;
  const long long row = thread_index() / kGroup, start = row * size;
  if (row >= rows) {
    return;  // with all who share the row
  }
  float h[kHold / N][N], squares = 0;
#pragma unroll
  for (int turn = 0; turn < kHold / N; turn++) {
    const int column = (turn * kGroup + lane) * N;
    if (column < size) {
      load(x + start + column, h[turn]);
      if (y) {
        float other[N];
        load(y + start + column, other);
#pragma unroll
        for (int i = 0; i < N; i++) {
          h[turn][i] = rounded<T>(h[turn][i] + other[i]);
        }
        store(h[turn], sum + start + column);
      }
#pragma unroll
      for (int i = 0; i < N; i++) {
        squares += h[turn][i] * h[turn][i];
      }
    }
  }
  const float scale = 1 / sqrtf(reduce<kGroup>(squares, Sum()) / size + eps);
  if (lane == 0) {
    inverse[row] = scale;
  }
#pragma unroll
  for (int turn = 0; turn < kHold / N; turn++) {
    const int column = (turn * kGroup + lane) * N;
    if (column < size) {
      float w[N];
      load(weight + column, w);
#pragma unroll
      for (int i = 0; i < N; i++) {
        w[i] *= rounded<T>(h[turn][i] * scale);
      }
      store(w, out + start + column);
    }
  }
}

// dx = s (d - h s^2 mean(h d)) + grad_sum, with s = 1/rms(h) and d = weight * grad; grad_sum may be null. Where partial is not null, a
// group's row of it is the sum of grad * s * h over the group's rows, of which there are rows_each.
template <typename T, int kGroup, int N>
__device__ void rms_norm_rows_backward(const T *h, const T *weight, const float *inverse, const T *grad, const T *grad_sum, T *dx, float *partial,
                                       long long rows, int size, int rows_each) {
  const int lane = threadIdx.x % kGroup;
  const long long group = thread_index() / kGroup, first = group * rows_each;
  const long long last = first + rows_each < rows ? first + rows_each : rows;
  float dw[kHold / N][N] = {};
  for (long long row = first; row < last; row++) {
    const long long start = row * size;
    const float scale = inverse[row];
    float x[kHold / N][N], d[kHold / N][N], products = 0;
#pragma unroll
    for (int turn = 0; turn < kHold / N; turn++) {
      const int column = (turn * kGroup + lane) * N;
      if (column < size) {
        float g[N];
        load(h + start + column, x[turn]);
        load(grad + start + column, g);
        load(weight + column, d[turn]);
#pragma unroll
        for (int i = 0; i < N; i++) {
          dw[turn][i] += rounded<T>(g[i] * rounded<T>(x[turn][i] * scale));
          d[turn][i] = rounded<T>(g[i] * d[turn][i]);
          products += x[turn][i] * d[turn][i];
        }
      }
    }
    const float pull = scale * scale * reduce<kGroup>(products, Sum()) / size;
#pragma unroll
    for (int turn = 0; turn < kHold / N; turn++) {
      const int column = (turn * kGroup + lane) * N;
      if (column < size) {
        float more[N] = {};
        if (grad_sum) {
          load(grad_sum + start + column, more);
        }
#pragma unroll
        for (int i = 0; i < N; i++) {
          more[i] += rounded<T>(scale * (d[turn][i] - x[turn][i] * pull));
        }
        store(more, dx + start + column);
      }
    }
  }
  if (partial && first < rows) {
#pragma unroll
    for (int turn = 0; turn < kHold / N; turn++) {
      const int column = (turn * kGroup + lane) * N;
      if (column < size) {
        store(dw[turn], partial + group * size + column);
      }
    }
  }
}

// ---- Rotary positions ----

// y = x*cos + rotate_half(x)*sin for N pairs (i, i+half) of a head; back is the transpose, which brings a gradient down. A position's heads
// lie beside each other, those of the next x_row and y_row values on. y may be x.
template <typename T, int N>
__device__ void rotate_pairs(const T *x, const T *cos, const T *sin, T *y, long long pairs, int heads, int half, long long x_row,
                             long long y_row, int back) {
  const long long first = thread_index() * N;
  if (first >= pairs) {
    return;
  }
  const long long head = first / half, i = first % half, row = head / heads, inside = head % heads * 2 * half + i;
  const long long table = row * 2 * half + i;
  x += row * x_row + inside;
  y += row * y_row + inside;
  float a[N], b[N], cos_a[N], cos_b[N], sin_a[N], sin_b[N];
  load(x, a);
  load(x + half, b);
  load(cos + table, cos_a);
  load(cos + table + half, cos_b);
  load(sin + table + (back ? half : 0), sin_a);
  load(sin + table + (back ? 0 : half), sin_b);
#pragma unroll
  for (int k = 0; k < N; k++) {
    const float turned_a = rounded<T>(b[k] * sin_a[k]), turned_b = rounded<T>(a[k] * sin_b[k]);
    a[k] = rounded<T>(a[k] * cos_a[k]) + (back ? turned_a : -turned_a);
    b[k] = rounded<T>(b[k] * cos_b[k]) + (back ? -turned_b : turned_b);
  }
  store(a, y);
  store(b, y + half);
}

// ---- SwiGLU and quick GELU ----

__device__ __forceinline__ float sigmoid(float x) { return 1 / (1 + expf(-x)); }

// gate and up have rows of `columns` values, which lie `row` values apart.
template <typename T, int N>
__device__ void swiglu_run(const T *gate, const T *up, T *y, long long n, long long columns, long long row) {
  const long long first = thread_index() * N;
  if (first >= n) {
    return;
  }
  const long long at = first / columns * row + first % columns;
  float g[N], u[N];
  load(gate + at, g);
  load(up + at, u);
#pragma unroll
  for (int i = 0; i < N; i++) {
    u[i] *= rounded<T>(g[i] * sigmoid(g[i]));
  }
  store(u, y + first);
}

// The rows of d_gate and d_up lie d_row values apart. d gate = grad u s (1 + g (1 - s)), d up = grad g s, with s = sigmoid(g).
template <typename T, int N>
__device__ void swiglu_run_backward(const T *gate, const T *up, const T *grad, T *d_gate, T *d_up, long long n, long long columns,
                                    long long row, long long d_row) {
  const long long first = thread_index() * N;
  if (first >= n) {
    return;
  }
  const long long at = first / columns * row + first % columns, to = first / columns * d_row + first % columns;
  float g[N], u[N], d[N];
  load(gate + at, g);
  load(up + at, u);
  load(grad + first, d);
#pragma unroll
  for (int i = 0; i < N; i++) {
    const float s = sigmoid(g[i]), d_silu = rounded<T>(d[i] * u[i]);
    u[i] = d[i] * rounded<T>(g[i] * s);
    g[i] = d_silu * s * (1 + g[i] * (1 - s));
  }
  store(g, d_gate + to);
  store(u, d_up + to);
}

constexpr float kQuick = 1.702f;

template <typename T, int N>
__device__ void quick_gelu_run(const T *x, T *y, long long n) {
  const long long first = thread_index() * N;
  if (first >= n) {
    return;
  }
  float v[N];
  load(x + first, v);
#pragma unroll
  for (int i = 0; i < N; i++) {
    v[i] *= rounded<T>(sigmoid(rounded<T>(v[i] * kQuick)));
  }
  store(v, y + first);
}

// dx = grad s + 1.702 grad x s (1 - s), with s = sigmoid(1.702 x).
template <typename T, int N>
__device__ void quick_gelu_run_backward(const T *x, const T *grad, T *dx, long long n) {
  const long long first = thread_index() * N;
  if (first >= n) {
    return;
  }
  float v[N], g[N];
  load(x + first, v);
  load(grad + first, g);
#pragma unroll
  for (int i = 0; i < N; i++) {
    const float s = rounded<T>(sigmoid(rounded<T>(v[i] * kQuick))), ds = rounded<T>(g[i] * v[i]);
    g[i] = rounded<T>(g[i] * s) + rounded<T>(rounded<T>(ds * (1 - s) * s) * kQuick);
  }
  store(g, dx + first);
}

// ---- Cross-entropy ----

// each = -log softmax(logits)[label] of a block's row; with gradient, the logits become softmax - onehot. The largest logit and the sum of
// exponentials are found in one pass (Milakov and Gimelshein 2018). A label that is no class gives NaN.
template <typename T, int N>
__device__ void cross_entropy_row(T *logits, const long long *labels, float *each, int classes, int gradient) {
  T *row = logits + static_cast<long long>(blockIdx.x) * classes;
  const long long label = labels[blockIdx.x];
  float largest = -3.402823466e38f, sum = 0;
  for (int column = threadIdx.x * N; column < classes; column += kThreads * N) {
    float x[N], top = largest;
    load(row + column, x);
#pragma unroll
    for (int i = 0; i < N; i++) {
      top = fmaxf(top, x[i]);
    }
    sum *= expf(largest - top);
    largest = top;
#pragma unroll
    for (int i = 0; i < N; i++) {
      sum += expf(x[i] - top);
    }
  }
  const float most = reduce<kThreads>(largest, Largest());
  const float log_sum = logf(reduce<kThreads>(sum * expf(largest - most), Sum()));
  if (threadIdx.x == 0) {
    const bool known = label >= 0 && label < classes;
    each[blockIdx.x] = known ? log_sum - (widen(row[label]) - most) : float_of(0x7fc00000u);
  }
  if (!gradient) {
    return;
  }
  __syncthreads();  // the label's logit has been read
  for (int column = threadIdx.x * N; column < classes; column += kThreads * N) {
    float x[N];
    load(row + column, x);
#pragma unroll
    for (int i = 0; i < N; i++) {
      x[i] = expf(x[i] - most - log_sum) - (column + i == label ? 1.0f : 0.0f);
    }
    store(x, row + column);
  }
}

}  // namespace

#define LT_KERNEL extern "C" __global__ void __launch_bounds__(kThreads)
#define LT_KERNEL_IN_PAIRS extern "C" __global__ void __launch_bounds__(kThreads, 2)  // as few registers as two blocks at a time leave

// wide: addresses and rows are multiples of 16 bytes.
#define LT_WIDTHS(function, T, ...)                                                                                                                  \
  if (wide) {                                                                                                                                        \
    function<T, kWide<T>>(__VA_ARGS__);                                                                                                              \
  } else {                                                                                                                                           \
    function<T, 1>(__VA_ARGS__);                                                                                                                     \
  }

#define LT_ROW_WIDTHS(function, T, ...)                                                                                                              \
  if (size <= kShortRow && wide) {                                                                                                                   \
    function<T, kWarp, kWide<T>>(__VA_ARGS__);                                                                                                       \
  } else if (size <= kShortRow) {                                                                                                                    \
    function<T, kWarp, 1>(__VA_ARGS__);                                                                                                              \
  } else if (wide) {                                                                                                                                 \
    function<T, kThreads, kWide<T>>(__VA_ARGS__);                                                                                                    \
  } else {                                                                                                                                           \
    function<T, kThreads, 1>(__VA_ARGS__);                                                                                                           \
  }

#define LT_LAYER_KERNELS(T, name)                                                                                                                    \
  LT_KERNEL rms_norm_##name(const T *x, const T *y, const T *weight, T *sum, T *out, float *inverse, long long rows, int size, float eps, int wide) {\
    LT_ROW_WIDTHS(rms_norm_rows, T, x, y, weight, sum, out, inverse, rows, size, eps)                                                                \
  }                                                                                                                                                  \
  LT_KERNEL_IN_PAIRS rms_norm_backward_##name(const T *h, const T *weight, const float *inverse, const T *grad, const T *grad_sum, T *dx,            \
                                     float *partial, long long rows, int size, int rows_each, int wide) {                                            \
    LT_ROW_WIDTHS(rms_norm_rows_backward, T, h, weight, inverse, grad, grad_sum, dx, partial, rows, size, rows_each)                                 \
  }                                                                                                                                                  \
  LT_KERNEL rotary_##name(const T *x, const T *cos, const T *sin, T *y, long long pairs, int heads, int half, long long x_row, long long y_row,      \
                          int back, int wide) {                                                                                                      \
    LT_WIDTHS(rotate_pairs, T, x, cos, sin, y, pairs, heads, half, x_row, y_row, back)                                                               \
  }                                                                                                                                                  \
  LT_KERNEL swiglu_##name(const T *gate, const T *up, T *y, long long n, long long columns, long long row, int wide) {                               \
    LT_WIDTHS(swiglu_run, T, gate, up, y, n, columns, row)                                                                                           \
  }                                                                                                                                                  \
  LT_KERNEL swiglu_backward_##name(const T *gate, const T *up, const T *grad, T *d_gate, T *d_up, long long n, long long columns, long long row,     \
                                   long long d_row, int wide) {                                                                                      \
    LT_WIDTHS(swiglu_run_backward, T, gate, up, grad, d_gate, d_up, n, columns, row, d_row)                                                          \
  }                                                                                                                                                  \
  LT_KERNEL quick_gelu_##name(const T *x, T *y, long long n, int wide) { LT_WIDTHS(quick_gelu_run, T, x, y, n) }                                     \
  LT_KERNEL quick_gelu_backward_##name(const T *x, const T *grad, T *dx, long long n, int wide) {                                                    \
    LT_WIDTHS(quick_gelu_run_backward, T, x, grad, dx, n)                                                                                            \
  }                                                                                                                                                  \
  LT_KERNEL cross_entropy_##name(T *logits, const long long *labels, float *each, int classes, int gradient, int wide) {                             \
    LT_WIDTHS(cross_entropy_row, T, logits, labels, each, classes, gradient)                                                                         \
  }

LT_LAYER_KERNELS(float, float)
LT_LAYER_KERNELS(bf16, bf16)
