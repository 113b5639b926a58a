// Attention in generation: each sample's new positions see its earlier ones, whose keys and values lie in one arena
// with those of all other samples, each sample's together.
#include <cmath>
#include <mutex>

#include "attention.h"
#include "panels.h"

namespace {

constexpr int64_t kFewQueries = 6;  // of a sample; more are faster by the kernel that packs keys and values

constexpr int64_t kBlock = 32;  // keys, or values, that all heads read before the next ones

// scores [n] = q [d] times each of n keys, d a multiple of sixteen; there is room for n rounded up to sixteen.
template <typename E>
LT_INLINE void score(const float *q, const E *keys, int64_t row, int64_t n, int64_t d, float *scores) {
  for (int64_t j = 0; j < n; j += lt::kLanes) {
    lt::vec sums[lt::kLanes];
#pragma GCC unroll 16
    for (int64_t i = 0; i < lt::kLanes; i++) {
      const E *key = keys + std::min(j + i, n - 1) * row;
      sums[i] = lt::load(q) * lt::load(key);
      for (int64_t p = lt::kLanes; p < d; p += lt::kLanes) {
        sums[i] += lt::load(q + p) * lt::load(key + p);
      }
    }
    lt::store(scores + j, lt::sums(sums));
  }
}

// Scores -> weights e^(scale * (score - the largest)), zeros after the last; returns 1 / their sum.
LT_INLINE float soften(float *scores, int64_t n, float scale) {
  float most = lt::largest(scores, n) * scale;
  lt::vec total = {};
  for (int64_t j = 0; j < n; j += lt::kLanes) {
    lt::vec e = lt::exp(lt::load(scores + j) * scale - most);
    if (n - j < lt::kLanes) {
      for (int64_t i = n - j; i < lt::kLanes; i++) {
        e[i] = 0;
      }
    }
    lt::store(scores + j, e);
    total += e;
  }
  return 1 / lt::sum(total);
}

// out [d] += weights [n] times the values.
template <typename E>
LT_INLINE void weigh(const float *weights, const E *values, int64_t row, int64_t n, int64_t d, float *out) {
  for (int64_t p = 0; p < d; p += 4 * lt::kLanes) {
    int64_t parts = std::min<int64_t>(4, (d - p) / lt::kLanes);
    lt::vec sums[4] = {};
    for (int64_t i = 0; i < parts; i++) {
      sums[i] = lt::load(out + p + i * lt::kLanes);
    }
    if (parts == 4) {
      for (int64_t j = 0; j < n; j++) {
#pragma GCC unroll 4
        for (int64_t i = 0; i < 4; i++) {
          sums[i] += weights[j] * lt::load(values + j * row + p + i * lt::kLanes);
        }
      }
    } else {
      for (int64_t j = 0; j < n; j++) {
        for (int64_t i = 0; i < parts; i++) {
          sums[i] += weights[j] * lt::load(values + j * row + p + i * lt::kLanes);
        }
      }
    }
    for (int64_t i = 0; i < parts; i++) {
      lt::store(out + p + i * lt::kLanes, sums[i]);
    }
  }
}

// One query of a sample, for some of the key heads and the heads that share them. The keys of all heads of a position
// lie together: they are read in order, a few positions at a time for all heads.
template <typename E>
struct Few {
  const float *q;  // of the first head
  const E *keys, *values;
  float *out;
  int64_t row, d;          // of keys and values; of a head
  int64_t groups, shares;  // key heads; heads for each
  int64_t n;               // positions that the query sees
  float scale;
};

// scores: room for n, rounded up to sixteen, for each head.
template <typename E>
LT_INLINE void attend_few(const Few<E> &f, float *scores) {
  int64_t heads = f.groups * f.shares, width = lt::panels(f.n) * lt::kLanes;
  for (int64_t j = 0; j < f.n; j += kBlock) {
    for (int64_t h = 0; h < heads; h++) {
      score(f.q + h * f.d, f.keys + j * f.row + h / f.shares * f.d, f.row, std::min(kBlock, f.n - j), f.d,
            scores + h * width + j);
    }
  }
  std::memset(f.out, 0, heads * f.d * sizeof(float));
  for (int64_t h = 0; h < heads; h++) {
    float *own = scores + h * width, factor = soften(own, f.n, f.scale);
    for (int64_t j = 0; j < width; j += lt::kLanes) {
      lt::store(own + j, lt::load(own + j) * factor);
    }
  }
  for (int64_t j = 0; j < f.n; j += kBlock) {
    for (int64_t h = 0; h < heads; h++) {
      weigh(scores + h * width + j, f.values + j * f.row + h / f.shares * f.d, f.row, std::min(kBlock, f.n - j), f.d,
            f.out + h * f.d);
    }
  }
}

LT_SIMD void attend_few_float(const Few<float> &f, float *scores) { attend_few(f, scores); }
LT_SIMD void attend_few_half(const Few<uint16_t> &f, float *scores) { attend_few(f, scores); }

// Attention of the samples in `which`, in fp32 rows. A task is a query with all its heads or, where there are fewer
// queries than threads, with some of them.
template <typename E, typename Attend>
void each_few(const at::Tensor &q, const at::Tensor &k, const at::Tensor &v, const lt::Samples &samples,
              const std::vector<int64_t> &which, int64_t window, at::Tensor &out, const Attend &attend) {
  int64_t heads = q.size(1), groups = k.size(1), d = q.size(2), shares = heads / groups, row = groups * d;
  struct Query {
    int64_t at, place, n;  // its row of q; the first position that it sees, and how many
  };
  std::vector<Query> queries;
  for (int64_t i : which) {
    for (int64_t j = 0; j < samples.query_count(i); j++) {
      int64_t end = samples.length(i) - samples.query_count(i) + j + 1,
              begin = window > 0 ? std::max<int64_t>(0, end - window) : 0;
      queries.push_back({samples.query_borders()[i] + j, samples.place(i) + begin, end - begin});
    }
  }
  int64_t count = static_cast<int64_t>(queries.size()), threads = at::get_num_threads(),
          parts = count >= 2 * threads ? 1 : std::min(groups, (2 * threads + count - 1) / std::max<int64_t>(1, count)),
          part = (groups + parts - 1) / parts;
  auto *from = q.const_data_ptr<float>();
  auto *keys = static_cast<const E *>(k.const_data_ptr()), *values = static_cast<const E *>(v.const_data_ptr());
  auto *to = out.data_ptr<float>();
  lt::share(count * parts, [&](int64_t task) {
    auto &query = queries[task / parts];
    int64_t g = task % parts * part, own = std::min(part, groups - g);
    if (own <= 0) {
      return;
    }
    int64_t room = own * shares * lt::panels(query.n) * lt::kLanes;
    lt::Scratch scratch(room);
    int64_t at = query.at * heads * d + g * shares * d, first = query.place * row + g * d;
    attend({from + at, keys + first, values + first, to + at, row, d, own, shares, query.n,
            1 / std::sqrt(static_cast<float>(d))},
           scratch.take(room));
  });
}

// One sample by libtorch's kernel, with a mask. q [m,H,d], k and v [n,G,d] -> [m,H,d]
at::Tensor attend_masked(const at::Tensor &q, const at::Tensor &k, const at::Tensor &v, int64_t window) {
  int64_t m = q.size(0), n = k.size(0), group = q.size(1) / k.size(1);
  auto heads_first = [](const at::Tensor &x) { return x.transpose(0, 1).unsqueeze(0); };  // [1,H,n,d]
  auto repeat = [&](const at::Tensor &x) { return group == 1 ? x : x.repeat_interleave(group, 1); };
  std::optional<at::Tensor> mask;
  if (m > 1 || (window > 0 && n > window)) {
    auto seen = at::ones({m, n}, q.options().dtype(at::kBool)).tril(n - m);
    mask = window > 0 ? seen.triu(n - m + 1 - window) : seen;
  }
  return at::scaled_dot_product_attention(heads_first(q), heads_first(repeat(k)), heads_first(repeat(v)), mask)
      .squeeze(0)
      .transpose(0, 1);
}

at::Tensor attend_each(const at::Tensor &q, const at::Tensor &k, const at::Tensor &v, const lt::Samples &samples,
                       int64_t window) {
  auto out = at::empty_like(q);
  for (int64_t i = 0; i < samples.count(); i++) {
    int64_t row = samples.query_borders()[i], count = samples.query_count(i);
    auto own = [&](const at::Tensor &x) { return x.narrow(0, samples.place(i), samples.length(i)); };
    out.narrow(0, row, count).copy_(attend_masked(q.narrow(0, row, count), own(k), own(v), window));
  }
  return out;
}

// Flash attention takes the samples' places as its borders of keys, and their lengths beside them.
at::Tensor attend_flash(const at::Tensor &q, const at::Tensor &k, const at::Tensor &v, const lt::Samples &samples,
                        int64_t window) {
  auto sent = [&](const std::vector<int64_t> &x) {
    return at::tensor(x, at::kInt).pin_memory().to(q.device(), /*non_blocking=*/true);
  };
  std::vector<int64_t> lengths, places = samples.places;
  int64_t most_queries = 2, most_keys = 0;  // 1 would select another layout of the heads
  for (int64_t i = 0; i < samples.count(); i++) {
    lengths.push_back(samples.length(i));
    most_queries = std::max(most_queries, samples.query_count(i));
    most_keys = std::max(most_keys, samples.length(i));
  }
  places.push_back(k.size(0));
  auto left = window > 0 ? std::optional<int64_t>(window - 1) : std::nullopt,
       right = window > 0 ? std::optional<int64_t>(0) : std::nullopt;
  return std::get<0>(at::_flash_attention_forward(q, k, v, sent(samples.query_borders()), sent(places), most_queries,
                                                  most_keys, 0.0, true, false, std::nullopt, left, right,
                                                  sent(lengths)));
}

// Whether flash attention on this machine skips what lies between the samples: tried once, on two samples with a gap.
bool flash_skips_gaps(const at::Tensor &like) {
  static std::once_flag once;
  static bool skips = false;
  std::call_once(once, [&] {
    try {
      auto some = [&](int64_t rows) { return at::randn({rows, 2, 64}, like.options()); };
      auto q = some(4), k = some(200), v = some(200);
      lt::Samples samples{{0, 70, 103}, true, {0, 1, 4}, {64, 150}};
      auto worst = (attend_flash(q, k, v, samples, 0) - attend_each(q, k, v, samples, 0)).abs().max();
      skips = worst.item<double>() < 0.05;
    } catch (const std::exception &) {
      skips = false;
    }
  });
  return skips;
}

}  // namespace

at::Tensor lt::extents_attention(const at::Tensor &q, const at::Tensor &k, const at::Tensor &v, const Samples &samples,
                                 int64_t window) {
  RECORD_FUNCTION("llavatrain::extents_attention", {});
  samples.check(q, k);
  if (flash_fits(q)) {
    return flash_skips_gaps(q) ? attend_flash(q.contiguous(), k, v, samples, window)
                               : attend_each(q, k, v, samples, window);
  }
  bool half = k.scalar_type() == at::kBFloat16;
  if (!fused() || !q.is_cpu() || q.size(2) % kLanes != 0 || (!half && k.scalar_type() != at::kFloat)) {
    return attend_each(q.to(k.scalar_type()), k, v, samples, window).to(q.scalar_type());
  }
  auto rows = q.to(at::kFloat).contiguous();
  auto out = at::empty(rows.sizes(), rows.options());
  std::vector<int64_t> few;
  for (int64_t i = 0; i < samples.count(); i++) {
    int64_t row = samples.query_borders()[i], count = samples.query_count(i);
    bool limited = window > 0 && samples.length(i) > window;
    if (count <= kFewQueries || limited) {
      few.push_back(i);
      continue;
    }
    auto own = rows.narrow(0, row, count);
    int64_t place = samples.place(i), n = samples.length(i);
    out.narrow(0, row, count)
        .copy_(half ? attend_masked(own.to(at::kBFloat16), k.narrow(0, place, n), v.narrow(0, place, n), 0)
                    : cpu_attention_forward(own, k, v, {{0, n}, true, {0, count}, {place}}).out);
  }
  if (half) {
    each_few<uint16_t>(rows, k, v, samples, few, window, out,
                       [](const Few<uint16_t> &f, float *scores) { attend_few_half(f, scores); });
  } else {
    each_few<float>(rows, k, v, samples, few, window, out,
                    [](const Few<float> &f, float *scores) { attend_few_float(f, scores); });
  }
  return out.to(q.scalar_type());
}
