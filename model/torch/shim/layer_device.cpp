// The host's side of the kernels of a layer: grids and arguments. kernels_layer.cu has the arithmetic.
#include "device.h"

namespace lt {
namespace device {

namespace {

const void *address(const at::Tensor &x) { return x.defined() ? x.const_data_ptr() : nullptr; }

int64_t blocks_for(int64_t work, int64_t of_block) { return (work + of_block - 1) / of_block; }

// Whether rows of `run` elements from the start of these tensors can be loaded 16 bytes at a time. If so, a thread has
// several elements.
int wide(int64_t run, std::initializer_list<at::Tensor> tensors) {
  for (auto &t : tensors) {
    if (t.defined() && (reinterpret_cast<uintptr_t>(t.const_data_ptr()) % 16 || run * t.element_size() % 16)) {
      return 0;
    }
  }
  return 1;
}

// Elements that a thread has.
int64_t neighbours(int wide, const at::Tensor &x) { return wide ? 16 / x.element_size() : 1; }

int64_t element_blocks(int64_t n, int wide, const at::Tensor &x) {
  return blocks_for(n, kThreads * neighbours(wide, x));
}

// Threads of a block that has one row.
int row_threads(int64_t size) { return static_cast<int>(blocks_for(blocks_for(size, kHold), kWarp) * kWarp); }

// Threads that 132 multiprocessors (of an H100) run at a time, with 64 registers each: that many share the rows if each
// sums its own.
constexpr int64_t kAtATime = 132 * 1024;

}  // namespace

bool rms_norm_ready(const at::Tensor &x, const at::Tensor &weight) {
  return ready(kRMSNorm, {x, weight}) && x.size(-1) <= kLongRow;
}

void rms_norm(const at::Tensor &x, const at::Tensor &y, const at::Tensor &weight, double eps, at::Tensor sum,
              at::Tensor out, at::Tensor inverse) {
  int64_t size = x.size(-1);
  run("rms_norm" + suffix(x), {x.numel() / size, row_threads(size)}, address(x), address(y), address(weight),
      y.defined() ? sum.data_ptr() : nullptr, out.data_ptr(), inverse.data_ptr(), static_cast<int>(size),
      static_cast<float>(eps), wide(size, {x, y, weight}));
}

void rms_norm_backward(const at::Tensor &sum, const at::Tensor &inverse, const at::Tensor &weight,
                       const at::Tensor &grad, const at::Tensor &also, at::Tensor dx, at::Tensor *dw) {
  int64_t size = sum.size(-1), rows = sum.numel() / size,
          each = dw ? std::max<int64_t>(4, blocks_for(rows, kAtATime / row_threads(size))) : 1;
  int64_t blocks = blocks_for(rows, each);
  auto partial = dw ? at::empty({blocks, size}, inverse.options()) : at::Tensor();
  run("rms_norm_backward" + suffix(sum), {blocks, row_threads(size)}, address(sum), address(weight), address(inverse),
      address(grad), address(also), dx.data_ptr(), partial.defined() ? partial.data_ptr() : nullptr,
      static_cast<long long>(rows), static_cast<int>(size), static_cast<int>(each),
      wide(size, {sum, weight, grad, also}));
  if (dw) {
    *dw = partial.sum(0).to(weight.scalar_type());
  }
}

void rotate(const at::Tensor &x, const at::Tensor &cos, const at::Tensor &sin, at::Tensor y, bool back) {
  int64_t half = x.size(2) / 2;
  int sixteen = wide(half, {x, cos, sin, y}) && wide(x.stride(0), {x}) && wide(y.stride(0), {y});
  int64_t each = element_blocks(x.size(1) * half, sixteen, x);
  run("rotary" + suffix(x), {x.size(0) * each}, address(x), address(cos), address(sin), y.data_ptr(),
      static_cast<int>(each), static_cast<int>(x.size(1)), static_cast<int>(half), static_cast<long long>(x.stride(0)),
      static_cast<long long>(y.stride(0)), static_cast<int>(back), sixteen);
}

void swiglu(const at::Tensor &gate, const at::Tensor &up, at::Tensor y) {
  int64_t columns = gate.size(1), row = gate.stride(0);
  int sixteen = wide(columns, {gate, up, y}) && wide(row, {gate});
  int64_t each = element_blocks(columns, sixteen, y);
  run("swiglu" + suffix(y), {gate.size(0) * each}, address(gate), address(up), y.data_ptr(), static_cast<int>(each),
      static_cast<long long>(columns), static_cast<long long>(row), sixteen);
}

void swiglu_backward(const at::Tensor &gate, const at::Tensor &up, const at::Tensor &grad, at::Tensor d_gate,
                     at::Tensor d_up) {
  int64_t columns = gate.size(1), row = gate.stride(0), d_row = d_gate.stride(0);
  int sixteen = wide(columns, {gate, up, grad, d_gate, d_up}) && wide(row, {gate}) && wide(d_row, {gate});
  int64_t each = element_blocks(columns, sixteen, grad);
  run("swiglu_backward" + suffix(grad), {gate.size(0) * each}, address(gate), address(up), address(grad),
      d_gate.data_ptr(), d_up.data_ptr(), static_cast<int>(each), static_cast<long long>(columns),
      static_cast<long long>(row), static_cast<long long>(d_row), sixteen);
}

void quick_gelu(const at::Tensor &x, at::Tensor y) {
  int sixteen = wide(x.numel(), {x});
  run("quick_gelu" + suffix(x), {element_blocks(x.numel(), sixteen, x)}, address(x), y.data_ptr(),
      static_cast<long long>(x.numel()), sixteen);
}

void quick_gelu_backward(const at::Tensor &x, const at::Tensor &grad, at::Tensor dx) {
  int sixteen = wide(x.numel(), {x, grad});
  run("quick_gelu_backward" + suffix(x), {element_blocks(x.numel(), sixteen, x)}, address(x), address(grad),
      dx.data_ptr(), static_cast<long long>(x.numel()), sixteen);
}

void cross_entropy(at::Tensor logits, const at::Tensor &labels, at::Tensor each, bool gradient) {
  int64_t rows = logits.size(0), classes = logits.size(1);
  TORCH_CHECK(logits.is_contiguous() && labels.is_contiguous() && each.is_contiguous() &&
                  labels.scalar_type() == at::kLong && labels.numel() == rows && each.scalar_type() == at::kFloat &&
                  each.numel() == rows,
              "logits ", logits.sizes(), ", labels ", labels.sizes(), ", losses ", each.sizes());
  run("cross_entropy" + suffix(logits), {rows}, logits.data_ptr(), address(labels), each.data_ptr(),
      static_cast<int>(classes), static_cast<int>(gradient), wide(classes, {logits}));
}

}  // namespace device
}  // namespace lt
