// Shared by the .cpp files of the shim.
#pragma once
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <ATen/record_function.h>
#include <dlfcn.h>

#include <cstring>
#include <exception>

#include "shim.h"

#ifndef _OPENMP
#error "without -fopenmp at::parallel_for runs everything on one thread, and says nothing"
#endif

#define LT_PROTECT(...)                                   \
  try {                                                   \
    __VA_ARGS__;                                          \
    return nullptr;                                       \
  } catch (const c10::Error &e) {                         \
    return strdup(e.what_without_backtrace());            \
  } catch (const std::exception &e) {                     \
    return strdup(e.what());                              \
  } catch (...) {                                         \
    return strdup("unknown C++ exception");               \
  }

namespace lt {

bool fused();  // whether our own kernels run if there is one, or libtorch's operations everywhere

// Whether our CPU kernels take x.
inline bool cpu_fits(const at::Tensor &x) {
  return fused() && x.is_cpu() && x.scalar_type() == at::kFloat && x.numel() > 0;
}

// Whether the heads of x [T,heads,d] are contiguous in a row; rows may be strided.
inline bool heads_together(const at::Tensor &x) {
  return x.stride(2) == 1 && (x.size(1) == 1 || x.stride(1) == x.size(2));
}

// x, or a copy whose heads do.
inline at::Tensor with_heads_together(const at::Tensor &x) { return heads_together(x) ? x : x.contiguous(); }

// An entry point of a library that was opened by name.
template <typename Function>
void find_symbol(void *library, const char *library_name, const char *name, Function *function) {
  *function = reinterpret_cast<Function>(dlsym(library, name));
  TORCH_CHECK(*function, library_name, " has no ", name);
}

}

inline at::Tensor &ref(lt_tensor t) { return *static_cast<at::Tensor *>(t); }
inline lt_tensor own(at::Tensor t) { return new at::Tensor(std::move(t)); }
inline at::Device device_of(int index) {
  return index < 0 ? at::Device(at::kCPU) : at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(index));
}
