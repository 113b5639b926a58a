// Cross-entropy of a head's logits, which never exist all at once.
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>

#include "device.h"
#include "layer_ops.h"
#include "products.h"
#include "simd.h"

namespace {

constexpr int64_t kSlice = 1LL << 24;  // elements converted to fp32 at a time

// Each row's -log softmax(logits)[target] into each [r]; with gradient, softmax - onehot. logits [r,V], target [r,1] ->
// [r,V].
at::Tensor plain_entropy(at::Tensor logits, const at::Tensor &target, at::Tensor each, bool gradient) {
  auto dtype = logits.scalar_type();
  auto log_p = at::log_softmax(logits.to(at::kFloat), -1);  // [r,V]
  logits.reset();
  each.copy_(log_p.gather(1, target).squeeze(1).neg());
  if (!gradient) {
    return log_p;
  }
  // softmax - onehot [r,V]
  auto d_logits = log_p.exp_();
  // one dimension: deterministic on CUDA
  auto flat = target.squeeze(1) + at::arange(target.size(0), target.options()) * d_logits.size(1);
  d_logits.view({-1}).scatter_add_(0, flat, at::full({target.size(0)}, -1, d_logits.options()));
  return d_logits.to(dtype);
}

constexpr int64_t kRun = 64 * lt::kLanes;  // values that are summed in fp32; these sums are then added in fp64

// Turns x into e^(x - most), if that is to be kept, and returns their sum.
LT_SIMD double exponentials(float *x, int64_t n, float most, bool keep) {
  double total = 0;
  for (int64_t first = 0; first < n; first += kRun) {
    int64_t i = first, end = std::min(n, first + kRun);
    lt::vec sum = {};
    for (; i + lt::kLanes <= end; i += lt::kLanes) {
      auto e = lt::exp(lt::load(x + i) - most);
      sum += e;
      if (keep) {
        lt::store(x + i, e);
      }
    }
    total += lt::sum(sum);
    if (i < end) {
      auto e = lt::exp(lt::load_part(x + i, end - i) - most);
      for (int64_t k = 0; k < end - i; k++) {
        total += e[k];
      }
      if (keep) {
        lt::store_part(x + i, e, end - i);
      }
    }
  }
  return total;
}

LT_SIMD float largest_of(const float *x, int64_t n) { return lt::largest(x, n); }

LT_SIMD void multiply(float *x, int64_t n, float by) {
  int64_t i = 0;
  for (; i + lt::kLanes <= n; i += lt::kLanes) {
    lt::store(x + i, lt::load(x + i) * by);
  }
  for (; i < n; i++) {
    x[i] *= by;
  }
}

// A row stays in the cache from its first value to its gradient.
void entropy_cpu(at::Tensor logits, const at::Tensor &target, at::Tensor each, bool gradient) {
  int64_t classes = logits.size(1);
  auto *x = logits.data_ptr<float>(), *out = each.data_ptr<float>();
  auto *labels = target.const_data_ptr<int64_t>();
  at::parallel_for(0, logits.size(0), lt::grain(classes), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; r++) {
      float *row = x + r * classes;
      TORCH_CHECK(labels[r] >= 0 && labels[r] < classes, "label ", labels[r], " is out of bounds: there are ", classes,
                  " classes");
      float most = largest_of(row, classes), own = row[labels[r]] - most;
      double sum = exponentials(row, classes, most, gradient);
      out[r] = static_cast<float>(std::log(sum)) - own;
      if (gradient) {
        multiply(row, classes, static_cast<float>(1 / sum));
        row[labels[r]] -= 1;
      }
    }
  });
}

// The same, by our own kernel if there is one: the logits' memory becomes the gradient's.
at::Tensor entropy(at::Tensor logits, const at::Tensor &target, at::Tensor each, bool gradient) {
  auto labels = target.squeeze(1);
  if (lt::device::ready(lt::device::kCrossEntropy, {logits})) {
    lt::device::cross_entropy(logits, labels, each, gradient);
  } else if (lt::cpu_fits(logits) && logits.is_contiguous() && labels.is_contiguous() &&
             labels.scalar_type() == at::kLong) {
    entropy_cpu(logits, labels, each, gradient);
  } else {
    return plain_entropy(std::move(logits), target, each, gradient);
  }
  return logits;
}

// Sum of cross-entropies of hidden x weight^T against labels, in chunks of rows, so that no [N,V] tensor ever exists.
// The gradients are made with the loss, while a chunk's logits exist, and scaled when backward asks for them.
struct ChunkedCrossEntropy : torch::autograd::Function<ChunkedCrossEntropy> {
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext *context, const at::Tensor &hidden,
                                                const at::Tensor &weight, const at::Tensor &labels, int64_t chunk) {
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
      // softmax - onehot [r,V]
      auto narrow = entropy(lt::product(h, weight), target, each.narrow(0, first, rows), hidden_grad || weight_grad);
      if (hidden_grad) {
        d_hidden.narrow(0, first, rows).copy_(lt::product_back(narrow, weight));
      }
      if (weight_grad) {
        lt::add_weight_gradient(d_weight, narrow, h);
      }
    }
    context->saved_data["d_hidden"] = d_hidden;
    context->saved_data["d_weight"] = d_weight;
    context->save_for_backward({weight});
    context->mark_non_differentiable({each});
    return {each.sum(at::kDouble).to(at::kFloat), each};
  }

  // d [rows,columns] times an fp32 factor, in fp32 a slice at a time: a bf16 factor would put up to 0.4% on every
  // gradient.
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

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext *context,
                                                 torch::autograd::variable_list grads) {
    RECORD_FUNCTION("llavatrain::cross_entropy_backward", {});
    auto made = [&](const char *name) {
      auto value = context->saved_data[name];
      return value.isTensor() ? value.toTensor() : at::Tensor();
    };
    auto d_hidden = made("d_hidden"), d_weight = made("d_weight");
    auto weight = context->get_saved_variables()[0];
    auto &collected = weight.mutable_grad();
    if (d_weight.defined() && collected.defined() && collected.scalar_type() == grads[0].scalar_type()) {
      collected.addcmul_(d_weight, grads[0]);  // in one pass
      d_weight.reset();
    }
    return {d_hidden.defined() ? times(d_hidden, grads[0]) : d_hidden,
            d_weight.defined() ? times(d_weight, grads[0]) : d_weight, at::Tensor(), at::Tensor()};
  }
};

}  // namespace

char *lt_cross_entropy(lt_tensor hidden, lt_tensor weight, lt_tensor labels, int64_t chunk, lt_tensor *sum,
                       lt_tensor *each) {
  LT_PROTECT({
    auto result = ChunkedCrossEntropy::apply(ref(hidden), ref(weight), ref(labels), chunk);
    *sum = own(result[0]);
    *each = own(result[1]);
  })
}
