// An emulation of NCCL over tensors of the CPU, between processes or threads of one host, for tests on machines without
// a GPU. With the streams of fake_streams.h comm_nccl.cpp runs over it unchanged, and its mistakes with streams show: a
// call whose stream does not wait for the current one is refused, and who does not wait for a collective reads what was
// there before.
//
// Rank 0 sums, in the order of ranks. FAKE_NCCL in the environment names a fault: "one-card" (all ranks say they are on
// one), "unstable" (every second sum is in reverse order), "breaks" (the last rank's connection, at its third
// collective). Sums are by c10's types, which Gloo uses too.
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "fake_streams.h"
#include "nccl_api.h"

namespace {

using namespace lt::nccl;

using Bytes = std::vector<char>;

struct Communicator {
  int rank, world;
  std::vector<int> sockets;  // rank 0's to each rank but itself; another's to rank 0
  std::atomic<int> error{kSuccess};
  int calls = 0;
};

thread_local std::string warning;
std::mutex listening;
std::map<std::string, int> listeners;  // by id

bool fault(const char *name) {
  const char *set = getenv("FAKE_NCCL");
  return set && !strcmp(set, name);
}

int refuse(Result result, std::string why) {
  warning = std::move(why);
  return result;
}

template <typename Step>
bool all_of(size_t size, const Step &step) {
  for (size_t done = 0; done < size;) {
    ssize_t n = step(done, size - done);
    if (n <= 0) {
      return false;
    }
    done += static_cast<size_t>(n);
  }
  return true;
}
bool put(int socket, const char *data, size_t size) {
  return all_of(size, [&](size_t from, size_t left) { return send(socket, data + from, left, MSG_NOSIGNAL); });
}
bool get(int socket, char *data, size_t size) {
  return all_of(size, [&](size_t from, size_t left) { return recv(socket, data + from, left, 0); });
}

size_t size_of(int type) {
  switch (type) {
    case kUint8:
      return 1;
    case kFloat16:
    case kBfloat16:
      return 2;
    case kInt32:
    case kFloat32:
      return 4;
    default:
      return 8;
  }
}

template <typename T>
void add(Bytes &to, const Bytes &from) {
  auto *a = reinterpret_cast<T *>(to.data());
  auto *b = reinterpret_cast<const T *>(from.data());
  for (size_t i = 0; i < to.size() / sizeof(T); i++) {
    a[i] = a[i] + b[i];
  }
}

void add(Bytes &to, const Bytes &from, int type) {
  static const std::map<int, void (*)(Bytes &, const Bytes &)> adders{
      {kUint8, add<uint8_t>},    {kInt32, add<int32_t>},  {kInt64, add<int64_t>},       {kFloat16, add<c10::Half>},
      {kFloat32, add<float>}, {kFloat64, add<double>}, {kBfloat16, add<c10::BFloat16>}};
  adders.at(type)(to, from);
}

// What one collective gives: what goes to rank r, of what all have sent.
using Answer = std::function<Bytes(const std::vector<Bytes> &, int rank)>;

Bytes sum(const std::vector<Bytes> &all, int type, bool reverse) {
  auto order = all;
  if (reverse) {
    std::reverse(order.begin(), order.end());
  }
  for (size_t r = 1; r < order.size(); r++) {
    add(order[0], order[r], type);
  }
  return order[0];
}

// Everything goes by way of rank 0. A collective without one of its ranks never ends.
bool exchange(Communicator &c, const Bytes &mine, char *out, size_t size, const Answer &result) {
  if (c.rank > 0) {
    return put(c.sockets[0], mine.data(), mine.size()) && get(c.sockets[0], out, size);
  }
  std::vector<Bytes> all{mine};
  for (int socket : c.sockets) {
    all.emplace_back(mine.size());
    if (!get(socket, all.back().data(), mine.size())) {
      return false;
    }
  }
  auto own = result(all, 0);
  for (int r = 1; r < c.world; r++) {
    auto theirs = result(all, r);
    if (!put(c.sockets[static_cast<size_t>(r - 1)], theirs.data(), theirs.size())) {
      return false;
    }
  }
  memcpy(out, own.data(), size);
  return true;
}

int queue(void *communicator, void *stream, const void *in, size_t in_size, void *out, size_t size, Answer result) {
  auto c = *static_cast<std::shared_ptr<Communicator> *>(communicator);
  auto *s = static_cast<Stream *>(stream);
  if (!s || !s->behind_caller) {
    return refuse(kInvalidUsage, "the stream does not wait for what the tensors are made by");
  }
  if (c->error != kSuccess) {
    return refuse(kInvalidArgument, "the communicator has failed before");
  }
  s->behind_caller = false;
  bool breaks = ++c->calls == 3 && c->rank == c->world - 1 && fault("breaks");
  s->tell([=] {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));  // whoever does not wait is sure to be too early
    auto *from = static_cast<const char *>(in);
    if (!breaks && exchange(*c, Bytes(from, from + in_size), static_cast<char *>(out), size, result)) {
      return;
    }
    c->error = breaks ? kSystemError : kRemoteError;
    for (;;) {  // as a kernel that waits for a peer
      pause();
    }
  });
  return kSuccess;
}

bool reversed(void *communicator) {
  return (*static_cast<std::shared_ptr<Communicator> *>(communicator))->calls % 2 && fault("unstable");
}

}  // namespace

// ---- The interface ----

extern "C" {

int ncclGetVersion(int *version) {
  *version = 22809;
  return kSuccess;
}

const char *ncclGetErrorString(int result) {
  static const char *texts[] = {"no error", "unhandled cuda error", "unhandled system error", "internal error",
                                "invalid argument", "invalid usage",
                                "remote process exited or there was a network error", "NCCL operation in progress"};
  return texts[result];
}

const char *ncclGetLastError(void *) { return warning.c_str(); }

// Listens at a name that vanishes with the process.
int ncclGetUniqueId(UniqueId *id) {
  static std::atomic<int> made{0};
  memset(id, 0, sizeof *id);
  auto name = "fake-nccl-" + std::to_string(getpid()) + "-" + std::to_string(made++);
  memcpy(id->bytes, name.data(), name.size());
  sockaddr_un at{};
  at.sun_family = AF_UNIX;
  memcpy(at.sun_path + 1, name.data(), name.size());
  int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (bind(s, reinterpret_cast<sockaddr *>(&at), sizeof at) || listen(s, 64)) {
    return refuse(kSystemError, strerror(errno));
  }
  std::lock_guard<std::mutex> turn(listening);
  listeners[name] = s;
  return kSuccess;
}

int ncclCommInitRank(void **communicator, int world, UniqueId id, int rank) {
  if (!getenv("NCCL_ALGO") || !getenv("NCCL_NVLS_ENABLE")) {
    return refuse(kInvalidUsage, "the settings that make sums repeat are missing");
  }
  auto c = std::make_shared<Communicator>();
  c->rank = rank;
  c->world = world;
  if (rank == 0) {
    std::unique_lock<std::mutex> turn(listening);
    int listener = listeners.at(id.bytes);
    turn.unlock();
    c->sockets.resize(static_cast<size_t>(world - 1));
    for (int i = 1; i < world; i++) {
      int s = accept(listener, nullptr, nullptr), peer = 0;
      if (s < 0 || !get(s, reinterpret_cast<char *>(&peer), sizeof peer)) {
        return refuse(kRemoteError, "a rank left");
      }
      c->sockets[static_cast<size_t>(peer - 1)] = s;
    }
    close(listener);
    for (int peer : c->sockets) {
      put(peer, "", 1);
    }
  } else {
    sockaddr_un at{};
    at.sun_family = AF_UNIX;
    memcpy(at.sun_path + 1, id.bytes, strlen(id.bytes));
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(s, reinterpret_cast<sockaddr *>(&at), sizeof at) ||
        !put(s, reinterpret_cast<char *>(&rank), sizeof rank)) {
      return refuse(kRemoteError, "rank 0 cannot be reached");
    }
    char all_came;
    if (!get(s, &all_came, 1)) {
      return refuse(kRemoteError, "rank 0 left");
    }
    c->sockets.push_back(s);
  }
  *communicator = new std::shared_ptr<Communicator>(c);
  if (world > 1 && fault("one-card")) {
    c->error = kInvalidUsage;
    return refuse(kInvalidUsage, "Duplicate GPU detected : rank 0 and rank 1 both on CUDA device 65000\n");
  }
  return kSuccess;
}

int ncclCommDestroy(void *communicator) {
  auto *c = static_cast<std::shared_ptr<Communicator> *>(communicator);
  while ((*c)->error != kSuccess) {  // it waits for its peers
    pause();
  }
  for (int s : (*c)->sockets) {
    close(s);
  }
  delete c;
  return kSuccess;
}

int ncclCommGetAsyncError(void *communicator, int *result) {
  *result = (*static_cast<std::shared_ptr<Communicator> *>(communicator))->error;
  return kSuccess;
}

int ncclAllReduce(const void *from, void *to, size_t count, int type, int, void *communicator, void *stream) {
  size_t size = count * size_of(type);
  bool reverse = reversed(communicator);
  return queue(communicator, stream, from, size, to, size,
               [=](const std::vector<Bytes> &all, int) { return sum(all, type, reverse); });
}

int ncclBroadcast(const void *from, void *to, size_t count, int type, int root, void *communicator, void *stream) {
  size_t size = count * size_of(type);
  return queue(communicator, stream, from, size, to, size,
               [=](const std::vector<Bytes> &all, int) { return all[static_cast<size_t>(root)]; });
}

int ncclAllGather(const void *from, void *to, size_t count, int type, void *communicator, void *stream) {
  size_t size = count * size_of(type);
  auto world = static_cast<size_t>((*static_cast<std::shared_ptr<Communicator> *>(communicator))->world);
  return queue(communicator, stream, from, size, to, world * size, [](const std::vector<Bytes> &all, int) {
    Bytes together;
    for (auto &one : all) {
      together.insert(together.end(), one.begin(), one.end());
    }
    return together;
  });
}

int ncclReduceScatter(const void *from, void *to, size_t count, int type, int, void *communicator, void *stream) {
  size_t size = count * size_of(type);
  auto world = static_cast<size_t>((*static_cast<std::shared_ptr<Communicator> *>(communicator))->world);
  return queue(communicator, stream, from, world * size, to, size, [=](const std::vector<Bytes> &all, int rank) {
    auto whole = sum(all, type, false);
    auto *part = whole.data() + static_cast<size_t>(rank) * size;
    return Bytes(part, part + size);
  });
}

}  // extern "C"

// Its functions are those that comm_nccl.cpp calls.
#define SAME(name, function) static_assert(std::is_same<decltype(Api::name), decltype(&function)>::value, #function)
SAME(version, ncclGetVersion);
SAME(unique_id, ncclGetUniqueId);
SAME(init_rank, ncclCommInitRank);
SAME(destroy, ncclCommDestroy);
SAME(async_error, ncclCommGetAsyncError);
SAME(error_string, ncclGetErrorString);
SAME(last_error, ncclGetLastError);
SAME(all_reduce, ncclAllReduce);
SAME(broadcast, ncclBroadcast);
SAME(all_gather, ncclAllGather);
SAME(reduce_scatter, ncclReduceScatter);
