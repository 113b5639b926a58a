// The part of NCCL's C interface that is used here, declared by hand so that the build needs nothing of NCCL or CUDA.
// Its numbers and layouts stay the same within NCCL 2; testdata/nccl/check.cpp, one folder up, holds them against
// nccl.h.
#pragma once
#include <cstddef>

namespace lt {
namespace nccl {

struct UniqueId {
  char bytes[128];
};

enum Result {
  kSuccess = 0,
  kUnhandledCudaError = 1,
  kSystemError = 2,
  kInternalError = 3,
  kInvalidArgument = 4,
  kInvalidUsage = 5,
  kRemoteError = 6,
  kInProgress = 7,
};

enum DataType { kUint8 = 1, kInt32 = 2, kInt64 = 4, kFloat16 = 6, kFloat32 = 7, kFloat64 = 8, kBfloat16 = 9 };

enum Operator { kSum = 0 };

// Enums are passed as int, communicators and CUDA's streams as void*. Counts are of elements; those of all_gather and
// reduce_scatter are of one rank.
struct Api {
  int (*version)(int *);
  int (*unique_id)(UniqueId *);
  int (*init_rank)(void **communicator, int world, UniqueId id, int rank);
  int (*destroy)(void *communicator);
  int (*async_error)(void *communicator, int *result);
  const char *(*error_string)(int result);
  const char *(*last_error)(void *communicator);  // the last warning: what exactly; the communicator may be NULL
  int (*all_reduce)(const void *from, void *to, size_t count, int type, int op, void *communicator, void *stream);
  int (*broadcast)(const void *from, void *to, size_t count, int type, int root, void *communicator, void *stream);
  int (*all_gather)(const void *from, void *to, size_t count, int type, void *communicator, void *stream);
  int (*reduce_scatter)(const void *from, void *to, size_t count, int type, int op, void *communicator, void *stream);
};

}  // namespace nccl
}  // namespace lt
