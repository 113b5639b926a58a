// Attention within concatenated samples, forward and backward without a graph.
#pragma once
#include "shim_internal.h"

namespace lt {

struct Samples {
  std::vector<int64_t> starts;        // [n+1] borders
  bool causal;                        // a position sees only itself and those before it
  // [n+1] borders of the rows of q, which are each sample's last positions; empty: all of them
  std::vector<int64_t> queries = {};
  // [n] where in k and v each sample's positions begin, with gaps between them; empty: at its border
  std::vector<int64_t> places = {};

  int64_t count() const { return static_cast<int64_t>(starts.size()) - 1; }
  int64_t length(int64_t i) const { return starts[i + 1] - starts[i]; }
  const std::vector<int64_t> &query_borders() const { return queries.empty() ? starts : queries; }
  int64_t query_count(int64_t i) const { return query_borders()[i + 1] - query_borders()[i]; }
  int64_t first_query(int64_t i) const { return starts[i + 1] - query_count(i); }  // its position
  int64_t place(int64_t i) const { return places.empty() ? starts[i] : places[i]; }
  void check(const at::Tensor &q, const at::Tensor &k) const;
};

// What backward needs from the forward pass besides its operands.
struct Attended {
  at::Tensor out;            // [M,H,d]
  at::Tensor log_sums;       // [H,M] fp32: of each query's exponentials
  at::Tensor state, unused;  // of the generator, as flash attention returns them; undefined on the CPU
};

// Whether flash attention over packed samples takes q: 16 bit on a GPU.
inline bool flash_fits(const at::Tensor &q) {
  return fused() && q.is_cuda() && (q.scalar_type() == at::kBFloat16 || q.scalar_type() == at::kHalf);
}

// Whether there is a kernel for q: ours on the CPU in fp32, flash attention on a GPU in 16 bit.
bool attention_fits(const at::Tensor &q);

// q [M,H,d], M being T if each position has a query; k, v [T,G,d] with G a divisor of H; the rows of each may be
// strided, as parts of wider ones.
Attended attention_forward(const at::Tensor &q, const at::Tensor &k, const at::Tensor &v, const Samples &samples);

struct AttentionGradients {
  at::Tensor q, k, v;
};

// The gradients of q, k and v: in `room`, tensors of their shapes whose rows may be strided, or in tensors that the
// kernel allocates itself.
AttentionGradients attention_backward(const at::Tensor &q, const at::Tensor &k, const at::Tensor &v, const Attended &a,
                                      const at::Tensor &dout, const Samples &samples, const AttentionGradients &room);

// attention_cpu.cpp
Attended cpu_attention_forward(const at::Tensor &q, const at::Tensor &k, const at::Tensor &v, const Samples &samples);
void cpu_attention_backward(const at::Tensor &q, const at::Tensor &k, const at::Tensor &v, const Attended &a,
                            const at::Tensor &dout, const Samples &samples, const AttentionGradients &out);

// extents.cpp: attention of each sample's last positions to all its positions so far, which lie anywhere in k and v
// (samples.places); a position sees at most the last `window` ones, itself included, 0 being no limit.
at::Tensor extents_attention(const at::Tensor &q, const at::Tensor &k, const at::Tensor &v, const Samples &samples,
                             int64_t window);

}  // namespace lt
