// The library itself: opening its CUDA half, threads, devices and memory.
#include <ATen/Context.h>
#include <ATen/DeviceAccelerator.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <dlfcn.h>
#include <malloc.h>
#include <torch/headeronly/version.h>

#include <atomic>

#include "shim_internal.h"

// CUDA's hooks are looked up at the first torch call and kept, so the CUDA half must be opened before any other
// function here.
char *lt_open_cuda(const char *path, int *devices) {
  LT_PROTECT({
    *devices = 0;
    if (!dlopen(path, RTLD_NOW | RTLD_GLOBAL)) {
      return strdup(dlerror());
    }
    if (at::globalContext().hasCUDA()) {
      *devices = static_cast<int>(at::detail::getCUDAHooks().deviceCount());
    }
  })
}

// Every step frees and allocates the same large blocks. If they went back to the operating system, each would be mapped
// and cleared again; keeping them saves a twelfth of the time of a small model's step.
void lt_keep_memory(void) {
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 2147483647);
}

namespace {

std::atomic<int64_t> live_{0}, peak_{0};

// Hands out the default allocator's memory and counts what is in use, by the sizes that malloc really gave.
struct CountingAllocator final : c10::Allocator {
  c10::Allocator *inner = c10::GetDefaultCPUAllocator();

  static void free_counted(void *p) {
    live_.fetch_sub(static_cast<int64_t>(malloc_usable_size(p)), std::memory_order_relaxed);
    c10::GetDefaultCPUAllocator()->raw_deleter()(p);
  }

  c10::DataPtr allocate(size_t n) override {
    auto data = inner->allocate(n);
    void *p = data.release_context();
    int64_t size = static_cast<int64_t>(malloc_usable_size(p));
    int64_t now = live_.fetch_add(size, std::memory_order_relaxed) + size;
    for (int64_t peak = peak_.load(std::memory_order_relaxed);
         now > peak && !peak_.compare_exchange_weak(peak, now, std::memory_order_relaxed);) {
    }
    return {p, p, &free_counted, at::Device(at::kCPU)};
  }

  c10::DeleterFnPtr raw_deleter() const override { return &free_counted; }

  void copy_data(void *to, const void *from, size_t n) const override { inner->copy_data(to, from, n); }
};

}  // namespace

// From now on tensors on the CPU are counted. Those made before keep their own way back.
void lt_count_memory(void) {
  static CountingAllocator allocator;
  c10::SetCPUAllocator(&allocator, 1);
}

int64_t lt_allocated(void) { return live_.load(std::memory_order_relaxed); }

int64_t lt_peak_allocated(void) { return peak_.load(std::memory_order_relaxed); }

void lt_reset_peak_allocated(void) { peak_ = live_.load(); }

const char *lt_built_against(void) { return TORCH_VERSION; }

char *lt_show_config(char **out) { LT_PROTECT(*out = strdup(at::show_config().c_str())) }

namespace {

// CUDA's allocator, which knows no device before CUDA has been initialized.
c10::DeviceAllocator *card_allocator() {
  at::globalContext().lazyInitDevice(at::kCUDA);
  return at::getDeviceAllocator(at::kCUDA);
}

}  // namespace

char *lt_device_memory(int index, int64_t *total, int64_t *peak) {
  LT_PROTECT({
    auto *allocator = card_allocator();
    *peak = allocator->getDeviceStats(static_cast<c10::DeviceIndex>(index)).allocated_bytes[0].peak;
    *total = static_cast<int64_t>(allocator->getMemoryInfo(static_cast<c10::DeviceIndex>(index)).second);
  })
}

char *lt_synchronize(void) {
  LT_PROTECT({
    if (at::globalContext().hasCUDA() && at::detail::getCUDAHooks().deviceCount() > 0) {
      at::accelerator::synchronizeDevice(at::accelerator::getDeviceIndex());
    }
  })
}

char *lt_set_threads(int n) { LT_PROTECT(at::set_num_threads(n)) }

int lt_threads(void) { return at::get_num_threads(); }

char *lt_deterministic(void) {
  LT_PROTECT({
    auto &context = at::globalContext();
    context.setDeterministicAlgorithms(true, /*warn_only=*/false);
    // nothing here reads memory that it did not write; on a GPU the fill took 3 % of a step
    context.setDeterministicFillUninitializedMemory(false);
    context.setDeterministicCuDNN(true);
    context.setBenchmarkCuDNN(false);
    context.setSDPUseCuDNN(false);
  })
}
