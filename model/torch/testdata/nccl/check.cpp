// Compiled, never run: our declarations of NCCL's interface against nccl.h. The folder has stand-ins for the headers of
// CUDA that it includes.
#include <nccl.h>

#include <type_traits>

#include "nccl_api.h"

using namespace lt::nccl;

static_assert(NCCL_MAJOR == 2, "another major version");
static_assert(sizeof(UniqueId) == sizeof(ncclUniqueId) && alignof(UniqueId) == alignof(ncclUniqueId), "id");

#define SAME_VALUE(ours, theirs) static_assert(static_cast<int>(ours) == static_cast<int>(theirs), #theirs)
SAME_VALUE(kSuccess, ncclSuccess);
SAME_VALUE(kUnhandledCudaError, ncclUnhandledCudaError);
SAME_VALUE(kSystemError, ncclSystemError);
SAME_VALUE(kInternalError, ncclInternalError);
SAME_VALUE(kInvalidArgument, ncclInvalidArgument);
SAME_VALUE(kInvalidUsage, ncclInvalidUsage);
SAME_VALUE(kRemoteError, ncclRemoteError);
SAME_VALUE(kInProgress, ncclInProgress);
SAME_VALUE(kUint8, ncclUint8);
SAME_VALUE(kInt32, ncclInt32);
SAME_VALUE(kInt64, ncclInt64);
SAME_VALUE(kFloat16, ncclFloat16);
SAME_VALUE(kFloat32, ncclFloat32);
SAME_VALUE(kFloat64, ncclFloat64);
SAME_VALUE(kBfloat16, ncclBfloat16);
SAME_VALUE(kSum, ncclSum);

static_assert(sizeof(ncclResult_t) == sizeof(int) && sizeof(ncclDataType_t) == sizeof(int) &&
                  sizeof(ncclRedOp_t) == sizeof(int),
              "enums are passed as int");

// A type of theirs as we pass it: enums as int, handles as void*.
template <typename T>
struct Passed {
  using type = std::conditional_t<std::is_enum<T>::value, int, T>;
};
template <>
struct Passed<ncclComm_t> {
  using type = void *;
};
template <>
struct Passed<cudaStream_t> {
  using type = void *;
};
template <>
struct Passed<ncclUniqueId> {
  using type = UniqueId;
};
template <typename T>
struct Passed<T *> {
  using type = typename Passed<T>::type *;
};

template <typename Return, typename... Arguments>
auto passed(Return (*)(Arguments...)) -> typename Passed<Return>::type (*)(typename Passed<Arguments>::type...);

#define SAME_TYPE(ours, theirs) \
  static_assert(std::is_same<decltype(Api::ours), decltype(passed(theirs))>::value, #theirs)
SAME_TYPE(version, ncclGetVersion);
SAME_TYPE(unique_id, ncclGetUniqueId);
SAME_TYPE(init_rank, ncclCommInitRank);
SAME_TYPE(destroy, ncclCommDestroy);
SAME_TYPE(async_error, ncclCommGetAsyncError);
SAME_TYPE(error_string, ncclGetErrorString);
SAME_TYPE(last_error, ncclGetLastError);
SAME_TYPE(all_reduce, ncclAllReduce);
SAME_TYPE(broadcast, ncclBroadcast);
SAME_TYPE(all_gather, ncclAllGather);
SAME_TYPE(reduce_scatter, ncclReduceScatter);
