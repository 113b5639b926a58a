// gotch v0.9.1 was generated for libtorch 2.1. Its glue refers to three functions that libtorch 2.11 no longer has in
// namespace torch; these stand in for them so that the glue compiles. Nothing here calls them: reached, they say so.
#pragma once
#if defined(__cplusplus) && !defined(LLAVATRAIN_SHIM)  // our own C++ includes only what it needs
#include <torch/torch.h>

namespace torch {

template <class... Args>
at::Tensor _cslt_sparse_mm(Args&&...) {
  TORCH_CHECK(false, "_cslt_sparse_mm is not in this libtorch");
}

template <class... Args>
std::tuple<at::Tensor, at::Tensor> _scaled_mm(Args&&...) {
  TORCH_CHECK(false, "_scaled_mm has another signature in this libtorch");
}

template <class... Args>
std::tuple<at::Tensor, at::Tensor> _scaled_mm_out(Args&&...) {
  TORCH_CHECK(false, "_scaled_mm_out has another signature in this libtorch");
}

}  // namespace torch
#endif
