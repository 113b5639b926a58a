// Products of a few rows, as generation has them: a row for each answer in progress.
#pragma once
#include "shim_internal.h"

namespace lt {

constexpr int64_t kFewRows = 32;  // more are faster by panels

// Whether our kernel takes x [M,K] and w [N,K], on a CPU: both fp32, both bf16, or x fp32 and w bf16.
bool few_rows_fit(const at::Tensor &x, const at::Tensor &w);

// x w^T + base in x's dtype, with base [N] or [M,N] or undefined -> [M,N]. Every element is
// summed in the same order, whatever M is.
at::Tensor few_rows_product(const at::Tensor &x, const at::Tensor &w, const at::Tensor &base);

// The same for any number of rows: product's, where there are more, or another device.
at::Tensor generation_product(const at::Tensor &x, const at::Tensor &w, const at::Tensor &base = {});

}  // namespace lt
