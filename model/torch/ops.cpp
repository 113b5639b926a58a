// Differentiable operations that gotch's bindings lack or get wrong. Each is the reference's formula over libtorch's own operations.
#include <torch/csrc/autograd/custom_function.h>

#include <atomic>

#include "device.h"
#include "products.h"

namespace lt {
static std::atomic<bool> use_fused{true};
bool fused() { return use_fused; }
}  // namespace lt

int lt_set_fused(int on) { return lt::use_fused.exchange(on != 0); }

char *lt_gelu(lt_tensor x, lt_tensor *out) { LT_PROTECT(*out = own(at::gelu(ref(x)))) }

char *lt_gelu_tanh(lt_tensor x, lt_tensor *out) { LT_PROTECT(*out = own(at::gelu(ref(x), "tanh"))) }

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

// Each row's -log softmax(logits)[target] into each [r]; with gradient, softmax - onehot. logits [r,V], target [r,1] -> [r,V].
at::Tensor plain_entropy(at::Tensor logits, const at::Tensor &target, at::Tensor each, bool gradient) {
  auto dtype = logits.scalar_type();
  auto log_p = at::log_softmax(logits.to(at::kFloat), -1);  // [r,V]
  logits.reset();
  each.copy_(log_p.gather(1, target).squeeze(1).neg());
  if (!gradient) {
    return log_p;
  }
  auto d_logits = log_p.exp_();                                                                     // softmax - onehot [r,V]
  auto flat = target.squeeze(1) + at::arange(target.size(0), target.options()) * d_logits.size(1);  // one dimension: deterministic on CUDA
  d_logits.view({-1}).scatter_add_(0, flat, at::full({target.size(0)}, -1, d_logits.options()));
  return d_logits.to(dtype);
}

// The same, in a kernel where there is one: the logits' memory becomes the gradient's.
at::Tensor entropy(at::Tensor logits, const at::Tensor &target, at::Tensor each, bool gradient) {
  if (!lt::device::ready(lt::device::kCrossEntropy, {logits})) {
    return plain_entropy(std::move(logits), target, each, gradient);
  }
  lt::device::cross_entropy(logits, target.squeeze(1), each, gradient);
  return logits;
}

// Sum of cross-entropies of hidden x weight^T against labels, in chunks of rows, so that no [N,V] tensor ever exists. The gradients
// are made with the loss, while a chunk's logits are at hand, and scaled when backward asks for them.
struct ChunkedCrossEntropy : torch::autograd::Function<ChunkedCrossEntropy> {
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext *context, const at::Tensor &hidden, const at::Tensor &weight,
                                                const at::Tensor &labels, int64_t chunk) {
    at::AutoDispatchBelowAutograd below;
    RECORD_FUNCTION("llavatrain::cross_entropy", {});
    bool hidden_grad = hidden.requires_grad(), weight_grad = weight.requires_grad();
    auto d_hidden = hidden_grad ? at::empty_like(hidden) : at::Tensor();
    auto d_weight = weight_grad ? at::zeros_like(weight) : at::Tensor();
    auto each = at::empty({hidden.size(0)}, hidden.options().dtype(at::kFloat));
    for (int64_t first = 0; first < hidden.size(0); first += chunk) {
      int64_t rows = std::min(chunk, hidden.size(0) - first);
      auto h = hidden.narrow(0, first, rows);                                                // [r,D]
      auto target = labels.narrow(0, first, rows).unsqueeze(1);                              // [r,1]
      auto narrow = entropy(lt::product(h, weight), target, each.narrow(0, first, rows), hidden_grad || weight_grad);  // softmax - onehot [r,V]
      if (hidden_grad || weight_grad) {
        if (hidden_grad) {
          d_hidden.narrow(0, first, rows).copy_(lt::product_back(narrow, weight));
        }
        if (weight_grad) {
          lt::add_weight_gradient(d_weight, narrow, h);
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
    RECORD_FUNCTION("llavatrain::cross_entropy_backward", {});
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
