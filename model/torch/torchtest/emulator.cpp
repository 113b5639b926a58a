// Runs the kernels on the CPU, as C++: the source that NVRTC compiles, under the same host code. The threads of a block
// are fibers that switch at barriers and shuffles; blocks run one after another. A barrier or shuffle that some threads
// of the block or warp do not reach is an error. Every second block runs its warps backwards, so that a missing barrier
// shows in one order or the other.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>

namespace {

constexpr int kMostThreads = 1024, kWarpThreads = 32;
constexpr size_t kStack = 64 << 10;

struct Index {
  unsigned x;
};
Index threadIdx, blockIdx, blockDim;

enum State { kRunning, kShuffle, kBarrier, kDone };

struct Fiber {
  void *stack = nullptr, *top = nullptr;  // its memory, and where it left off
  State state = kRunning;
  int shuffles = 0;
};

Fiber fibers[kMostThreads];
void *scheduler;  // where the scheduler left off

// What lanes pass to each other; two, so that a fast lane does not overwrite what a slow one reads.
uint64_t slots[2][kMostThreads];

void (*kernel)(void **args);
void **kernel_args;

}  // namespace

// emulator_switch(&from, to): saves this stack's place in from and continues where `to` was left. It saves the
// registers that a function must preserve by the System V ABI.
extern "C" void emulator_switch(void **from, void *to);
asm(R"(
.text
.globl emulator_switch
emulator_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
)");

namespace {

void pause(State state) {
  auto &fiber = fibers[threadIdx.x];
  fiber.state = state;
  emulator_switch(&fiber.top, scheduler);
}

void fiber_main() {
  kernel(kernel_args);
  pause(kDone);
  std::abort();  // a fiber that is done is not gone on with
}

void start(Fiber &fiber) {
  if (!fiber.stack) {
    fiber.stack = std::aligned_alloc(64, kStack);
  }
  auto *top = reinterpret_cast<void **>(static_cast<char *>(fiber.stack) + kStack);
  *--top = nullptr;  // keeps the alignment of a function's first instruction
  *--top = reinterpret_cast<void *>(&fiber_main);
  for (int i = 0; i < 6; i++) {
    *--top = nullptr;
  }
  fiber.top = top;
  fiber.state = kRunning;
  fiber.shuffles = 0;
}

// Runs a warp until its lanes wait for the block, or are done.
State run_warp(int warp) {
  State first;
  do {
    for (int lane = 0; lane < kWarpThreads; lane++) {
      threadIdx.x = warp * kWarpThreads + lane;
      auto &fiber = fibers[threadIdx.x];
      emulator_switch(&scheduler, fiber.top);
      if (lane == 0) {
        first = fiber.state;
      } else if (fiber.state != first) {
        throw std::runtime_error("lanes of a warp part ways");
      }
    }
  } while (first == kShuffle);
  return first;
}

void run_block() {
  for (unsigned i = 0; i < blockDim.x; i++) {
    start(fibers[i]);
  }
  const int warps = static_cast<int>(blockDim.x) / kWarpThreads;
  State first;
  do {
    for (int i = 0; i < warps; i++) {
      State state = run_warp(blockIdx.x % 2 ? warps - 1 - i : i);
      if (i == 0) {
        first = state;
      } else if (state != first) {
        throw std::runtime_error("a barrier that not all threads reach");
      }
    }
  } while (first == kBarrier);
}

// ---- CUDA's words ----

#define __device__
#define __global__
#define __forceinline__ inline
#define __shared__ static
#define __launch_bounds__(...)

void __syncthreads() { pause(kBarrier); }

float __fdividef(float a, float b) { return a / b; }

template <typename V>
V __shfl_xor_sync(unsigned, V value, int mask) {
  auto &mine = slots[fibers[threadIdx.x].shuffles++ % 2];
  std::memcpy(&mine[threadIdx.x], &value, sizeof value);
  pause(kShuffle);
  std::memcpy(&value, &mine[threadIdx.x ^ mask], sizeof value);
  return value;
}

}  // namespace

#include "../shim/kernels_layer.cu"
#include "../shim/kernels_optimizer.cu"

namespace {

template <typename... Args, size_t... I>
void call_with(void (*function)(Args...), void **args, std::index_sequence<I...>) {
  function(*static_cast<std::remove_reference_t<Args> *>(args[I])...);
}

template <typename... Args>
void call(void (*function)(Args...), void **args) {
  call_with(function, args, std::index_sequence_for<Args...>());
}

// Kernels with a mistake that the emulator must see.
void part_ways() {
  if (threadIdx.x % 2) {
    __shfl_xor_sync(~0u, 1, 1);
  }
}
void miss_barrier() {
  if (threadIdx.x < 64) {
    __syncthreads();
  }
}

const std::map<std::string, void (*)(void **)> kernels = {
    {"part_ways", [](void **args) { call(part_ways, args); }},
    {"miss_barrier", [](void **args) { call(miss_barrier, args); }},
#define LT_ENTRY(name) {#name, [](void **args) { call(name, args); }},
    LT_KERNELS(LT_ENTRY)
#undef LT_ENTRY
};

std::mutex one_at_a_time;
std::map<std::string, int> launches;

void emulate(const char *name, unsigned blocks, unsigned threads, void **args) {
  std::lock_guard<std::mutex> lock(one_at_a_time);
  if (threads % kWarpThreads || threads > kMostThreads) {
    throw std::runtime_error("blocks have whole warps, 32 at most");
  }
  blockDim.x = threads;
  kernel = kernels.at(name);
  kernel_args = args;
  launches[name]++;
  for (blockIdx.x = 0; blockIdx.x < blocks; blockIdx.x++) {
    run_block();
  }
}

void leave_undone(const char *, unsigned, unsigned, void **) {}

}  // namespace

extern "C" void *emulator(void) { return reinterpret_cast<void *>(&emulate); }
extern "C" void *idle_launcher(void) { return reinterpret_cast<void *>(&leave_undone); }
extern "C" char *emulator_refusal(const char *name) {
  try {
    emulate(name, 1, 256, nullptr);
  } catch (const std::exception &e) {
    return strdup(e.what());
  }
  return strdup("");
}
extern "C" int emulator_launches(const char *name) { return kernels.count(name) ? launches[name] : -1; }
