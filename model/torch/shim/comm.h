// Collectives of several processes: one interface for each engine.
#pragma once
#include "shim_internal.h"

namespace lt {

// A collective under way. wait makes what the calling thread does next, or its device, come after it.
struct Work {
  virtual ~Work() = default;
  virtual void wait() = 0;
};

// A group of processes. All of them make the same calls in the same order. A call queues and returns; the caller leaves
// the tensors alone until it has waited. Tensors are contiguous; in and out have one dtype.
struct Comm {
  virtual ~Comm() = default;
  virtual std::unique_ptr<Work> all_reduce(at::Tensor t) = 0;                           // t becomes the sum
  virtual std::unique_ptr<Work> broadcast(at::Tensor t, int root) = 0;                  // t becomes root's
  virtual std::unique_ptr<Work> all_gather(at::Tensor out, at::Tensor in) = 0;          // out [world * n], in [n]
  virtual std::unique_ptr<Work> reduce_scatter(at::Tensor out, at::Tensor in) = 0;      // out [n], in [world * n]
  virtual std::unique_ptr<Work> barrier() = 0;
};

}  // namespace lt
