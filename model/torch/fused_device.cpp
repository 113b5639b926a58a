// The host's side of the kernels of a layer: memory, grids, what backward needs. kernels_layer.cu has the arithmetic.
#include <torch/csrc/autograd/custom_function.h>

#include "device.h"

namespace lt {
namespace device {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

const void *address(const at::Tensor &x) { return x.defined() ? x.const_data_ptr() : nullptr; }

std::string named(const char *operation, const at::Tensor &x) { return std::string(operation) + (x.scalar_type() == at::kFloat ? "_float" : "_bf16"); }

int64_t blocks_for(int64_t work, int64_t of_block) { return (work + of_block - 1) / of_block; }

// Whether runs of `run` elements that begin at these tensors' first can be loaded 16 bytes at a time. With it, a thread has several
// elements.
int wide(int64_t run, std::initializer_list<at::Tensor> tensors) {
  for (auto &t : tensors) {
    if (t.defined() && (reinterpret_cast<uintptr_t>(t.const_data_ptr()) % 16 || run * t.element_size() % 16)) {
      return 0;
    }
  }
  return 1;
}

// Blocks for n elements or pairs, one or 16 bytes of them a thread.
int64_t element_blocks(int64_t n, int wide, const at::Tensor &x) { return blocks_for(n, kThreads * (wide ? 16 / x.element_size() : 1)); }

// ---- RMSNorm ----

int64_t rows_of_block(int64_t size) { return size <= kShortRow ? kThreads / kWarp : 1; }

constexpr int64_t kRowsEach = 16;  // rows that a group adds into one partial sum of the weight's gradient

// inverse [rows] fp32; sum, where y is defined.
void normalize(const at::Tensor &x, const at::Tensor &y, const at::Tensor &weight, double eps, at::Tensor sum, at::Tensor out, at::Tensor inverse) {
  int64_t size = x.size(-1), rows = x.numel() / size;
  TORCH_CHECK(weight.numel() == size && weight.is_contiguous(), "weight ", weight.sizes(), " for rows of ", size);
  run(named("rms_norm", x), blocks_for(rows, rows_of_block(size)), address(x), address(y), address(weight), sum.defined() ? sum.data_ptr() : nullptr,
      out.data_ptr(), inverse.data_ptr(), static_cast<long long>(rows), static_cast<int>(size), static_cast<float>(eps), wide(size, {x, y, weight}));
}

// Gradients of h and of the weight, the latter only where it is wanted.
std::tuple<at::Tensor, at::Tensor> normalize_backward(const at::Tensor &h, const at::Tensor &weight, const at::Tensor &inverse, const at::Tensor &grad,
                                                      const at::Tensor &grad_sum, bool weight_wanted) {
  int64_t size = h.size(-1), rows = h.numel() / size, each = weight_wanted ? kRowsEach : 1, groups = blocks_for(rows, each);
  auto dx = at::empty_like(h);
  auto partial = weight_wanted ? at::empty({groups, size}, inverse.options()) : at::Tensor();
  run(named("rms_norm_backward", h), blocks_for(groups, rows_of_block(size)), address(h), address(weight), address(inverse), address(grad),
      address(grad_sum), dx.data_ptr(), partial.defined() ? partial.data_ptr() : nullptr, static_cast<long long>(rows), static_cast<int>(size),
      static_cast<int>(each), wide(size, {h, weight, grad, grad_sum}));
  return {dx, weight_wanted ? partial.sum(0).to(weight.scalar_type()) : at::Tensor()};
}

struct RMSNorm : torch::autograd::Function<RMSNorm> {
  static at::Tensor forward(AutogradContext *context, const at::Tensor &input, const at::Tensor &weight, double eps) {
    at::AutoDispatchBelowAutograd below;
    auto x = input.contiguous(), out = at::empty_like(x);
    auto inverse = at::empty({x.numel() / x.size(-1)}, x.options().dtype(at::kFloat));
    normalize(x, {}, weight, eps, {}, out, inverse);
    context->save_for_backward({x, weight, inverse});
    return out;
  }

  static variable_list backward(AutogradContext *context, variable_list grads) {
    auto saved = context->get_saved_variables();
    auto [dx, dw] = normalize_backward(saved[0], saved[1], saved[2], grads[0].contiguous(), {}, context->needs_input_grad(1));
    return {dx, dw, at::Tensor()};
  }
};

// Both results may be used further on, or one of them; a gradient that does not come is undefined.
struct AddRMSNorm : torch::autograd::Function<AddRMSNorm> {
  static variable_list forward(AutogradContext *context, const at::Tensor &x, const at::Tensor &y, const at::Tensor &weight, double eps) {
    at::AutoDispatchBelowAutograd below;
    TORCH_CHECK(x.sizes() == y.sizes(), "x ", x.sizes(), " and y ", y.sizes());
    auto a = x.contiguous(), b = y.contiguous(), sum = at::empty_like(a), out = at::empty_like(a);
    auto inverse = at::empty({a.numel() / a.size(-1)}, a.options().dtype(at::kFloat));
    normalize(a, b, weight, eps, sum, out, inverse);
    context->save_for_backward({sum, weight, inverse});
    context->set_materialize_grads(false);
    if (!x.requires_grad() && !y.requires_grad()) {
      context->mark_non_differentiable({sum});
    }
    return {sum, out};
  }

  static variable_list backward(AutogradContext *context, variable_list grads) {
    auto saved = context->get_saved_variables();
    if (!grads[1].defined()) {
      return {grads[0], grads[0], at::Tensor(), at::Tensor()};
    }
    auto grad_sum = grads[0].defined() ? grads[0].contiguous() : at::Tensor();
    auto [dx, dw] = normalize_backward(saved[0], saved[1], saved[2], grads[1].contiguous(), grad_sum, context->needs_input_grad(2));
    return {dx, dx, dw, at::Tensor()};
  }
};

// ---- Rotary positions ----

at::Tensor rotate(const at::Tensor &x, const at::Tensor &cos, const at::Tensor &sin, bool back) {
  auto y = at::empty_like(x);
  int64_t half = x.size(2) / 2, pairs = x.numel() / 2;
  int sixteen = wide(half, {x, cos, sin});
  run(named("rotary", x), element_blocks(pairs, sixteen, x), address(x), address(cos), address(sin), y.data_ptr(), static_cast<long long>(pairs),
      static_cast<int>(x.size(1)), static_cast<int>(half), static_cast<int>(back), sixteen);
  return y;
}

// The tables are constants: no gradient reaches them.
struct Rotary : torch::autograd::Function<Rotary> {
  static at::Tensor forward(AutogradContext *context, const at::Tensor &x, const at::Tensor &cos, const at::Tensor &sin) {
    at::AutoDispatchBelowAutograd below;
    auto each = {x.size(0), int64_t{1}, x.size(2)};
    TORCH_CHECK(cos.sizes() == each && sin.sizes() == each, "rotary tables ", cos.sizes(), " and ", sin.sizes(), " for positions ", x.sizes());
    auto c = cos.contiguous(), s = sin.contiguous();
    context->save_for_backward({c, s});
    return rotate(x.contiguous(), c, s, false);
  }

  static variable_list backward(AutogradContext *context, variable_list grads) {
    auto saved = context->get_saved_variables();
    return {rotate(grads[0].contiguous(), saved[0], saved[1], true), at::Tensor(), at::Tensor()};
  }
};

// ---- SwiGLU and quick GELU ----

struct SwiGLU : torch::autograd::Function<SwiGLU> {
  static at::Tensor forward(AutogradContext *context, const at::Tensor &gate_, const at::Tensor &up_) {
    at::AutoDispatchBelowAutograd below;
    TORCH_CHECK(gate_.sizes() == up_.sizes(), "gate ", gate_.sizes(), " must match the size of up ", up_.sizes());
    auto gate = gate_.contiguous(), up = up_.contiguous(), y = at::empty_like(gate);
    int sixteen = wide(y.numel(), {gate, up});
    run(named("swiglu", y), element_blocks(y.numel(), sixteen, y), address(gate), address(up), y.data_ptr(), static_cast<long long>(y.numel()), sixteen);
    context->save_for_backward({gate, up});
    return y;
  }

  static variable_list backward(AutogradContext *context, variable_list grads) {
    auto saved = context->get_saved_variables();
    auto &gate = saved[0], &up = saved[1];
    auto grad = grads[0].contiguous(), d_gate = at::empty_like(gate), d_up = at::empty_like(up);
    int sixteen = wide(grad.numel(), {gate, up, grad});
    run(named("swiglu_backward", grad), element_blocks(grad.numel(), sixteen, grad), address(gate), address(up), address(grad), d_gate.data_ptr(),
        d_up.data_ptr(), static_cast<long long>(grad.numel()), sixteen);
    return {d_gate, d_up};
  }
};

struct QuickGelu : torch::autograd::Function<QuickGelu> {
  static at::Tensor forward(AutogradContext *context, const at::Tensor &input) {
    at::AutoDispatchBelowAutograd below;
    auto x = input.contiguous(), y = at::empty_like(x);
    int sixteen = wide(x.numel(), {x});
    run(named("quick_gelu", x), element_blocks(x.numel(), sixteen, x), address(x), y.data_ptr(), static_cast<long long>(x.numel()), sixteen);
    context->save_for_backward({x});
    return y;
  }

  static variable_list backward(AutogradContext *context, variable_list grads) {
    auto x = context->get_saved_variables()[0];
    auto grad = grads[0].contiguous(), dx = at::empty_like(x);
    int sixteen = wide(x.numel(), {x, grad});
    run(named("quick_gelu_backward", x), element_blocks(x.numel(), sixteen, x), address(x), address(grad), dx.data_ptr(),
        static_cast<long long>(x.numel()), sixteen);
    return {dx};
  }
};

}  // namespace

bool rms_norm_ready(const at::Tensor &x, const at::Tensor &weight) { return ready(kRMSNorm, {x, weight}) && x.size(-1) <= kLongRow; }

at::Tensor rms_norm(const at::Tensor &x, const at::Tensor &weight, double eps) { return RMSNorm::apply(x, weight, eps); }

std::tuple<at::Tensor, at::Tensor> add_rms_norm(const at::Tensor &x, const at::Tensor &y, const at::Tensor &weight, double eps) {
  auto both = AddRMSNorm::apply(x, y, weight, eps);
  return {both[0], both[1]};
}

at::Tensor rotary(const at::Tensor &x, const at::Tensor &cos, const at::Tensor &sin) { return Rotary::apply(x, cos, sin); }

at::Tensor swiglu(const at::Tensor &gate, const at::Tensor &up) { return SwiGLU::apply(gate, up); }

at::Tensor quick_gelu(const at::Tensor &x) { return QuickGelu::apply(x); }

void cross_entropy(at::Tensor logits, const at::Tensor &labels, at::Tensor each, bool gradient) {
  int64_t rows = logits.size(0), classes = logits.size(1);
  TORCH_CHECK(logits.is_contiguous() && labels.is_contiguous() && each.is_contiguous() && labels.scalar_type() == at::kLong && labels.numel() == rows &&
                  each.scalar_type() == at::kFloat && each.numel() == rows,
              "logits ", logits.sizes(), ", labels ", labels.sizes(), ", losses ", each.sizes());
  run(named("cross_entropy", logits), rows, logits.data_ptr(), address(labels), each.data_ptr(), static_cast<int>(classes), static_cast<int>(gradient),
      wide(classes, {logits}));
}

}  // namespace device
}  // namespace lt
