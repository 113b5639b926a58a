// Attention within samples that lie end to end. On the CPU in fp32 it is ours; elsewhere libtorch's.
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <numeric>

#include "shim_internal.h"
#include "simd.h"

// MKL's matrix product (Fortran calling convention: column-major), which the CPU half of libtorch exports where it is built with MKL.
extern "C" void sgemm_(const char *trans_a, const char *trans_b, const int *m, const int *n, const int *k, const float *alpha, const float *a,
                       const int *lda, const float *b, const int *ldb, const float *beta, float *c, const int *ldc) __attribute__((weak));

namespace {

// ---- libtorch's way ----

// Attention over one run of positions. q [n,H,d], k and v [n,H,d] -> [n,H,d].
at::Tensor attend(const at::Tensor &q, const at::Tensor &k, const at::Tensor &v, bool causal) {
  auto heads_first = [](const at::Tensor &x) { return x.transpose(0, 1).unsqueeze(0); };  // [1,H,n,d]
  auto y = at::scaled_dot_product_attention(heads_first(q), heads_first(k), heads_first(v), {}, 0.0, causal);
  return y.squeeze(0).transpose(0, 1);
}

// Grouped-query attention as plain attention: each key head is repeated for its group of query heads. [T,G,d] -> [T,H,d]
at::Tensor repeat_heads(const at::Tensor &x, int64_t heads) {
  return x.size(1) == heads ? x : x.repeat_interleave(heads / x.size(1), 1);
}

bool equal_lengths(const int64_t *starts, int samples) {
  for (int i = 1; i < samples; i++) {
    if (starts[i + 1] - starts[i] != starts[1] - starts[0]) {
      return false;
    }
  }
  return true;
}

// All samples as one [n,H,L,d] batch.
at::Tensor attend_batched(const at::Tensor &q, const at::Tensor &k, const at::Tensor &v, int64_t samples, bool causal) {
  auto batched = [&](const at::Tensor &x) { return x.view({samples, -1, x.size(1), x.size(2)}).transpose(1, 2); };
  auto y = at::scaled_dot_product_attention(batched(q), batched(k), batched(v), {}, 0.0, causal);
  return y.transpose(1, 2).reshape({q.size(0), q.size(1), q.size(2)});
}

// Flash attention over packed samples (bf16 and fp16 on CUDA): nothing crosses a sample's border.
at::Tensor attend_packed(const at::Tensor &q, const at::Tensor &k, const at::Tensor &v, const int64_t *starts, int samples, bool causal) {
  int64_t longest = 0;
  auto host = at::empty({samples + 1}, at::kInt);
  for (int i = 0; i <= samples; i++) {
    host.data_ptr<int32_t>()[i] = static_cast<int32_t>(starts[i]);
    longest = i ? std::max(longest, starts[i] - starts[i - 1]) : 0;
  }
  auto borders = host.to(q.device());
  return std::get<0>(at::_flash_attention_forward(q, k, v, borders, borders, longest, longest, 0.0, causal, false));
}

// Sample by sample, each by libtorch's kernel.
at::Tensor attend_each(const at::Tensor &q, const at::Tensor &k, const at::Tensor &v, const int64_t *starts, int samples, bool causal) {
  auto key = repeat_heads(k, q.size(1)), value = repeat_heads(v, q.size(1));
  if (equal_lengths(starts, samples)) {
    return attend_batched(q, key, value, samples, causal);
  }
  std::vector<int64_t> lengths;
  for (int i = 0; i < samples; i++) {
    lengths.push_back(starts[i + 1] - starts[i]);
  }
  // split, not narrow: its backward joins the samples' gradients once, where each narrow's would fill a whole buffer
  auto qs = q.split_with_sizes(lengths), ks = key.split_with_sizes(lengths), vs = value.split_with_sizes(lengths);
  std::vector<at::Tensor> parts;
  for (size_t i = 0; i < lengths.size(); i++) {
    parts.push_back(attend(qs[i], ks[i], vs[i], causal));
  }
  return at::cat(parts, 0);
}

// ---- ours ----

constexpr int64_t kRows = 64;  // queries handled at a time

// One (sample, key head) of the work: its queries' scores exist kRows rows at a time, and with causal only up to the diagonal, where
// libtorch's kernel computes whole rows (after Dao et al. 2022, "FlashAttention", without its tiling of the keys: rows fit the cache).
struct Packed {
  const float *q, *k, *v;  // [T,H,d], [T,G,d], [T,G,d]
  int64_t heads, groups, dim;
  const int64_t *starts;
  int samples;
  bool causal;

  int64_t q_row() const { return heads * dim; }
  int64_t k_row() const { return groups * dim; }
  float scale() const { return 1.0f / std::sqrt(static_cast<float>(dim)); }
};

// c [m,n] = alpha a [m,k] b^T [n,k] + beta c; rows lie lda, ldb, ldc floats apart.
void product_nt(int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc) {
  int im = m, in = n, ik = k, la = lda, lb = ldb, lc = ldc;
  sgemm_("T", "N", &in, &im, &ik, &alpha, b, &lb, a, &la, &beta, c, &lc);
}

// c [m,n] = a [m,k] b [k,n] + beta c.
void product_nn(int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc) {
  int im = m, in = n, ik = k, la = lda, lb = ldb, lc = ldc;
  float one = 1;
  sgemm_("N", "N", &in, &im, &ik, &one, b, &lb, a, &la, &beta, c, &lc);
}

// c [m,n] += a^T [k,m] b [k,n].
void add_product_tn(int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b, int64_t ldb, float *c, int64_t ldc) {
  int im = m, in = n, ik = k, la = lda, lb = ldb, lc = ldc;
  float one = 1;
  sgemm_("N", "T", &in, &im, &ik, &one, b, &lb, a, &la, &one, c, &lc);
}

// Turns a row of n scores into e^(score - shift) and returns their sum.
LT_INLINE float exp_row(float *row, int64_t n, float shift) {
  lt::vec total = {};
  int64_t i = 0;
  for (; i + lt::kLanes <= n; i += lt::kLanes) {
    auto e = lt::exp(lt::load(row + i) - shift);
    lt::store(row + i, e);
    total += e;
  }
  float rest = 0;
  if (i < n) {
    auto e = lt::exp(lt::load_part(row + i, n - i) - shift);
    lt::store_part(row + i, e, n - i);
    for (int64_t k = 0; k < n - i; k++) {
      rest += e[k];
    }
  }
  return lt::sum(total) + rest;
}

LT_INLINE float largest_of(const float *row, int64_t n) {
  float most = row[0];
  int64_t i = 0;
  if (n >= lt::kLanes) {
    auto m = lt::load(row);
    for (i = lt::kLanes; i + lt::kLanes <= n; i += lt::kLanes) {
      m = lt::max(m, lt::load(row + i));
    }
    most = lt::largest(m);
  }
  for (; i < n; i++) {
    most = row[i] > most ? row[i] : most;
  }
  return most;
}

LT_INLINE float dot(const float *a, const float *b, int64_t n) {
  lt::vec total = {};
  int64_t i = 0;
  for (; i + lt::kLanes <= n; i += lt::kLanes) {
    total += lt::load(a + i) * lt::load(b + i);
  }
  float rest = 0;
  for (; i < n; i++) {
    rest += a[i] * b[i];
  }
  return lt::sum(total) + rest;
}

// Scores [rows,n] -> unnormalised probabilities; sums and the log of each row's sum of exponentials. Row r sees its first seen(r).
LT_SIMD void soften(float *scores, int64_t rows, int64_t n, int64_t first, bool causal, float *sums, float *log_sums) {
  for (int64_t r = 0; r < rows; r++) {
    float *row = scores + r * n;
    int64_t seen = causal ? first + r + 1 : n;
    float most = largest_of(row, seen);
    sums[r] = exp_row(row, seen, most);
    log_sums[r] = most + std::log(sums[r]);
    std::memset(row + seen, 0, (n - seen) * sizeof(float));
  }
}

LT_SIMD void divide_rows(float *out, int64_t rows, int64_t columns, int64_t stride, const float *by) {
  for (int64_t r = 0; r < rows; r++) {
    float factor = 1 / by[r];
    float *row = out + r * stride;
    for (int64_t i = 0; i < columns; i++) {
      row[i] *= factor;
    }
  }
}

// Scores -> probabilities, by the log sums of the forward pass.
LT_SIMD void probabilities(float *scores, int64_t rows, int64_t n, int64_t first, bool causal, const float *log_sums) {
  for (int64_t r = 0; r < rows; r++) {
    float *row = scores + r * n;
    int64_t seen = causal ? first + r + 1 : n;
    exp_row(row, seen, log_sums[r]);
    std::memset(row + seen, 0, (n - seen) * sizeof(float));
  }
}

// Gradients of the probabilities -> gradients of the scores: p * (dp - sum(dp * p)), and sum(dp * p) = sum(dout * out).
LT_SIMD void score_gradients(float *dp, const float *p, int64_t rows, int64_t n, const float *out, const float *dout, int64_t dim, int64_t stride,
                             float scale) {
  for (int64_t r = 0; r < rows; r++) {
    float mean = dot(out + r * stride, dout + r * stride, dim);
    float *row = dp + r * n;
    const float *prob = p + r * n;
    int64_t i = 0;
    for (; i + lt::kLanes <= n; i += lt::kLanes) {
      lt::store(row + i, lt::load(prob + i) * (lt::load(row + i) - mean) * scale);
    }
    for (; i < n; i++) {
      row[i] = prob[i] * (row[i] - mean) * scale;
    }
  }
}

// Room for a thread's scores, aligned so that MKL gives the same bits on every thread.
float *scratch(int which, int64_t floats) {
  struct Free {
    void operator()(float *p) const { std::free(p); }
  };
  thread_local std::unique_ptr<float, Free> buffers[2];
  thread_local int64_t sizes[2];
  if (sizes[which] < floats) {
    sizes[which] = (floats + lt::kLanes - 1) / lt::kLanes * lt::kLanes;
    buffers[which].reset(static_cast<float *>(std::aligned_alloc(64, sizes[which] * sizeof(float))));
    TORCH_CHECK(buffers[which], "out of memory: ", sizes[which], " floats of scores");
  }
  return buffers[which].get();
}

// Output and log sums [H,T] of one sample's key head.
void forward_task(const Packed &a, int sample, int64_t group, float *out, float *log_sums, int64_t positions) {
  int64_t start = a.starts[sample], length = a.starts[sample + 1] - start;
  const float *k = a.k + start * a.k_row() + group * a.dim, *v = a.v + start * a.k_row() + group * a.dim;
  float sums[kRows];
  for (int64_t h = group * (a.heads / a.groups); h < (group + 1) * (a.heads / a.groups); h++) {
    for (int64_t first = 0; first < length; first += kRows) {
      int64_t rows = std::min(kRows, length - first), n = a.causal ? first + rows : length;
      int64_t offset = (start + first) * a.q_row() + h * a.dim;
      float *scores = scratch(0, rows * n);
      product_nt(rows, n, a.dim, a.scale(), a.q + offset, a.q_row(), k, a.k_row(), 0, scores, n);
      soften(scores, rows, n, first, a.causal, sums, log_sums + h * positions + start + first);
      product_nn(rows, a.dim, n, scores, n, v, a.k_row(), 0, out + offset, a.q_row());
      divide_rows(out + offset, rows, a.dim, a.q_row(), sums);
    }
  }
}

struct Gradients {
  const float *out, *dout, *log_sums;  // [T,H,d], [T,H,d], [H,T]
  float *dq, *dk, *dv;                 // [T,H,d], [T,G,d], [T,G,d]; dk and dv begin as zeros
};

void backward_task(const Packed &a, int sample, int64_t group, const Gradients &g, int64_t positions) {
  int64_t start = a.starts[sample], length = a.starts[sample + 1] - start, inner = start * a.k_row() + group * a.dim;
  const float *k = a.k + inner, *v = a.v + inner;
  for (int64_t h = group * (a.heads / a.groups); h < (group + 1) * (a.heads / a.groups); h++) {
    for (int64_t first = 0; first < length; first += kRows) {
      int64_t rows = std::min(kRows, length - first), n = a.causal ? first + rows : length;
      int64_t offset = (start + first) * a.q_row() + h * a.dim;
      const float *q = a.q + offset, *dout = g.dout + offset;
      float *p = scratch(0, rows * n), *dp = scratch(1, rows * n);
      product_nt(rows, n, a.dim, a.scale(), q, a.q_row(), k, a.k_row(), 0, p, n);
      probabilities(p, rows, n, first, a.causal, g.log_sums + h * positions + start + first);
      add_product_tn(n, a.dim, rows, p, n, dout, a.q_row(), g.dv + inner, a.k_row());
      product_nt(rows, n, a.dim, 1, dout, a.q_row(), v, a.k_row(), 0, dp, n);
      score_gradients(dp, p, rows, n, g.out + offset, dout, a.dim, a.q_row(), a.scale());
      product_nn(rows, a.dim, n, dp, n, k, a.k_row(), 0, g.dq + offset, a.q_row());
      add_product_tn(n, a.dim, rows, dp, n, q, a.q_row(), g.dk + inner, a.k_row());
    }
  }
}

// Runs task(sample, group) for all of them, the longest samples first, so that no thread is left alone with a long one at the end.
template <typename Task>
void each_task(const Packed &a, const Task &task) {
  std::vector<int> order(a.samples);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int x, int y) { return a.starts[x + 1] - a.starts[x] > a.starts[y + 1] - a.starts[y]; });
  std::atomic<int64_t> next{0};
  int64_t tasks = a.samples * a.groups;
  at::parallel_for(0, at::get_num_threads(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t worker = begin; worker < end; worker++) {
      for (int64_t i = next++; i < tasks; i = next++) {
        task(order[i / a.groups], i % a.groups);
      }
    }
  });
}

struct PackedAttention : torch::autograd::Function<PackedAttention> {
  static Packed describe(const at::Tensor &q, const at::Tensor &k, const at::Tensor &v, const std::vector<int64_t> &starts, bool causal) {
    return {q.const_data_ptr<float>(), k.const_data_ptr<float>(), v.const_data_ptr<float>(), q.size(1), k.size(1), q.size(2), starts.data(),
            static_cast<int>(starts.size()) - 1, causal};
  }

  static at::Tensor forward(torch::autograd::AutogradContext *context, const at::Tensor &query, const at::Tensor &key, const at::Tensor &value,
                            const std::vector<int64_t> &starts, bool causal) {
    at::AutoDispatchBelowAutograd below;
    RECORD_FUNCTION("llavatrain::attention", {});
    TORCH_CHECK(key.sizes() == value.sizes() && key.size(0) == query.size(0) && key.size(2) == query.size(2) && query.size(1) % key.size(1) == 0,
                "queries ", query.sizes(), ", keys ", key.sizes(), ", values ", value.sizes());
    auto q = query.contiguous(), k = key.contiguous(), v = value.contiguous();
    auto out = at::empty_like(q), log_sums = at::empty({q.size(1), q.size(0)}, q.options());
    auto a = describe(q, k, v, starts, causal);
    auto *o = out.data_ptr<float>(), *l = log_sums.data_ptr<float>();
    each_task(a, [&](int sample, int64_t group) { forward_task(a, sample, group, o, l, q.size(0)); });
    context->save_for_backward({q, k, v, out, log_sums});
    context->saved_data["starts"] = starts;
    context->saved_data["causal"] = causal;
    return out;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext *context, torch::autograd::variable_list grads) {
    RECORD_FUNCTION("llavatrain::attention_backward", {});
    auto saved = context->get_saved_variables();
    auto &q = saved[0], &k = saved[1], &v = saved[2], &out = saved[3], &log_sums = saved[4];
    auto starts = context->saved_data["starts"].toIntVector();
    auto dout = grads[0].contiguous();
    auto dq = at::empty_like(q), dk = at::zeros_like(k), dv = at::zeros_like(v);
    auto a = describe(q, k, v, starts, context->saved_data["causal"].toBool());
    Gradients g{out.const_data_ptr<float>(), dout.const_data_ptr<float>(), log_sums.const_data_ptr<float>(),
                dq.data_ptr<float>(),        dk.data_ptr<float>(),         dv.data_ptr<float>()};
    each_task(a, [&](int sample, int64_t group) { backward_task(a, sample, group, g, q.size(0)); });
    return {dq, dk, dv, at::Tensor(), at::Tensor()};
  }
};

bool packed_fits(const at::Tensor &q) { return lt::fused() && sgemm_ && q.is_cpu() && q.scalar_type() == at::kFloat; }

}  // namespace

char *lt_attention(lt_tensor q, lt_tensor k, lt_tensor v, const int64_t *starts, int samples, int causal, lt_tensor *out) {
  LT_PROTECT({
    auto &query = ref(q);
    TORCH_CHECK(starts[samples] == query.size(0), "the samples end at ", starts[samples], " of ", query.size(0), " positions");
    if (query.is_cuda() && query.scalar_type() != at::kFloat) {
      *out = own(attend_packed(query, ref(k), ref(v), starts, samples, causal != 0));
    } else if (packed_fits(query)) {
      *out = own(PackedAttention::apply(query, ref(k), ref(v), std::vector<int64_t>(starts, starts + samples + 1), causal != 0));
    } else {
      *out = own(attend_each(query, ref(k), ref(v), starts, samples, causal != 0));
    }
  })
}

// Attention of n new positions over all that came before and themselves. q [n,H,d], k and v [m,G,d] with the new ones last.
char *lt_cached_attention(lt_tensor q, lt_tensor k, lt_tensor v, lt_tensor *out) {
  LT_PROTECT({
    auto &query = ref(q);
    auto key = repeat_heads(ref(k), query.size(1)), value = repeat_heads(ref(v), query.size(1));
    bool causal = query.size(0) > 1;
    TORCH_CHECK(!causal || query.size(0) == key.size(0), "only a first call may bring several positions");
    *out = own(attend(query, key, value, causal));
  })
}
