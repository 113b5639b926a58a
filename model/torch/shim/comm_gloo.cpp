// Gloo, through c10d::Backend: collectives between processors, and between cards by way of the host's memory.
#include <arpa/inet.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#define USE_C10D_GLOO 1
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

#include "comm.h"

// The stand-in headers must agree with the gloo inside libtorch. If ProcessGroupGloo's size is another one, a newer
// libtorch has changed it: 488 is what libtorch_python.so of 2.11 allocates for the class.
static_assert(sizeof(c10d::ProcessGroupGloo) == 488, "compare model/torch/shim/gloo with the gloo of this libtorch");

namespace {

using c10d::ProcessGroupGloo;

struct GlooWork final : lt::Work {
  c10::intrusive_ptr<c10d::Work> work;
  // Of a collective through the host's memory: where its result is, and where it belongs.
  at::Tensor result, target;

  void wait() override {
    work->wait();
    if (target.defined()) {
      target.copy_(result, /*non_blocking=*/true);  // the allocator of pinned memory waits before it gives it away
    }
  }
};

// Collectives that only move values see bytes, because Gloo does not know every dtype.
at::Tensor as_bytes(const at::Tensor &t) { return t.view({-1}).view(at::kByte); }

struct Gloo final : lt::Comm {
  c10::intrusive_ptr<c10d::Backend> backend;
  std::chrono::milliseconds timeout{0};  // of a collective
  bool stage = false;                    // even tensors of the CPU: for tests

  int world() const override { return backend->getSize(); }

  bool direct(const at::Tensor &t) const { return t.is_cpu() && !stage; }

  // The host's copy of a tensor, or its own memory.
  at::Tensor host(const at::Tensor &t, bool values) const {
    if (direct(t)) {
      return t;
    }
    auto copy = at::empty(t.sizes(), t.options().device(at::kCPU).pinned_memory(!t.is_cpu()));
    if (values) {
      copy.copy_(t);
    }
    return copy;
  }

  std::unique_ptr<lt::Work> begun(c10::intrusive_ptr<c10d::Work> work, const at::Tensor &t,
                                  const at::Tensor &on_host) const {
    auto begun = std::make_unique<GlooWork>();
    begun->work = std::move(work);
    if (!direct(t)) {
      begun->result = on_host;
      begun->target = t;
    }
    return begun;
  }

  std::unique_ptr<lt::Work> all_reduce(at::Tensor t) override {
    auto on_host = host(t, true);
    std::vector<at::Tensor> list{on_host};
    c10d::AllreduceOptions options;
    options.timeout = timeout;
    return begun(backend->allreduce(list, options), t, on_host);
  }

  std::unique_ptr<lt::Work> broadcast(at::Tensor t, int root) override {
    auto on_host = host(t, true);
    std::vector<at::Tensor> list{as_bytes(on_host)};
    c10d::BroadcastOptions options;
    options.rootRank = root;
    options.timeout = timeout;
    return begun(backend->broadcast(list, options), t, on_host);
  }

  std::unique_ptr<lt::Work> all_gather(at::Tensor out, at::Tensor in) override {
    auto on_host = host(out, false);
    auto all = as_bytes(on_host), mine = as_bytes(host(in, true));
    c10d::AllgatherOptions options;
    options.timeout = timeout;
    return begun(backend->_allgather_base(all, mine, options), out, on_host);
  }

  std::unique_ptr<lt::Work> reduce_scatter(at::Tensor out, at::Tensor in) override {
    auto on_host = host(out, false);
    auto part = on_host.view({-1}), whole = host(in, true).view({-1});
    c10d::ReduceScatterOptions options;
    options.timeout = timeout;
    return begun(backend->_reduce_scatter_base(part, whole, options), out, on_host);
  }

  std::unique_ptr<lt::Work> barrier() override {
    c10d::BarrierOptions options;
    options.timeout = timeout;
    auto begun = std::make_unique<GlooWork>();
    begun->work = backend->barrier(options);
    return begun;
  }
};

}  // namespace

char *lt_comm_gloo(lt_store store, const char *name, int rank, int world, const char *address, int connect_ms,
                   int timeout_ms, int stage, lt_comm *out) {
  LT_PROTECT({
    lt::NoPipeSignals quiet;
    auto options = ProcessGroupGloo::Options::create(std::chrono::milliseconds(connect_ms));
    if (getenv("GLOO_SOCKET_IFNAME") || !*address) {
      options = ProcessGroupGloo::Options::create_default(std::chrono::milliseconds(connect_ms));
    } else {
      options->devices.push_back(ProcessGroupGloo::createDeviceForHostname(address));
    }
    auto keys = c10::make_intrusive<c10d::PrefixStore>(name, *static_cast<c10::intrusive_ptr<c10d::Store> *>(store));
    keys->setTimeout(std::chrono::milliseconds(connect_ms));  // of this connection, which no one else waits for
    auto gloo = std::make_unique<Gloo>();
    gloo->backend = c10::make_intrusive<ProcessGroupGloo>(keys, rank, world, options);
    gloo->timeout = std::chrono::milliseconds(timeout_ms);
    gloo->stage = stage != 0;
    *out = static_cast<lt::Comm *>(gloo.release());
  })
}

// A connected datagram socket sends nothing, and has the address that a packet would leave from.
char *lt_local_address(const char *towards, int port, char **out) {
  LT_PROTECT({
    addrinfo hints{};
    hints.ai_socktype = SOCK_DGRAM;
    addrinfo *found = nullptr;
    int failed = getaddrinfo(towards, std::to_string(port).c_str(), &hints, &found);
    TORCH_CHECK(failed == 0, "the host ", towards, " is not known: ", gai_strerror(failed));
    std::unique_ptr<addrinfo, void (*)(addrinfo *)> list(found, freeaddrinfo);
    for (auto *a = list.get(); a; a = a->ai_next) {
      int s = socket(a->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
      if (s < 0) {
        continue;
      }
      sockaddr_storage mine{};
      socklen_t size = sizeof mine;
      bool routed = connect(s, a->ai_addr, a->ai_addrlen) == 0 &&
                    getsockname(s, reinterpret_cast<sockaddr *>(&mine), &size) == 0;
      close(s);
      char text[NI_MAXHOST];
      if (routed && getnameinfo(reinterpret_cast<sockaddr *>(&mine), size, text, sizeof text, nullptr, 0,
                                NI_NUMERICHOST) == 0) {
        *out = strdup(text);
        return nullptr;
      }
    }
    TORCH_CHECK(false, "there is no route to ", towards);
  })
}
