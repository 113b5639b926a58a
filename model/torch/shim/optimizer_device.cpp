// The host's side of the optimizer's kernels (kernels_optimizer.cu). Nothing here waits for the GPU.
#include "device.h"

namespace lt {
namespace device {

// total [1] fp64.
void sum_squares(const at::Tensor &x, at::Tensor total) {
  int64_t blocks = (x.numel() + kSumBlock - 1) / kSumBlock;
  auto partial = at::empty({blocks}, total.options());
  run("sum_squares" + suffix(x), {blocks}, x.const_data_ptr(), partial.data_ptr(), static_cast<long long>(x.numel()));
  run("add_partial_sums", {1}, partial.const_data_ptr(), static_cast<long long>(blocks), total.data_ptr());
}

void adamw(at::Tensor param, const at::Tensor &remainder, at::Tensor grad, at::Tensor m, at::Tensor v,
           const at::Tensor &total, const AdamW &a) {
  run("adamw" + suffix(param) + suffix(m), {(param.numel() + kUpdateBlock - 1) / kUpdateBlock}, param.data_ptr(),
      remainder.defined() ? remainder.data_ptr() : nullptr, grad.data_ptr(), m.data_ptr(), v.data_ptr(),
      total.const_data_ptr(), static_cast<long long>(param.numel()), a);
}

}  // namespace device
}  // namespace lt
