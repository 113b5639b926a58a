// NCCL: collectives between GPUs on a stream of their own. The library is opened by name, and streams and events are
// libtorch's for whatever device a group is on, so that the build needs nothing of CUDA, and all of this runs on the
// CPU over an emulated library (scripts/fake_nccl.cpp).
#include <c10/core/DeviceGuard.h>
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "comm.h"
#include "nccl_api.h"

namespace {

using namespace lt::nccl;

// The library that libtorch_cuda has loaded, if it has; else the one that the loader finds. path names another.
Api open_library(const char *path) {
  const char *name = *path ? path : "libnccl.so.2";
  void *library = *path ? nullptr : dlopen(name, RTLD_NOW | RTLD_NOLOAD);
  if (!library) {
    library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  }
  TORCH_CHECK(library, dlerror());
  Api api;
  lt::find_symbol(library, name, "ncclGetVersion", &api.version);
  lt::find_symbol(library, name, "ncclGetUniqueId", &api.unique_id);
  lt::find_symbol(library, name, "ncclCommInitRank", &api.init_rank);
  lt::find_symbol(library, name, "ncclCommDestroy", &api.destroy);
  lt::find_symbol(library, name, "ncclCommGetAsyncError", &api.async_error);
  lt::find_symbol(library, name, "ncclGetErrorString", &api.error_string);
  lt::find_symbol(library, name, "ncclGetLastError", &api.last_error);
  lt::find_symbol(library, name, "ncclAllReduce", &api.all_reduce);
  lt::find_symbol(library, name, "ncclBroadcast", &api.broadcast);
  lt::find_symbol(library, name, "ncclAllGather", &api.all_gather);
  lt::find_symbol(library, name, "ncclReduceScatter", &api.reduce_scatter);
  return api;
}

// What kind of failure a result is, and NCCL's last warning, which says what exactly.
std::string words(const Api &api, int result, void *communicator) {
  std::string text = api.error_string(result), warning;
  if (const char *last = api.last_error(communicator)) {
    warning = last;
  }
  warning.erase(warning.find_last_not_of(" \n") + 1);
  return warning.empty() ? text : text + ": " + warning;
}

void demand(const Api &api, int result, void *communicator, const char *what) {
  TORCH_CHECK(result == kSuccess, what, ": ", words(api, result, communicator));
}

// Whether another process may be the cause: it is gone, or the network is.
bool of_peers(int result) { return result == kSystemError || result == kInternalError || result == kRemoteError; }

int type_of(const at::Tensor &t) {
  switch (t.scalar_type()) {
    case at::kByte:
      return kUint8;
    case at::kInt:
      return kInt32;
    case at::kLong:
      return kInt64;
    case at::kHalf:
      return kFloat16;
    case at::kFloat:
      return kFloat32;
    case at::kDouble:
      return kFloat64;
    case at::kBFloat16:
      return kBfloat16;
    default:
      TORCH_CHECK(false, "NCCL does not sum ", t.scalar_type());
  }
}

struct NcclWork final : lt::Work {
  explicit NcclWork(c10::Device device) : device(device), done(device.type()) {}

  const c10::Device device;
  c10::Event done;  // recorded behind the collective
  // Their memory goes to no one else before the current stream comes after the collective.
  std::vector<at::Tensor> held;

  void wait() override { done.block(c10::impl::VirtualGuardImpl(device.type()).getStream(device)); }
};

class Nccl final : public lt::Comm {
 public:
  // The first tensor on the device also starts CUDA there.
  Nccl(const Api &api, int world, c10::Device device)
      : api_(api),
        world_(world),
        device_(device),
        guard_(device.type()),
        one_(at::zeros({1}, at::TensorOptions(device).dtype(at::kFloat))),
        stream_(guard_.getStreamFromGlobalPool(device, /*isHighPriority=*/true)) {}

  // Only after a group that did its work. It may not end if a peer is gone, and neither may ncclCommAbort: then the end
  // of the process is the end of the communicator.
  ~Nccl() override {
    if (communicator_) {
      c10::DeviceGuard on(device_);
      api_.destroy(communicator_);
    }
  }

  int connect(const UniqueId &id, int rank) {
    c10::DeviceGuard on(device_);
    int result = api_.init_rank(&communicator_, world_, id, rank);
    if (result != kSuccess) {
      communicator_ = nullptr;  // half made, it may wait for its peers when it is destroyed
    }
    return result;
  }

  int world() const override { return world_; }

  std::string async_error() override {
    int error = kSuccess;
    int asked = api_.async_error(communicator_, &error);
    if (asked != kSuccess) {
      error = asked;
    }
    return error == kSuccess || error == kInProgress ? "" : words(api_, error, communicator_);
  }

  std::unique_ptr<lt::Work> all_reduce(at::Tensor t) override {
    int type = type_of(t);
    return queue("ncclAllReduce", {t}, [&](void *stream) {
      return api_.all_reduce(t.const_data_ptr(), t.mutable_data_ptr(), t.numel(), type, kSum, communicator_, stream);
    });
  }

  std::unique_ptr<lt::Work> broadcast(at::Tensor t, int root) override {
    return queue("ncclBroadcast", {t}, [&](void *stream) {
      return api_.broadcast(t.const_data_ptr(), t.mutable_data_ptr(), t.nbytes(), kUint8, root, communicator_, stream);
    });
  }

  std::unique_ptr<lt::Work> all_gather(at::Tensor out, at::Tensor in) override {
    return queue("ncclAllGather", {out, in}, [&](void *stream) {
      return api_.all_gather(in.const_data_ptr(), out.mutable_data_ptr(), in.nbytes(), kUint8, communicator_, stream);
    });
  }

  std::unique_ptr<lt::Work> reduce_scatter(at::Tensor out, at::Tensor in) override {
    int type = type_of(in);
    return queue("ncclReduceScatter", {out, in}, [&](void *stream) {
      return api_.reduce_scatter(in.const_data_ptr(), out.mutable_data_ptr(), out.numel(), type, kSum, communicator_,
                                 stream);
    });
  }

  std::unique_ptr<lt::Work> barrier() override { return all_reduce(one_); }

 private:
  // Queues a call on the group's stream, behind all that the current stream has been asked for so far.
  template <typename Call>
  std::unique_ptr<lt::Work> queue(const char *name, std::vector<at::Tensor> tensors, const Call &call) {
    for (auto &t : tensors) {
      TORCH_CHECK(t.device() == device_, "a tensor on ", t.device(), " in a collective on ", device_);
    }
    c10::DeviceGuard on(device_);
    auto work = std::make_unique<NcclWork>(device_);
    c10::Event computed(device_.type());
    computed.record(guard_.getStream(device_));
    computed.block(stream_);
    demand(api_, call(guard_.getStreamNativeHandle(stream_)), communicator_, name);
    work->done.record(stream_);
    work->held = std::move(tensors);
    return work;
  }

  const Api api_;
  const int world_;
  const c10::Device device_;
  const c10::impl::VirtualGuardImpl guard_;
  const at::Tensor one_;
  const c10::Stream stream_;  // where collectives run, beside what is computed
  void *communicator_ = nullptr;
};

}  // namespace

char *lt_nccl_version(const char *path, int *version) {
  LT_PROTECT({
    auto api = open_library(path);
    demand(api, api.version(version), nullptr, "ncclGetVersion");
    TORCH_CHECK(*version / 10000 == 2, "its version is ", *version, ", and not one of NCCL 2");
  })
}

char *lt_nccl_id(const char *path, char id[LT_NCCL_ID]) {
  static_assert(sizeof(UniqueId) == LT_NCCL_ID, "the id travels through the store");
  LT_PROTECT({
    lt::NoPipeSignals quiet;
    auto api = open_library(path);
    UniqueId made;
    demand(api, api.unique_id(&made), nullptr, "ncclGetUniqueId");
    std::memcpy(id, made.bytes, sizeof made.bytes);
  })
}

// May block for ever. of_others: another process may be the cause of the error.
char *lt_comm_nccl(const char *path, const char id[LT_NCCL_ID], int rank, int world, int device, int *of_others,
                   lt_comm *out) {
  LT_PROTECT({
    lt::NoPipeSignals quiet;
    auto api = open_library(path);
    UniqueId same;
    std::memcpy(same.bytes, id, sizeof same.bytes);
    auto nccl = std::make_unique<Nccl>(api, world, device_of(device));
    int result = nccl->connect(same, rank);
    *of_others = of_peers(result);
    demand(api, result, nullptr, "ncclCommInitRank");
    *out = static_cast<lt::Comm *>(nccl.release());
  })
}
