// Attention on the CPU in fp32: one (sample, key head) is one thread's task (after Dao et al. 2022, "FlashAttention",
// without its tiling of the keys: a block of rows fits the caches). Queries are handled kRows at a time and see no key
// after their diagonal.
#include <cmath>
#include <numeric>

#include "attention.h"
#include "panels.h"

namespace {

constexpr int64_t kRows = 48;  // queries handled at a time: a multiple of kTile

// A block of queries: the rows first to first+rows of a sample of n positions.
struct Block {
  int64_t first, rows, n;
  bool causal;

  int64_t seen(int64_t r) const { return causal ? first + r + 1 : n; }              // number of keys that row r sees
  int64_t width() const { return lt::panels(seen(rows - 1)) * lt::kLanes; }         // of a row of scores
  // the first row that sees a key
  int64_t from(int64_t key) const { return causal ? std::max<int64_t>(0, key - first) : 0; }
};

// Turns a row of n scores into e^(scale * score - shift) and returns their sum.
LT_INLINE float exp_row(float *row, int64_t n, float scale, float shift) {
  lt::vec total = {};
  int64_t i = 0;
  for (; i + lt::kLanes <= n; i += lt::kLanes) {
    auto e = lt::exp(lt::load(row + i) * scale - shift);
    lt::store(row + i, e);
    total += e;
  }
  float rest = 0;
  if (i < n) {
    auto e = lt::exp(lt::load_part(row + i, n - i) * scale - shift);
    lt::store_part(row + i, e, n - i);
    for (int64_t k = 0; k < n - i; k++) {
      rest += e[k];
    }
  }
  return lt::sum(total) + rest;
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

// Products of the block's rows [rows,d] with all keys that they see, which panels hold transposed. scores [rows,width]
LT_SIMD void score(const Block &b, const float *rows, int64_t row, int64_t d, const float *panels, float *scores,
                   int64_t width) {
  for (int64_t key = 0; key < width; key += lt::kLanes, panels += d * lt::kLanes) {
    int64_t i = b.from(key) / lt::kTile * lt::kTile;
    for (; i < b.rows; i += lt::kTile) {
      lt::tile_of(std::min(lt::kTile, b.rows - i), d, rows + i * row, row, 1, panels, nullptr, 0,
                  scores + i * width + key, width);
    }
  }
}

// out [rows,d16] = weights [rows,width] times the rows packed in panels, as many of them as each row sees.
LT_SIMD void weigh(const Block &b, const float *weights, int64_t width, int64_t d, const float *panels, float *out,
                   int64_t out_row) {
  for (int64_t j = 0; j < d; j += lt::kLanes, panels += b.n * lt::kLanes) {
    for (int64_t i = 0; i < b.rows; i += lt::kTile) {
      int64_t rows = std::min(lt::kTile, b.rows - i);
      lt::tile_of(rows, b.seen(i + rows - 1), weights + i * width, width, 1, panels, nullptr, 0, out + i * out_row + j,
                  out_row);
    }
  }
}

// sums [n,d16] += weights^T times the block's rows, packed in panels.
LT_SIMD void gather(const Block &b, const float *weights, int64_t width, int64_t d, const float *panels, float *sums,
                    int64_t sums_row) {
  int64_t seen = b.seen(b.rows - 1);
  for (int64_t j = 0; j < d; j += lt::kLanes, panels += b.rows * lt::kLanes) {
    for (int64_t key = 0; key < seen; key += lt::kTile) {
      int64_t from = b.from(key);
      float *c = sums + key * sums_row + j;
      lt::tile_of(std::min(lt::kTile, seen - key), b.rows - from, weights + from * width + key, 1, width,
                  panels + from * lt::kLanes, c, sums_row, c, sums_row);
    }
  }
}

// Scores -> unnormalised probabilities, and zeros for keys that a row does not see; sums and the log of each row's sum
// of exponentials.
LT_SIMD void soften(const Block &b, float *scores, int64_t width, float scale, float *sums, float *log_sums) {
  for (int64_t r = 0; r < b.rows; r++, scores += width) {
    int64_t seen = b.seen(r);
    float most = scale * lt::largest(scores, seen);
    sums[r] = exp_row(scores, seen, scale, most);
    log_sums[r] = most + std::log(sums[r]);
    std::memset(scores + seen, 0, (width - seen) * sizeof(float));
  }
}

// Scores -> probabilities, by the log sums of the forward pass.
LT_SIMD void probabilities(const Block &b, float *scores, int64_t width, float scale, const float *log_sums) {
  for (int64_t r = 0; r < b.rows; r++, scores += width) {
    int64_t seen = b.seen(r);
    exp_row(scores, seen, scale, log_sums[r]);
    std::memset(scores + seen, 0, (width - seen) * sizeof(float));
  }
}

// Gradients of the probabilities -> gradients of the scores: p * (dp - sum(dp * p)), and sum(dp * p) = sum(dout * out).
LT_SIMD void score_gradients(const Block &b, float *dp, const float *p, int64_t width, const float *out,
                             const float *dout, int64_t d, int64_t row, int64_t dout_row, float scale) {
  for (int64_t r = 0; r < b.rows; r++, dp += width, p += width) {
    float mean = dot(out + r * row, dout + r * dout_row, d);
    int64_t end = lt::panels(b.seen(r)) * lt::kLanes;
    for (int64_t i = 0; i < end; i += lt::kLanes) {
      lt::store(dp + i, lt::load(p + i) * (lt::load(dp + i) - mean) * scale);
    }
    std::memset(dp + end, 0, (width - end) * sizeof(float));
  }
}

// x [rows,d] = packed [rows,d16], each row by its divisor where there are any.
LT_SIMD void unpack(const float *packed, int64_t packed_row, int64_t rows, int64_t d, const float *divisors, float *x,
                    int64_t x_row) {
  for (int64_t r = 0; r < rows; r++) {
    float factor = divisors ? 1 / divisors[r] : 1;
    int64_t i = 0;
    for (; i + lt::kLanes <= d; i += lt::kLanes) {
      lt::store(x + r * x_row + i, lt::load(packed + r * packed_row + i) * factor);
    }
    lt::store_part(x + r * x_row + i, lt::load_part(packed + r * packed_row + i, d - i) * factor, d - i);
  }
}

// One operand: head h of position t starts at data + t * row + h * d.
struct Operand {
  float *data;
  int64_t row;

  explicit Operand(const at::Tensor &x) : data(const_cast<float *>(x.const_data_ptr<float>())), row(x.stride(0)) {}
  float *at(int64_t position, int64_t head, int64_t d) const { return data + position * row + head * d; }
};

struct Shape {
  int64_t queries, heads, groups, d;

  Shape(const at::Tensor &q, const at::Tensor &k)
      : queries(q.size(0)), heads(q.size(1)), groups(k.size(1)), d(q.size(2)) {}
  int64_t wide() const { return lt::panels(d) * lt::kLanes; }
  float scale() const { return 1 / std::sqrt(static_cast<float>(d)); }
};

// A sample: the positions start to start+n; those from first on have a query. The query of position p of the sample is
// row asked + p.
struct Sample {
  int64_t start, n, first, asked;

  Sample(const lt::Samples &samples, int64_t i)
      : start(samples.place(i)),
        n(samples.length(i)),
        first(n - samples.query_count(i)),
        asked(samples.query_borders()[i] - first) {}
};

// Runs task(sample, group) for every sample and key head, the longest samples first, so that the end does not wait for
// one thread with a long one.
template <typename Task>
void each_task(const lt::Samples &samples, int64_t groups, const Task &task) {
  std::vector<int64_t> order(samples.count());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t x, int64_t y) { return samples.length(x) > samples.length(y); });
  lt::share(samples.count() * groups, [&](int64_t i) {
    task(Sample(samples, order[i / groups]), i % groups);
  });
}

void check_operand(const at::Tensor &x) {
  TORCH_CHECK(x.dim() == 3 && lt::heads_together(x), "heads of ", x.sizes(), " with strides ", x.strides(),
              " do not lie beside each other");
}

}  // namespace

lt::Attended lt::cpu_attention_forward(const at::Tensor &q, const at::Tensor &k, const at::Tensor &v,
                                       const Samples &samples) {
  for (const at::Tensor &x : {q, k, v}) {
    check_operand(x);
  }
  auto out = at::empty(q.sizes(), q.options()), log_sums = at::empty({q.size(1), q.size(0)}, q.options());
  Shape shape(q, k);
  Operand queries(q), keys(k), values(v), result(out);
  auto *logs = log_sums.data_ptr<float>();
  const int64_t d = shape.d, wide = shape.wide();
  each_task(samples, shape.groups, [&](const Sample &sample, int64_t group) {
    const int64_t start = sample.start, n = sample.n;
    int64_t longest = panels(n) * kLanes;
    lt::Scratch scratch(longest * d + n * wide + kRows * (longest + wide));
    float *key_panels = scratch.take(longest * d), *value_panels = scratch.take(n * wide);
    float *scores = scratch.take(kRows * longest), *sums = scratch.take(kRows * wide), divisors[kRows];
    pack_transposed(keys.at(start, group, d), keys.row, n, d, key_panels);
    pack(values.at(start, group, d), values.row, n, d, value_panels);
    for (int64_t h = group * (shape.heads / shape.groups); h < (group + 1) * (shape.heads / shape.groups); h++) {
      for (int64_t first = sample.first; first < n; first += kRows) {
        Block block{first, std::min(kRows, n - first), n, samples.causal};
        int64_t width = block.width(), at = sample.asked + first;
        score(block, queries.at(at, h, d), queries.row, d, key_panels, scores, width);
        soften(block, scores, width, shape.scale(), divisors, logs + h * shape.queries + at);
        weigh(block, scores, width, d, value_panels, sums, wide);
        unpack(sums, wide, block.rows, d, divisors, result.at(at, h, d), result.row);
      }
    }
  });
  return {out, log_sums, {}, {}};
}

void lt::cpu_attention_backward(const at::Tensor &q, const at::Tensor &k, const at::Tensor &v, const Attended &a,
                                const at::Tensor &dout, const Samples &samples, const AttentionGradients &out) {
  for (const at::Tensor &x : {q, k, v, a.out, dout, out.q, out.k, out.v}) {
    check_operand(x);
  }
  Shape shape(q, k);
  Operand queries(q), keys(k), values(v), outputs(a.out), gradients(dout), to_q(out.q), to_k(out.k), to_v(out.v);
  auto *logs = a.log_sums.const_data_ptr<float>();
  const int64_t d = shape.d, wide = shape.wide();
  each_task(samples, shape.groups, [&](const Sample &sample, int64_t group) {
    const int64_t start = sample.start, n = sample.n;
    int64_t longest = panels(n) * kLanes;
    lt::Scratch scratch(2 * longest * d + 3 * n * wide + kRows * (2 * longest + 3 * wide));
    float *key_columns = scratch.take(longest * d), *value_columns = scratch.take(longest * d),
          *key_panels = scratch.take(n * wide);
    float *key_sums = scratch.take(n * wide), *value_sums = scratch.take(n * wide);
    float *p = scratch.take(kRows * longest), *dp = scratch.take(kRows * longest);
    float *query_panels = scratch.take(kRows * wide), *gradient_panels = scratch.take(kRows * wide),
          *sums = scratch.take(kRows * wide);
    pack_transposed(keys.at(start, group, d), keys.row, n, d, key_columns);
    pack_transposed(values.at(start, group, d), values.row, n, d, value_columns);
    pack(keys.at(start, group, d), keys.row, n, d, key_panels);
    std::memset(key_sums, 0, n * wide * sizeof(float));
    std::memset(value_sums, 0, n * wide * sizeof(float));
    for (int64_t h = group * (shape.heads / shape.groups); h < (group + 1) * (shape.heads / shape.groups); h++) {
      for (int64_t first = sample.first; first < n; first += kRows) {
        Block block{first, std::min(kRows, n - first), n, samples.causal};
        int64_t width = block.width(), at = sample.asked + first;
        const float *query = queries.at(at, h, d), *gradient = gradients.at(at, h, d);
        pack(query, queries.row, block.rows, d, query_panels);
        pack(gradient, gradients.row, block.rows, d, gradient_panels);
        score(block, query, queries.row, d, key_columns, p, width);
        probabilities(block, p, width, shape.scale(), logs + h * shape.queries + at);
        gather(block, p, width, d, gradient_panels, value_sums, wide);
        score(block, gradient, gradients.row, d, value_columns, dp, width);
        score_gradients(block, dp, p, width, outputs.at(at, h, d), gradient, d, outputs.row, gradients.row,
                        shape.scale());
        weigh(block, dp, width, d, key_panels, sums, wide);
        unpack(sums, wide, block.rows, d, nullptr, to_q.at(at, h, d), to_q.row);
        gather(block, dp, width, d, query_panels, key_sums, wide);
      }
    }
    unpack(key_sums, wide, n, d, nullptr, to_k.at(start, group, d), to_k.row);
    unpack(value_sums, wide, n, d, nullptr, to_v.at(start, group, d), to_v.row);
  });
}
