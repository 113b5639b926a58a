// c10d's TCPStore: a small table that all processes of a job see. A call may hang if the host of the store hangs; the
// caller has a clock, and no lock is held here that another call needs.
#include <c10/util/Logging.h>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "comm.h"

namespace {

using Store = c10::intrusive_ptr<c10d::Store>;

Store &store_of(lt_store store) { return *static_cast<Store *>(store); }

std::vector<uint8_t> bytes(const void *data, size_t size) {
  auto *first = static_cast<const uint8_t *>(data);
  return {first, first + size};
}

void give(const std::vector<uint8_t> &value, char **out, size_t *size) {
  *size = value.size();
  *out = static_cast<char *>(malloc(value.size() + 1));  // never NULL, which says that there is no value
  TORCH_CHECK(*out, "out of memory");
  std::memcpy(*out, value.data(), value.size());
}

}  // namespace

char *lt_store_open(const char *host, int port, int serve, int timeout_ms, lt_store *out, int *bound) {
  LT_PROTECT({
    // c10d prints what it throws, with its stack; the caller reports it. (TORCH_CPP_LOG_LEVEL is read by Python alone.)
    FLAGS_caffe2_log_level = 3;
    c10d::TCPStoreOptions options;
    options.port = static_cast<uint16_t>(port);
    options.isServer = serve != 0;
    options.waitWorkers = false;  // it would count processes; the join says who is missing
    options.timeout = std::chrono::milliseconds(timeout_ms);
    lt::NoPipeSignals quiet;
    auto store = c10::make_intrusive<c10d::TCPStore>(host, options);
    *bound = store->getPort();
    *out = new Store(std::move(store));
  })
}

void lt_free_store(lt_store store) { delete static_cast<Store *>(store); }

char *lt_store_set(lt_store store, const char *key, const void *value, size_t size) {
  LT_PROTECT(store_of(store)->set(key, bytes(value, size)))
}

char *lt_store_look(lt_store store, const char *key, char **value, size_t *size) {
  LT_PROTECT({
    *value = nullptr;
    if (store_of(store)->check({key})) {
      give(store_of(store)->get(key), value, size);
    }
  })
}

char *lt_store_wait(lt_store store, const char *key, int timeout_ms, char **value, size_t *size) {
  LT_PROTECT({
    *value = nullptr;
    try {
      store_of(store)->wait({key}, std::chrono::milliseconds(timeout_ms));
    } catch (const c10::DistStoreError &) {  // it did not come in time; a lost connection is a DistNetworkError
      return nullptr;
    }
    give(store_of(store)->get(key), value, size);
  })
}

char *lt_store_compare_set(lt_store store, const char *key, const void *expected, size_t expected_size,
                           const void *desired, size_t desired_size, char **value, size_t *size) {
  LT_PROTECT({
    auto now = store_of(store)->compareSet(key, bytes(expected, expected_size), bytes(desired, desired_size));
    give(now, value, size);
  })
}

char *lt_store_add(lt_store store, const char *key, int64_t n, int64_t *sum) {
  LT_PROTECT(*sum = store_of(store)->add(key, n))
}

char *lt_store_delete(lt_store store, const char *key, int *existed) {
  LT_PROTECT(*existed = store_of(store)->deleteKey(key))
}
