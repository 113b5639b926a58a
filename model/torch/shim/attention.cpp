// Attention within samples that are concatenated. On the CPU in fp32 the kernel is ours; elsewhere it is libtorch's.
#include <torch/csrc/autograd/custom_function.h>

#include "attention.h"

namespace {

// Attention over one sequence of positions. q [n,H,d], k and v [n,H,d] -> [n,H,d].
at::Tensor attend(const at::Tensor &q, const at::Tensor &k, const at::Tensor &v, bool causal) {
  auto heads_first = [](const at::Tensor &x) { return x.transpose(0, 1).unsqueeze(0); };  // [1,H,n,d]
  auto y = at::scaled_dot_product_attention(heads_first(q), heads_first(k), heads_first(v), {}, 0.0, causal);
  return y.squeeze(0).transpose(0, 1);
}

// Grouped-query attention as plain attention: each key head is repeated for its group of query heads. [T,G,d] ->
// [T,H,d]
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

// ---- Flash attention over packed samples: nothing crosses a sample's border ----

// The borders that were last sent to the device, and their tensor there.
struct Sent {
  std::vector<int64_t> borders;
  at::Tensor on_card;

  const at::Tensor &to(const at::Device &device, const std::vector<int64_t> &wanted) {
    if (borders != wanted || !on_card.defined() || on_card.device() != device) {
      on_card = at::tensor(wanted, at::kInt).pin_memory().to(device, /*non_blocking=*/true);
      borders = wanted;
    }
    return on_card;
  }
};

int64_t longest(const std::vector<int64_t> &borders) {
  int64_t most = 0;
  for (size_t i = 1; i < borders.size(); i++) {
    most = std::max(most, borders[i] - borders[i - 1]);
  }
  return most;
}

// The borders of the samples' queries and keys, in flash attention's form. All layers of a micro-batch have the same
// borders, except for the queries of the last. If a sample has fewer queries than keys, flash attention aligns causal
// queries with the last keys.
struct Runs {
  at::Tensor queries, keys;  // [n+1] i32
  int64_t most_queries, most_keys;

  Runs(const at::Device &device, const lt::Samples &samples) {
    thread_local Sent all, late;
    keys = all.to(device, samples.starts);
    queries = samples.queries.empty() ? keys : late.to(device, samples.queries);
    most_keys = longest(samples.starts);
    // 1 would select its generation path, which lays out the heads differently
    most_queries = std::max<int64_t>(2, longest(samples.query_borders()));
  }
};

lt::Attended flash_forward(const at::Tensor &q, const at::Tensor &k, const at::Tensor &v, const lt::Samples &samples) {
  Runs runs(q.device(), samples);
  auto r = at::_flash_attention_forward(q, k, v, runs.queries, runs.keys, runs.most_queries, runs.most_keys, 0.0,
                                        samples.causal, false);
  return {std::get<0>(r), std::get<1>(r), std::get<2>(r), std::get<3>(r)};
}

lt::AttentionGradients flash_backward(const at::Tensor &q, const at::Tensor &k, const at::Tensor &v,
                                      const lt::Attended &a, const at::Tensor &dout, const lt::Samples &samples) {
  Runs runs(q.device(), samples);
  auto d = at::_flash_attention_backward(dout, q, k, v, a.out, a.log_sums, runs.queries, runs.keys, runs.most_queries,
                                         runs.most_keys, 0.0, samples.causal, a.state, a.unused);
  return {std::get<0>(d), std::get<1>(d), std::get<2>(d)};
}

// Sample by sample, each by libtorch's kernel.
at::Tensor attend_each(const at::Tensor &q, const at::Tensor &k, const at::Tensor &v, const int64_t *starts,
                       int samples, bool causal) {
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

struct PackedAttention : torch::autograd::Function<PackedAttention> {
  static at::Tensor forward(torch::autograd::AutogradContext *context, const at::Tensor &query, const at::Tensor &key,
                            const at::Tensor &value, const std::vector<int64_t> &starts, bool causal) {
    at::AutoDispatchBelowAutograd below;
    TORCH_CHECK(key.sizes() == value.sizes() && key.size(0) == query.size(0) && key.size(2) == query.size(2) &&
                    query.size(1) % key.size(1) == 0,
                "queries ", query.sizes(), ", keys ", key.sizes(), ", values ", value.sizes());
    auto q = lt::with_heads_together(query), k = lt::with_heads_together(key), v = lt::with_heads_together(value);
    auto a = lt::attention_forward(q, k, v, {starts, causal});
    context->save_for_backward({q, k, v, a.out, a.log_sums, a.state, a.unused});
    context->saved_data["starts"] = starts;
    context->saved_data["causal"] = causal;
    return a.out;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext *context,
                                                 torch::autograd::variable_list grads) {
    auto saved = context->get_saved_variables();
    auto empty = [](const at::Tensor &x) { return at::empty(x.sizes(), x.options()); };
    lt::Samples samples{context->saved_data["starts"].toIntVector(), context->saved_data["causal"].toBool()};
    auto dout = lt::with_heads_together(grads[0]);
    auto d = lt::attention_backward(saved[0], saved[1], saved[2], {saved[3], saved[4], saved[5], saved[6]}, dout,
                                    samples, {empty(saved[0]), empty(saved[1]), empty(saved[2])});
    return {d.q, d.k, d.v, at::Tensor(), at::Tensor()};
  }
};

}  // namespace

void lt::Samples::check(const at::Tensor &q, const at::Tensor &k) const {
  auto &borders = query_borders();
  TORCH_CHECK(starts.front() == 0 && (starts.back() == k.size(0) || !places.empty()) &&
                  borders.size() == starts.size() && borders.front() == 0 && borders.back() == q.size(0),
              "samples between ", at::IntArrayRef(starts), " with queries between ", at::IntArrayRef(borders), " of ",
              k.size(0), " positions and ", q.size(0), " queries");
  for (int64_t i = 0; i < count(); i++) {
    TORCH_CHECK(query_count(i) >= 0 && query_count(i) <= length(i), "sample ", i, " has ", query_count(i),
                " queries and ", length(i), " positions");
    TORCH_CHECK(place(i) >= 0 && place(i) + length(i) <= k.size(0), "sample ", i, " has ", length(i),
                " positions from ", place(i), " of ", k.size(0));
  }
}

bool lt::attention_fits(const at::Tensor &q) {
  return flash_fits(q) || (fused() && q.is_cpu() && q.scalar_type() == at::kFloat);
}

lt::Attended lt::attention_forward(const at::Tensor &q, const at::Tensor &k, const at::Tensor &v,
                                   const Samples &samples) {
  RECORD_FUNCTION("llavatrain::attention", {});
  samples.check(q, k);
  return q.is_cpu() ? cpu_attention_forward(q, k, v, samples) : flash_forward(q, k, v, samples);
}

lt::AttentionGradients lt::attention_backward(const at::Tensor &q, const at::Tensor &k, const at::Tensor &v,
                                              const Attended &a, const at::Tensor &dout, const Samples &samples,
                                              const AttentionGradients &room) {
  RECORD_FUNCTION("llavatrain::attention_backward", {});
  if (!q.is_cpu()) {
    return flash_backward(q, k, v, a, dout, samples);
  }
  cpu_attention_backward(q, k, v, a, dout, samples, room);
  return room;
}

char *lt_attention(lt_tensor q, lt_tensor k, lt_tensor v, const int64_t *starts, int samples, int causal,
                   lt_tensor *out) {
  LT_PROTECT({
    auto &query = ref(q);
    TORCH_CHECK(starts[samples] == query.size(0), "the samples end at ", starts[samples], " of ", query.size(0),
                " positions");
    *out = own(lt::attention_fits(query)
                   ? PackedAttention::apply(query, ref(k), ref(v), std::vector<int64_t>(starts, starts + samples + 1),
                                            causal != 0)
                   : attend_each(query, ref(k), ref(v), starts, samples, causal != 0));
  })
}
