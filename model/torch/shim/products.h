// The three matrix products of a linear layer.
#pragma once
#include "shim_internal.h"

namespace lt {

// x w^T + base. x [M,K], w [N,K]; base [N] or [M,N], or undefined -> [M,N]
at::Tensor product(const at::Tensor &x, const at::Tensor &w, const at::Tensor &base = {});

// dy w, the gradient of x. dy [M,N], w [N,K] -> [M,K]
at::Tensor product_back(const at::Tensor &dy, const at::Tensor &w);

// sum += dy^T x, the gradient of w. dy [M,N], x [M,K], sum [N,K]
void add_weight_gradient(at::Tensor sum, const at::Tensor &dy, const at::Tensor &x);

// The gradient of a weight: added to the weight's buffer if it has one, and then undefined; otherwise returned.
at::Tensor weight_gradient(const at::Tensor &w, const at::Tensor &dy, const at::Tensor &x);

}  // namespace lt
