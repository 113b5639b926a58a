// Attention within a sliding window (Beltagy et al. 2020, as Mistral has it: Jiang et al. 2023).
#include "shim_internal.h"

namespace {

// On a CPU, and in fp32: each sample with a mask that is true on the diagonal and on the window-1 places before it.
at::Tensor attend_masked(const at::Tensor &q, const at::Tensor &k, const at::Tensor &v,
                         const std::vector<int64_t> &lengths, int64_t window) {
  int64_t longest = *std::max_element(lengths.begin(), lengths.end()), group = q.size(1) / k.size(1);
  // the same for every sample, except for its size
  auto band = at::ones({longest, longest}, q.options().dtype(at::kBool)).tril().triu(1 - window);
  auto heads_first = [](const at::Tensor &x) { return x.transpose(0, 1).unsqueeze(0); };           // [1,H,n,d]
  auto qs = q.split_with_sizes(lengths), ks = k.repeat_interleave(group, 1).split_with_sizes(lengths),
       vs = v.repeat_interleave(group, 1).split_with_sizes(lengths);
  std::vector<at::Tensor> parts;
  for (size_t i = 0; i < lengths.size(); i++) {
    auto mask = band.narrow(0, 0, lengths[i]).narrow(1, 0, lengths[i]);
    auto y = at::scaled_dot_product_attention(heads_first(qs[i]), heads_first(ks[i]), heads_first(vs[i]), mask);
    parts.push_back(y.squeeze(0).transpose(0, 1));
  }
  return at::cat(parts, 0);
}

// Flash attention over packed samples has the window built in (bf16 and fp16 on CUDA).
at::Tensor attend_flash(const at::Tensor &q, const at::Tensor &k, const at::Tensor &v, const at::Tensor &starts,
                        int64_t longest, int64_t window) {
  auto borders = starts.to(at::kInt).to(q.device());
  return std::get<0>(at::_flash_attention_forward(q, k, v, borders, borders, longest, longest, 0.0, true, false,
                                                  std::nullopt, window - 1, 0));
}

}  // namespace

char *lt_window_attention(lt_tensor q, lt_tensor k, lt_tensor v, const int64_t *starts, int samples, int64_t window,
                          lt_tensor *out) {
  LT_PROTECT({
    auto &query = ref(q);
    TORCH_CHECK(starts[samples] == query.size(0), "the samples end at ", starts[samples], " of ", query.size(0),
                " positions");
    TORCH_CHECK(window > 0, "a window of ", window, " positions");
    std::vector<int64_t> lengths;
    for (int i = 0; i < samples; i++) {
      lengths.push_back(starts[i + 1] - starts[i]);
    }
    if (query.is_cuda() && query.scalar_type() != at::kFloat) {
      auto borders = at::tensor(at::ArrayRef<int64_t>(starts, samples + 1), at::kLong);
      *out =
          own(attend_flash(query, ref(k), ref(v), borders, *std::max_element(lengths.begin(), lengths.end()), window));
    } else {
      *out = own(attend_masked(query, ref(k), ref(v), lengths, window));
    }
  })
}
