// Differentiable operations that gotch's bindings lack or get wrong. Each is the reference's formula over libtorch's own operations.
#include <torch/csrc/autograd/custom_function.h>

#include "shim_internal.h"

namespace {

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

}  // namespace

// x * rsqrt(mean(x^2) + eps) * weight, the statistics in fp32 (Zhang and Sennrich 2019; transformers LlamaRMSNorm).
char *lt_rms_norm(lt_tensor x, lt_tensor weight, double eps, lt_tensor *out) {
  LT_PROTECT({
    auto &input = ref(x);
    if (input.scalar_type() == at::kFloat) {
      *out = own(at::rms_norm(input, {input.size(-1)}, ref(weight), eps));
    } else {
      auto wide = input.to(at::kFloat);
      auto scaled = wide * at::rsqrt(wide.square().mean({-1}, true) + eps);
      *out = own(ref(weight) * scaled.to(input.scalar_type()));
    }
  })
}

// x*cos + rotate_half(x)*sin (Su et al. 2021, in the half-split layout of transformers' Llama). x [T,H,d], cos and sin [T,1,d].
char *lt_rotary(lt_tensor x, lt_tensor cos, lt_tensor sin, lt_tensor *out) {
  LT_PROTECT({
    auto halves = ref(x).chunk(2, -1);
    auto turned = at::cat({-halves[1], halves[0]}, -1);
    *out = own(ref(x) * ref(cos) + turned * ref(sin));
  })
}

char *lt_gelu(lt_tensor x, lt_tensor *out) { LT_PROTECT(*out = own(at::gelu(ref(x)))) }

char *lt_gelu_tanh(lt_tensor x, lt_tensor *out) { LT_PROTECT(*out = own(at::gelu(ref(x), "tanh"))) }

char *lt_swiglu(lt_tensor gate, lt_tensor up, lt_tensor *out) { LT_PROTECT(*out = own(at::silu(ref(gate)) * ref(up))) }

// x * sigmoid(1.702 x) (Hendrycks and Gimpel 2016; CLIP's activation).
char *lt_quick_gelu(lt_tensor x, lt_tensor *out) { LT_PROTECT(*out = own(ref(x) * at::sigmoid(ref(x) * 1.702))) }

char *lt_attention(lt_tensor q, lt_tensor k, lt_tensor v, const int64_t *starts, int samples, int causal, lt_tensor *out) {
  LT_PROTECT({
    auto &query = ref(q);
    int64_t heads = query.size(1);
    TORCH_CHECK(starts[samples] == query.size(0), "the samples end at ", starts[samples], " of ", query.size(0), " positions");
    if (query.is_cuda() && query.scalar_type() != at::kFloat) {
      *out = own(attend_packed(query, ref(k), ref(v), starts, samples, causal != 0));
    } else {
      auto key = repeat_heads(ref(k), heads), value = repeat_heads(ref(v), heads);
      if (equal_lengths(starts, samples)) {
        *out = own(attend_batched(query, key, value, samples, causal != 0));
      } else {
        std::vector<int64_t> lengths;
        for (int i = 0; i < samples; i++) {
          lengths.push_back(starts[i + 1] - starts[i]);
        }
        // split, not narrow: its backward joins the samples' gradients once, where each narrow's would fill a whole buffer
        auto qs = query.split_with_sizes(lengths), ks = key.split_with_sizes(lengths), vs = value.split_with_sizes(lengths);
        std::vector<at::Tensor> parts;
        for (size_t i = 0; i < lengths.size(); i++) {
          parts.push_back(attend(qs[i], ks[i], vs[i], causal != 0));
        }
        *out = own(at::cat(parts, 0));
      }
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

// Pixels to floats by table: table [3,256] holds the normalised value of each level of each channel. [n,3,S,S] u8 -> [n,3,S,S].
char *lt_normalize(lt_tensor pixels, lt_tensor table, int dtype, lt_tensor *out) {
  LT_PROTECT({
    auto &levels = ref(pixels);
    auto index = levels.to(at::kInt) + at::arange(3, levels.options().dtype(at::kInt)).mul(256).view({1, 3, 1, 1});
    auto values = ref(table).view({-1}).index_select(0, index.view({-1}));
    *out = own(values.view(levels.sizes()).to(static_cast<at::ScalarType>(dtype)));
  })
}

// Parts of the last dimension. One operation, not a narrow for each part: its backward joins their gradients once.
char *lt_split(lt_tensor x, const int64_t *sizes, int parts, lt_tensor *out) {
  LT_PROTECT({
    auto split = ref(x).split_with_sizes(at::IntArrayRef(sizes, parts), -1);
    for (int i = 0; i < parts; i++) {
      out[i] = own(split[i]);
    }
  })
}

// The patches of a ViT as rows, so that its convolution is a matrix product. [n,3,S,S] -> [n*(S/p)^2, 3*p*p]
char *lt_patches(lt_tensor pixels, int64_t patch, lt_tensor *out) {
  LT_PROTECT({
    auto &x = ref(pixels);
    int64_t n = x.size(0), channels = x.size(1), side = x.size(2) / patch;
    auto cut = x.narrow(2, 0, side * patch).narrow(3, 0, side * patch);
    auto grid = cut.reshape({n, channels, side, patch, side, patch}).permute({0, 2, 4, 1, 3, 5});
    *out = own(grid.reshape({n * side * side, channels * patch * patch}));
  })
}

namespace {

constexpr int64_t kSlice = 1LL << 24;  // elements widened at a time

// Sum of cross-entropies of hidden x weight^T against labels, in chunks of rows, so that no [N,V] tensor ever exists. The gradients
// are made with the loss, while a chunk's logits are at hand, and scaled when backward asks for them.
struct ChunkedCrossEntropy : torch::autograd::Function<ChunkedCrossEntropy> {
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext *context, const at::Tensor &hidden, const at::Tensor &weight,
                                                const at::Tensor &labels, int64_t chunk) {
    at::AutoDispatchBelowAutograd below;
    bool hidden_grad = hidden.requires_grad(), weight_grad = weight.requires_grad();
    auto d_hidden = hidden_grad ? at::empty_like(hidden) : at::Tensor();
    auto d_weight = weight_grad ? at::zeros_like(weight) : at::Tensor();
    auto each = at::empty({hidden.size(0)}, hidden.options().dtype(at::kFloat));
    for (int64_t first = 0; first < hidden.size(0); first += chunk) {
      int64_t rows = std::min(chunk, hidden.size(0) - first);
      auto h = hidden.narrow(0, first, rows);                                                // [r,D]
      auto target = labels.narrow(0, first, rows).unsqueeze(1);                              // [r,1]
      auto log_p = at::log_softmax(at::matmul(h, weight.t()).to(at::kFloat), -1);            // [r,V]
      each.narrow(0, first, rows).copy_(log_p.gather(1, target).squeeze(1).neg());
      if (hidden_grad || weight_grad) {
        auto d_logits = log_p.exp_();                                                        // softmax - onehot [r,V]
        auto flat = target.squeeze(1) + at::arange(rows, target.options()) * d_logits.size(1);  // one dimension: deterministic on CUDA
        d_logits.view({-1}).scatter_add_(0, flat, at::full({rows}, -1, d_logits.options()));
        auto narrow = d_logits.to(hidden.scalar_type());
        if (hidden_grad) {
          auto slice = d_hidden.narrow(0, first, rows);
          at::matmul_out(slice, narrow, weight);
        }
        if (weight_grad) {
          d_weight.addmm_(narrow.t(), h);
        }
      }
    }
    context->saved_data["d_hidden"] = d_hidden;
    context->saved_data["d_weight"] = d_weight;
    context->mark_non_differentiable({each});
    return {each.sum(at::kDouble).to(at::kFloat), each};
  }

  // d [rows,columns] times an fp32 factor, in fp32 a slice at a time: a bf16 factor would put up to 0.4% on every gradient.
  static at::Tensor times(at::Tensor d, const at::Tensor &factor) {
    if (d.scalar_type() == factor.scalar_type()) {
      return d.mul_(factor);
    }
    int64_t rows = std::max<int64_t>(1, kSlice / d.size(1));
    for (int64_t first = 0; first < d.size(0); first += rows) {
      auto slice = d.narrow(0, first, std::min(rows, d.size(0) - first));
      slice.copy_(slice.to(factor.scalar_type()).mul_(factor));
    }
    return d;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext *context, torch::autograd::variable_list grads) {
    auto scaled = [&](const char *name) {
      auto value = context->saved_data[name];
      auto d = value.isTensor() ? value.toTensor() : at::Tensor();
      return d.defined() ? times(d, grads[0]) : d;
    };
    return {scaled("d_hidden"), scaled("d_weight"), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

char *lt_cross_entropy(lt_tensor hidden, lt_tensor weight, lt_tensor labels, int64_t chunk, lt_tensor *sum, lt_tensor *each) {
  LT_PROTECT({
    auto result = ChunkedCrossEntropy::apply(ref(hidden), ref(weight), ref(labels), chunk);
    *sum = own(result[0]);
    *each = own(result[1]);
  })
}
