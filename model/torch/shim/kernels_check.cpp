// Each operation's kernels against libtorch's operations, on small tensors, before a GPU's kernels are trusted.
#include <functional>
#include <vector>

#include "device.h"

namespace {

using Tensors = std::vector<at::Tensor>;

// Multiples of 1/64 in [-2,2), exact in every dtype: a function of the seed, the same on every device.
at::Tensor numbers(at::IntArrayRef shape, int64_t seed, at::ScalarType dtype, at::Device device) {
  auto i = at::arange(c10::multiply_integers(shape), at::kLong);
  return ((i * 7919 + i.square() * 31 + seed * 104729) % 256 - 128)
      .to(at::kFloat)
      .div_(64)
      .view(shape)
      .to(device, dtype);
}

// A call of the shim, as the trainer makes it.
void call(char *message) {
  std::string text = message ? message : "";
  free(message);
  TORCH_CHECK(!message, text);
}

at::Tensor take(lt_tensor t) {
  at::Tensor x = ref(t);
  lt_free(t);
  return x;
}

// What an operation computes: results and, after them, gradients of the leaves.
struct Check {
  const char *name;
  std::function<Tensors(at::ScalarType, at::Device)> run;
};

// Results, and the gradients that their backward leaves in the leaves.
Tensors with_gradients(const Tensors &results, const Tensors &leaves) {
  at::AutoGradMode grad(true);
  auto loss = at::zeros({}, leaves[0].options().dtype(at::kFloat));
  int64_t seed = 90;
  for (auto &y : results) {
    loss = loss + (y.to(at::kFloat) * numbers(y.sizes(), seed++, at::kFloat, y.device())).sum();
  }
  loss.backward();
  auto all = results;
  for (auto &x : leaves) {
    all.push_back(x.grad());
  }
  return all;
}

void append(Tensors *all, const Tensors &more) { all->insert(all->end(), more.begin(), more.end()); }

at::Tensor leaf(at::IntArrayRef shape, int64_t seed, at::ScalarType dtype, at::Device device) {
  return numbers(shape, seed, dtype, device).requires_grad_();
}

Tensors check_norm(at::ScalarType dtype, at::Device device) {
  Tensors all;
  // sizes whose row takes a warp or a block, with loads of 16 bytes or of one value
  for (int64_t size : {7, 128, 1032, 1031}) {
    auto x = leaf({37, size}, 1, dtype, device), y = leaf({37, size}, 2, dtype, device),
         weight = leaf({size}, 3, dtype, device);
    lt_tensor sum, both, normed;
    call(lt_add_rms_norm(&x, &y, &weight, 1e-5, &sum, &both));
    call(lt_rms_norm(&x, &weight, 1e-5, &normed));
    append(&all, with_gradients({take(sum), take(both), take(normed)}, {x, y, weight}));
  }
  return all;
}

Tensors check_rotary(at::ScalarType dtype, at::Device device) {
  Tensors all;
  for (int64_t dim : {128, 6}) {
    auto x = leaf({5, 3, dim}, 1, dtype, device), cos = numbers({5, 1, dim}, 2, dtype, device),
         sin = numbers({5, 1, dim}, 3, dtype, device);
    lt_tensor out;
    call(lt_rotary(&x, &cos, &sin, &out));
    append(&all, with_gradients({take(out)}, {x}));
  }
  return all;
}

Tensors check_swiglu(at::ScalarType dtype, at::Device device) {
  Tensors all;
  for (int64_t n : {4096, 1001}) {
    auto gate = leaf({n}, 1, dtype, device), up = leaf({n}, 2, dtype, device);
    lt_tensor out;
    call(lt_swiglu(&gate, &up, &out));
    append(&all, with_gradients({take(out)}, {gate, up}));
  }
  return all;
}

Tensors check_quick_gelu(at::ScalarType dtype, at::Device device) {
  Tensors all;
  for (int64_t n : {4096, 1001}) {
    auto x = leaf({n}, 1, dtype, device);
    lt_tensor out;
    call(lt_quick_gelu(&x, &out));
    append(&all, with_gradients({take(out)}, {x}));
  }
  return all;
}

Tensors check_cross_entropy(at::ScalarType dtype, at::Device device) {
  Tensors all;
  for (int64_t classes : {1000, 333}) {
    auto hidden = leaf({21, 16}, 1, dtype, device), weight = leaf({classes, 16}, 2, dtype, device);
    auto labels = (at::arange(21, at::kLong) * 71 % classes).to(device);
    lt_tensor sum, each;
    call(lt_cross_entropy(&hidden, &weight, &labels, 8, &sum, &each));
    auto total = take(sum);
    auto terms = take(each);
    total.backward();
    for (auto &t : {total.detach(), terms, hidden.grad(), weight.grad()}) {
      all.push_back(t);
    }
  }
  return all;
}

Tensors check_adamw(at::ScalarType dtype, at::Device device) {
  Tensors all;
  for (auto moments : {at::kFloat, at::kBFloat16}) {
    const int64_t n = 70001;
    auto param = numbers({n}, 1, dtype, device), grad = numbers({n}, 2, dtype, device),
         rest = numbers({n}, 5, at::kFloat, device).mul_(64).to(at::kShort);
    auto m = numbers({n}, 3, moments, device), v = numbers({n}, 4, moments, device).abs(),
         total = at::zeros({1}, grad.options().dtype(at::kDouble));
    call(lt_sum_squares_into(&grad, &total));
    call(lt_adamw(&param, dtype == at::kFloat ? nullptr : &rest, &grad, &m, &v, &total, 1e-2, 0.9, 0.999, 1e-8, 0.1,
                  1.0, 3, 5, 0));
    for (auto &t : {param, rest.to(at::kFloat).sum(), m, v, grad, total}) {
      all.push_back(t);
    }
  }
  return all;
}

const Check checks[lt::device::kOperations] = {
    {"RMSNorm", check_norm},          {"rotary positions", check_rotary},     {"SwiGLU", check_swiglu},
    {"quick GELU", check_quick_gelu}, {"cross-entropy", check_cross_entropy}, {"AdamW", check_adamw},
};

// The largest difference of x from its reference, as a share of the largest value. More than a few roundings of the
// dtype is an error.
double distance(const at::Tensor &ours, const at::Tensor &plain, const char *dtype, size_t which) {
  TORCH_CHECK(ours.sizes() == plain.sizes() && ours.scalar_type() == plain.scalar_type(), dtype, ": result ", which,
              " has another form");
  double allowed = ours.scalar_type() == at::kBFloat16 ? 1.0 / 64 : 1e-4;
  auto a = ours.detach().to(at::kDouble), b = plain.detach().to(at::kDouble);
  double scale = b.abs().max().item<double>(), worst = (a - b).abs().max().item<double>();
  // false for NaN too
  TORCH_CHECK(worst <= allowed * scale, dtype, ": result ", which, " is off by ", worst, " where the largest value is ",
              scale);
  return scale > 0 ? worst / scale : 0;
}

}  // namespace

const char *lt_operation_name(int operation) {
  return operation < lt::device::kOperations ? checks[operation].name : nullptr;
}

// Runs an operation by its kernels and by libtorch's operations; a difference is an error. worst is the largest, in
// fp32 and in bf16.
char *lt_check_operation(int operation, int device, double worst[2]) {
  worst[0] = worst[1] = 0;
  int before = lt_set_fused(1);
  char *message = [&]() -> char * {
    LT_PROTECT({
      for (auto dtype : {at::kFloat, at::kBFloat16}) {
        const char *name = dtype == at::kFloat ? "fp32" : "bf16";
        auto &most = worst[dtype == at::kBFloat16];
        lt_set_fused(1);
        auto ours = checks[operation].run(dtype, device_of(device));
        lt_set_fused(0);
        auto plain = checks[operation].run(dtype, device_of(device));
        for (size_t i = 0; i < ours.size(); i++) {
          most = std::max(most, distance(ours[i], plain[i], name, i));
        }
      }
    })
  }();
  lt_set_fused(before);
  return message;
}
