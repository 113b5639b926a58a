// Rotary positions (Su et al. 2021, in the half-split layout of transformers' Llama): y = x*cos + rotate_half(x)*sin
// for each head.
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include "device.h"
#include "layer_ops.h"
#include "simd.h"

namespace {

// Each head of each row; y may be x. back is the transpose.
LT_SIMD void rotate_rows(const float *x, int64_t x_row, const float *cos, const float *sin, float *y, int64_t y_row,
                         int64_t rows, int64_t heads, int64_t dim, bool back) {
  const int64_t half = dim / 2, low = back ? half : 0, high = half - low;
  const float turn = back ? -1.0f : 1.0f;
  for (int64_t r = 0; r < rows; r++, cos += dim, sin += dim) {
    for (int64_t h = 0; h < heads; h++) {
      const float *in = x + r * x_row + h * dim;
      float *out = y + r * y_row + h * dim;
      int64_t i = 0;
      for (; i + lt::kLanes <= half; i += lt::kLanes) {
        auto a = lt::load(in + i), b = lt::load(in + half + i);
        lt::store(out + i, a * lt::load(cos + i) - b * lt::load(sin + low + i) * turn);
        lt::store(out + half + i, b * lt::load(cos + half + i) + a * lt::load(sin + high + i) * turn);
      }
      for (; i < half; i++) {
        float a = in[i], b = in[half + i];
        out[i] = a * cos[i] - b * sin[low + i] * turn;
        out[half + i] = b * cos[half + i] + a * sin[high + i] * turn;
      }
    }
  }
}

void rotate_into(const at::Tensor &x, const at::Tensor &cos, const at::Tensor &sin, at::Tensor y, bool back) {
  RECORD_FUNCTION(back ? "llavatrain::rotary_backward" : "llavatrain::rotary", {});
  if (lt::device::ready(lt::device::kRotary, {x, cos, sin, y})) {
    lt::device::rotate(x, cos, sin, y, back);
    return;
  }
  int64_t heads = x.size(1), dim = x.size(2), x_row = x.stride(0), y_row = y.stride(0);
  auto *in = x.const_data_ptr<float>(), *c = cos.const_data_ptr<float>(), *s = sin.const_data_ptr<float>();
  auto *out = y.data_ptr<float>();
  at::parallel_for(0, x.size(0), lt::grain(heads * dim), [&](int64_t begin, int64_t end) {
    rotate_rows(in + begin * x_row, x_row, c + begin * dim, s + begin * dim, out + begin * y_row, y_row, end - begin,
                heads, dim, back);
  });
}

bool ours(const at::Tensor &x, const at::Tensor &cos) {
  return lt::device::ready(lt::device::kRotary, {x, cos}) || lt::cpu_fits(x);
}

at::Tensor plain_rotary(const at::Tensor &x, const at::Tensor &cos, const at::Tensor &sin) {
  auto halves = x.chunk(2, -1);
  auto turned = at::cat({-halves[1], halves[0]}, -1);
  return x * cos + turned * sin;
}

// The transpose of plain_rotary.
at::Tensor plain_back(const at::Tensor &grad, const at::Tensor &cos, const at::Tensor &sin) {
  auto halves = (grad * sin).chunk(2, -1);
  return grad * cos + at::cat({halves[1], -halves[0]}, -1);
}

// The tables are constants: no gradient reaches them.
struct Rotary : torch::autograd::Function<Rotary> {
  static at::Tensor turn(const at::Tensor &x, const at::Tensor &cos, const at::Tensor &sin, bool back) {
    auto y = at::empty(x.sizes(), x.options());
    rotate_into(lt::with_heads_together(x), cos, sin, y, back);
    return y;
  }

  static at::Tensor forward(torch::autograd::AutogradContext *context, const at::Tensor &x, const at::Tensor &cos,
                            const at::Tensor &sin) {
    at::AutoDispatchBelowAutograd below;
    auto each = {x.size(0), int64_t{1}, x.size(2)};
    TORCH_CHECK(cos.sizes() == each && sin.sizes() == each, "rotary tables ", cos.sizes(), " and ", sin.sizes(),
                " for positions ", x.sizes());
    auto c = cos.contiguous(), s = sin.contiguous();
    context->save_for_backward({c, s});
    return turn(x, c, s, false);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext *context,
                                                 torch::autograd::variable_list grads) {
    auto saved = context->get_saved_variables();
    return {turn(grads[0], saved[0], saved[1], true), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

void lt::rotate(const at::Tensor &x, const at::Tensor &cos, const at::Tensor &sin, at::Tensor y, bool back) {
  if (ours(x, cos) && heads_together(x) && heads_together(y)) {
    rotate_into(x, cos, sin, y, back);
  } else {
    y.copy_(back ? plain_back(x, cos, sin) : plain_rotary(x, cos, sin));
  }
}

// x [T,H,d], cos and sin [T,1,d].
char *lt_rotary(lt_tensor x, lt_tensor cos, lt_tensor sin, lt_tensor *out) {
  LT_PROTECT(*out = own(ours(ref(x), ref(cos)) ? Rotary::apply(ref(x), ref(cos), ref(sin))
                                               : plain_rotary(ref(x), ref(cos), ref(sin))))
}
