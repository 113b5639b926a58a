// Collectives of several processes: one interface for each engine.
#pragma once
#include <signal.h>

#include "shim_internal.h"

namespace lt {

// While one lives, threads that the library starts are born with SIGPIPE blocked, for good: a write to a peer that has
// just gone is then an error. Otherwise the signal would end the process without a word, since Go passes it on where it
// arrives on a thread that is not Go's.
class NoPipeSignals {
 public:
  NoPipeSignals() {
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
  }
  ~NoPipeSignals() {
    if (!sigismember(&before_, SIGPIPE)) {
      timespec now{};
      while (sigtimedwait(&pipe_, nullptr, &now) == SIGPIPE) {  // this thread's own, which would be next
      }
      pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    }
  }
  NoPipeSignals(const NoPipeSignals &) = delete;

 private:
  sigset_t pipe_, before_;
};

// A collective under way. wait makes what the calling thread does next, or its device, come after it.
struct Work {
  virtual ~Work() = default;
  virtual void wait() = 0;
};

// A group of processes. All of them make the same calls in the same order. A call queues and returns; the caller leaves
// the tensors alone until it has waited. The callers in comm.cpp see to it that tensors are contiguous, that in and out
// have one dtype and fit, and that sums are of a dtype that has them.
struct Comm {
  virtual ~Comm() = default;
  virtual int world() const = 0;
  virtual std::unique_ptr<Work> all_reduce(at::Tensor t) = 0;                           // t becomes the sum
  virtual std::unique_ptr<Work> broadcast(at::Tensor t, int root) = 0;                  // t becomes root's
  virtual std::unique_ptr<Work> all_gather(at::Tensor out, at::Tensor in) = 0;          // out [world * n], in [n]
  virtual std::unique_ptr<Work> reduce_scatter(at::Tensor out, at::Tensor in) = 0;      // out [n], in [world * n]
  virtual std::unique_ptr<Work> barrier() = 0;
  virtual std::string async_error() { return ""; }  // of the engine's own threads; it may be asked on any thread
};

}  // namespace lt
