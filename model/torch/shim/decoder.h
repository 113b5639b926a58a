// The first half of a decoder layer where some positions have no query. decoder_late.cpp
#pragma once
#include <torch/csrc/autograd/custom_function.h>

#include "shim_internal.h"

namespace lt {

// What AttentionHalf is, for the M queries between the borders `queries`, each sample's last positions: [M,H*d], and x.
torch::autograd::variable_list late_attention_half(const at::Tensor &x, const at::Tensor &norm, const at::Tensor &weight,
                                                   const std::optional<at::Tensor> &bias, const at::Tensor &cos, const at::Tensor &sin,
                                                   const std::vector<int64_t> &starts, const std::vector<int64_t> &queries, double eps, int64_t heads,
                                                   int64_t groups, bool keep);

}  // namespace lt
