// Kernels of a decoder layer and of the loss. bf16 is rounded where the same formula over libtorch's operations rounds
// it, so that results differ in the last places only; products and sums are fp32. Sums have a fixed order: the same
// input gives the same bits.
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
__device__ __forceinline__ void load(const T *from, Pack<T, N> *to) {
  *to = *reinterpret_cast<const Pack<T, N> *>(from);
}

template <typename T, int N>
__device__ __forceinline__ void load(const T *from, float (&to)[N]) {
  Pack<T, N> pack;
  load(from, &pack);
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

__device__ __forceinline__ long long thread_index() {
  return static_cast<long long>(blockIdx.x) * kThreads + threadIdx.x;
}

struct Sum {
  template <typename V>
  __device__ V operator()(V a, V b) const { return a + b; }
};
struct Largest {
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
};

// One value of all threads of the block, the same in each of them.
template <typename V, typename Combine>
__device__ V reduce(V x, Combine combine) {
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    x = combine(x, __shfl_xor_sync(0xffffffffu, x, distance));
  }
  __shared__ V warps[kRowThreads / kWarp];
  __syncthreads();  // nobody reads the values of an earlier call any more
  if (threadIdx.x % kWarp == 0) {
    warps[threadIdx.x / kWarp] = x;
  }
  __syncthreads();
  x = warps[0];
  for (int w = 1; w < blockDim.x / kWarp; w++) {
    x = combine(x, warps[w]);
  }
  return x;
}

// ---- RMSNorm: out = weight * h / rms(h), with h = x + y if y is given ----

// A block has a row, whose columns are dealt to its threads, N neighbours at a time: turn t of a thread has
// column_of(t) and the next ones.
template <int N>
__device__ __forceinline__ int column_of(int turn) {
  return (turn * static_cast<int>(blockDim.x) + static_cast<int>(threadIdx.x)) * N;
}

template <typename T, int N>
__device__ void rms_norm_row(const T *x, const T *y, const T *weight, T *sum, T *out, float *inverse, int size,
                             float eps) {
  const long long start = static_cast<long long>(blockIdx.x) * size;
  float h[kHold / N][N], squares = 0;
#pragma unroll
  for (int turn = 0; turn < kHold / N; turn++) {
    const int column = column_of<N>(turn);
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
  const float scale = 1 / sqrtf(reduce(squares, Sum()) / size + eps);
  if (threadIdx.x == 0) {
    inverse[blockIdx.x] = scale;
  }
#pragma unroll
  for (int turn = 0; turn < kHold / N; turn++) {
    const int column = column_of<N>(turn);
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

// dx = s (d - h s^2 mean(h d)) + grad_sum, with s = 1/rms(h) and d = weight * grad; grad_sum may be null. A block has
// rows_each rows, one after another; if partial is not null, the block's row of it becomes the sum of grad * s * h over
// them.
template <typename T, int N>
__device__ void rms_norm_rows_backward(const T *h, const T *weight, const float *inverse, const T *grad,
                                       const T *grad_sum, T *dx, float *partial, long long rows, int size,
                                       int rows_each) {
  const long long first = static_cast<long long>(blockIdx.x) * rows_each;
  const long long last = first + rows_each < rows ? first + rows_each : rows;
  float dw[kHold / N][N] = {};
  for (long long row = first; row < last; row++) {
    const long long start = row * size;
    const float scale = inverse[row];
    // as in memory, not in fp32: few registers, so that many rows run at a time
    Pack<T, N> x[kHold / N], g[kHold / N], more[kHold / N] = {};
    float products = 0;
#pragma unroll
    for (int turn = 0; turn < kHold / N; turn++) {
      const int column = column_of<N>(turn);
      if (column < size) {
        float w[N];
        load(h + start + column, &x[turn]);
        load(grad + start + column, &g[turn]);
        load(weight + column, w);
        if (grad_sum) {
          load(grad_sum + start + column, &more[turn]);
        }
#pragma unroll
        for (int i = 0; i < N; i++) {
          const float value = widen(x[turn].v[i]), d = widen(g[turn].v[i]);
          dw[turn][i] += rounded<T>(d * rounded<T>(value * scale));
          products += value * rounded<T>(d * w[i]);
        }
      }
    }
    const float pull = scale * scale * reduce(products, Sum()) / size;
#pragma unroll
    for (int turn = 0; turn < kHold / N; turn++) {
      const int column = column_of<N>(turn);
      if (column < size) {
        float w[N];
        load(weight + column, w);
#pragma unroll
        for (int i = 0; i < N; i++) {
          const float d = rounded<T>(widen(g[turn].v[i]) * w[i]);
          w[i] = widen(more[turn].v[i]) + rounded<T>(scale * (d - widen(x[turn].v[i]) * pull));
        }
        store(w, dx + start + column);
      }
    }
  }
  if (partial) {
#pragma unroll
    for (int turn = 0; turn < kHold / N; turn++) {
      const int column = column_of<N>(turn);
      if (column < size) {
        store(dw[turn], partial + static_cast<long long>(blockIdx.x) * size + column);
      }
    }
  }
}

// ---- Rotary positions ----

// y = x*cos + rotate_half(x)*sin for N pairs (i, i+half) of a head; back applies the transpose, for a gradient. A
// position's heads are contiguous, the next position's x_row and y_row values on; it has blocks_each blocks. y may be
// x.
template <typename T, int N>
__device__ void rotate_pairs(const T *x, const T *cos, const T *sin, T *y, int blocks_each, int heads, int half,
                             long long x_row, long long y_row, int back) {
  const unsigned row = blockIdx.x / blocks_each, first = (blockIdx.x % blocks_each * kThreads + threadIdx.x) * N;
  if (first >= heads * half) {
    return;
  }
  const unsigned i = first % half, inside = first / half * 2 * half + i;
  const long long table = static_cast<long long>(row) * 2 * half + i;
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

__device__ __forceinline__ float sigmoid(float x) { return __fdividef(1.0f, 1 + expf(-x)); }

// gate and up have rows of `columns` values, with a stride of `row` values; a row has blocks_each blocks.
template <typename T, int N>
__device__ void swiglu_run(const T *gate, const T *up, T *y, int blocks_each, long long columns, long long row) {
  const long long r = blockIdx.x / blocks_each,
                  column = static_cast<long long>(blockIdx.x % blocks_each * kThreads + threadIdx.x) * N;
  if (column >= columns) {
    return;
  }
  const long long at = r * row + column;
  float g[N], u[N];
  load(gate + at, g);
  load(up + at, u);
#pragma unroll
  for (int i = 0; i < N; i++) {
    u[i] *= rounded<T>(g[i] * sigmoid(g[i]));
  }
  store(u, y + r * columns + column);
}

// The rows of d_gate and d_up have a stride of d_row values. d gate = grad u s (1 + g (1 - s)), d up = grad g s, with s
// = sigmoid(g).
template <typename T, int N>
__device__ void swiglu_run_backward(const T *gate, const T *up, const T *grad, T *d_gate, T *d_up, int blocks_each,
                                    long long columns, long long row, long long d_row) {
  const long long r = blockIdx.x / blocks_each,
                  column = static_cast<long long>(blockIdx.x % blocks_each * kThreads + threadIdx.x) * N;
  if (column >= columns) {
    return;
  }
  const long long at = r * row + column, to = r * d_row + column;
  float g[N], u[N], d[N];
  load(gate + at, g);
  load(up + at, u);
  load(grad + r * columns + column, d);
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

// each = -log softmax(logits)[label] of a block's row; with gradient, the logits become softmax - onehot. The largest
// logit and the sum of exponentials are found in one pass (Milakov and Gimelshein 2018). A label outside the classes
// gives NaN.
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
  const float most = reduce(largest, Largest());
  const float log_sum = logf(reduce(sum * expf(largest - most), Sum()));
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
#define LT_ROW_KERNEL extern "C" __global__ void __launch_bounds__(kRowThreads)

// wide: addresses and rows are multiples of 16 bytes.
#define LT_WIDTHS(function, T, ...)     \
  if (wide) {                           \
    function<T, kWide<T>>(__VA_ARGS__); \
  } else {                              \
    function<T, 1>(__VA_ARGS__);        \
  }

#define LT_LAYER_KERNELS(T, name)                                                                                \
  LT_ROW_KERNEL rms_norm_##name(const T *x, const T *y, const T *weight, T *sum, T *out, float *inverse,         \
                                int size, float eps, int wide) {                                                 \
    LT_WIDTHS(rms_norm_row, T, x, y, weight, sum, out, inverse, size, eps)                                       \
  }                                                                                                              \
  LT_ROW_KERNEL rms_norm_backward_##name(const T *h, const T *weight, const float *inverse, const T *grad,       \
                                         const T *grad_sum, T *dx, float *partial, long long rows, int size,     \
                                         int rows_each, int wide) {                                              \
    LT_WIDTHS(rms_norm_rows_backward, T, h, weight, inverse, grad, grad_sum, dx, partial, rows, size, rows_each) \
  }                                                                                                              \
  LT_KERNEL rotary_##name(const T *x, const T *cos, const T *sin, T *y, int blocks_each, int heads, int half,    \
                          long long x_row, long long y_row, int back, int wide) {                                \
    LT_WIDTHS(rotate_pairs, T, x, cos, sin, y, blocks_each, heads, half, x_row, y_row, back)                     \
  }                                                                                                              \
  LT_KERNEL swiglu_##name(const T *gate, const T *up, T *y, int blocks_each, long long columns, long long row,   \
                          int wide) {                                                                            \
    LT_WIDTHS(swiglu_run, T, gate, up, y, blocks_each, columns, row)                                             \
  }                                                                                                              \
  LT_KERNEL swiglu_backward_##name(const T *gate, const T *up, const T *grad, T *d_gate, T *d_up,                \
                                   int blocks_each, long long columns, long long row, long long d_row,           \
                                   int wide) {                                                                   \
    LT_WIDTHS(swiglu_run_backward, T, gate, up, grad, d_gate, d_up, blocks_each, columns, row, d_row)            \
  }                                                                                                              \
  LT_KERNEL quick_gelu_##name(const T *x, T *y, long long n, int wide) { LT_WIDTHS(quick_gelu_run, T, x, y, n) } \
  LT_KERNEL quick_gelu_backward_##name(const T *x, const T *grad, T *dx, long long n, int wide) {                \
    LT_WIDTHS(quick_gelu_run_backward, T, x, grad, dx, n)                                                        \
  }                                                                                                              \
  LT_KERNEL cross_entropy_##name(T *logits, const long long *labels, float *each, int classes, int gradient,     \
                                 int wide) {                                                                     \
    LT_WIDTHS(cross_entropy_row, T, logits, labels, each, classes, gradient)                                     \
  }

LT_LAYER_KERNELS(float, float)
LT_LAYER_KERNELS(bf16, bf16)
