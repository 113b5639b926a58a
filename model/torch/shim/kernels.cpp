// Loads our kernels through a GPU's driver and queues them. libcuda is opened by name, so that the build needs nothing
// of CUDA.
#include <c10/core/impl/VirtualGuardImpl.h>

#include <map>

#include "device.h"

namespace {

// The part of cuda.h's interface that is used here; every result is 0 for success.
struct Driver {
  int (*init)(unsigned);
  int (*device)(int *, int ordinal);
  int (*attribute)(int *, int attribute, int device);
  int (*name)(char *, int length, int device);
  int (*retain)(void **context, int device);
  int (*current)(void **context);
  int (*set_current)(void *context);
  int (*load)(void **module, const void *cubin);
  int (*function)(void **function, void *module, const char *name);
  int (*launch)(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                unsigned shared, void *stream, void **args, void **extra);
  int (*message)(int error, const char **text);
};

constexpr int kMajor = 75, kMinor = 76;  // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR

Driver driver;
void *context = nullptr;                    // the device's primary context, which libtorch uses too
int card = -1;                              // whose kernels are loaded; -1: none
std::map<std::string, void *> functions;    // by kernel name
bool switched_off[lt::device::kOperations];
lt_launcher emulator = nullptr;             // runs kernels on the CPU, in tests

void demand(int error, const char *what) {
  if (error) {
    const char *text = "unknown error";
    driver.message(error, &text);
    TORCH_CHECK(false, what, ": ", text, " (", error, ")");
  }
}

void open_driver() {
  const char *path = "libcuda.so.1";
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  TORCH_CHECK(library, dlerror());
  lt::find_symbol(library, path, "cuInit", &driver.init);
  lt::find_symbol(library, path, "cuDeviceGet", &driver.device);
  lt::find_symbol(library, path, "cuDeviceGetAttribute", &driver.attribute);
  lt::find_symbol(library, path, "cuDeviceGetName", &driver.name);
  lt::find_symbol(library, path, "cuDevicePrimaryCtxRetain", &driver.retain);
  lt::find_symbol(library, path, "cuCtxGetCurrent", &driver.current);
  lt::find_symbol(library, path, "cuCtxSetCurrent", &driver.set_current);
  lt::find_symbol(library, path, "cuModuleLoadData", &driver.load);
  lt::find_symbol(library, path, "cuModuleGetFunction", &driver.function);
  lt::find_symbol(library, path, "cuLaunchKernel", &driver.launch);
  lt::find_symbol(library, path, "cuGetErrorString", &driver.message);
  demand(driver.init(0), "cuInit");
}

// Each thread has its own current context; those of autograd have one only after libtorch's first call there.
void use_context() {
  void *now = nullptr;
  demand(driver.current(&now), "cuCtxGetCurrent");
  if (now != context) {
    demand(driver.set_current(context), "cuCtxSetCurrent");
  }
}

void find_kernels(void *module) {
#define LT_FIND(name) demand(driver.function(&functions[#name], module, #name), "cuModuleGetFunction of " #name);
  LT_KERNELS(LT_FIND)
#undef LT_FIND
}

}  // namespace

namespace lt {
namespace device {

bool ready(Operation operation, std::initializer_list<at::Tensor> tensors) {
  auto &first = *tensors.begin();
  bool here = emulator ? first.is_cpu() : card >= 0 && first.is_cuda() && first.get_device() == card;
  if (!here || !lt::fused() || switched_off[operation] ||
      (first.scalar_type() != at::kFloat && first.scalar_type() != at::kBFloat16)) {
    return false;
  }
  for (auto &t : tensors) {
    if (t.device() != first.device() || t.scalar_type() != first.scalar_type() || t.numel() == 0) {
      return false;
    }
  }
  return true;
}

void launch(const std::string &kernel, Grid grid, void **args) {
  TORCH_CHECK(grid.blocks > 0 && grid.blocks < (int64_t{1} << 31), kernel, " on ", grid.blocks, " blocks");
  auto blocks = static_cast<unsigned>(grid.blocks), threads = static_cast<unsigned>(grid.threads);
  if (emulator) {
    emulator(kernel.c_str(), blocks, threads, args);
    return;
  }
  use_context();
  c10::impl::VirtualGuardImpl guard(at::kCUDA);
  void *stream =
      guard.getStreamNativeHandle(guard.getStream(at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(card))));
  demand(driver.launch(functions.at(kernel), blocks, 1, 1, threads, 1, 1, 0, stream, args, nullptr), kernel.c_str());
}

}  // namespace device
}  // namespace lt

void lt_set_launcher(lt_launcher launcher) { emulator = launcher; }

void lt_switch_operation(int operation, int on) { switched_off[operation] = !on; }

char *lt_compute_capability(int device, int *major, int *minor) {
  LT_PROTECT({
    open_driver();
    int handle = 0;
    demand(driver.device(&handle, device), "cuDeviceGet");
    demand(driver.attribute(major, kMajor, handle), "cuDeviceGetAttribute");
    demand(driver.attribute(minor, kMinor, handle), "cuDeviceGetAttribute");
  })
}

char *lt_card_name(int device, char *out, int length) {
  LT_PROTECT({
    open_driver();
    int handle = 0;
    demand(driver.device(&handle, device), "cuDeviceGet");
    demand(driver.name(out, length, handle), "cuDeviceGetName");
  })
}

char *lt_load_kernels(int device, const void *cubin) {
  LT_PROTECT({
    open_driver();
    int handle = 0;
    void *module = nullptr;
    demand(driver.device(&handle, device), "cuDeviceGet");
    demand(driver.retain(&context, handle), "cuDevicePrimaryCtxRetain");
    use_context();
    demand(driver.load(&module, cubin), "cuModuleLoadData");
    find_kernels(module);
    card = device;
  })
}

void lt_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
  auto words = lt::philox(counter[0], counter[1], counter[2], counter[3], key[0], key[1]);
  std::memcpy(out, words.w, sizeof words.w);
}
