// Shared by the .cpp files of the shim.
#pragma once
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <ATen/record_function.h>

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
bool fused();  // whether our own kernels run where there is one, or libtorch's operations everywhere
}

inline at::Tensor &ref(lt_tensor t) { return *static_cast<at::Tensor *>(t); }
inline lt_tensor own(at::Tensor t) { return new at::Tensor(std::move(t)); }
inline at::Device device_of(int index) { return index < 0 ? at::Device(at::kCPU) : at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(index)); }
