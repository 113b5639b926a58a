// NVIDIA's run-time compiler, opened by its path: neither the build nor a machine without a GPU needs it.
#include <string>
#include <vector>

#include "shim_internal.h"

namespace {

// nvrtc.h's interface; every function returns 0 for success.
typedef struct NvrtcProgram *Program;

struct Nvrtc {
  int (*version)(int *major, int *minor);
  int (*create)(Program *, const char *source, const char *name, int headers, const char *const *contents,
                const char *const *names);
  int (*compile)(Program, int options, const char *const *list);
  int (*log_size)(Program, size_t *);
  int (*log)(Program, char *);
  int (*cubin_size)(Program, size_t *);
  int (*cubin)(Program, char *);
  int (*destroy)(Program *);
};

Nvrtc open_nvrtc(const char *path) {
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  TORCH_CHECK(library, dlerror());
  Nvrtc n;
  lt::find_symbol(library, path, "nvrtcVersion", &n.version);
  lt::find_symbol(library, path, "nvrtcCreateProgram", &n.create);
  lt::find_symbol(library, path, "nvrtcCompileProgram", &n.compile);
  lt::find_symbol(library, path, "nvrtcGetProgramLogSize", &n.log_size);
  lt::find_symbol(library, path, "nvrtcGetProgramLog", &n.log);
  lt::find_symbol(library, path, "nvrtcGetCUBINSize", &n.cubin_size);
  lt::find_symbol(library, path, "nvrtcGetCUBIN", &n.cubin);
  lt::find_symbol(library, path, "nvrtcDestroyProgram", &n.destroy);
  return n;
}

}  // namespace

// builtins is the path of libnvrtc-builtins, which the compiler opens by its bare name, or "" if the loader finds it
// without help.
char *lt_open_nvrtc(const char *path, const char *builtins, int *major, int *minor) {
  LT_PROTECT({
    if (*builtins) {
      TORCH_CHECK(dlopen(builtins, RTLD_NOW | RTLD_GLOBAL), dlerror());
    }
    TORCH_CHECK(open_nvrtc(path).version(major, minor) == 0, "nvrtcVersion failed");
  })
}

// Without --fmad=false the compiler would fuse multiplications with additions, and the results would differ from the
// CPU's in their bits.
char *lt_compile_kernels(const char *path, const char *source, const char *arch, void **cubin, size_t *size) {
  LT_PROTECT({
    auto n = open_nvrtc(path);
    Program program;
    TORCH_CHECK(n.create(&program, source, "kernels.cu", 0, nullptr, nullptr) == 0, "nvrtcCreateProgram failed");
    std::string architecture = std::string("--gpu-architecture=") + arch;
    const char *options[] = {architecture.c_str(), "--std=c++17", "--fmad=false"};
    int failed = n.compile(program, 3, options);
    if (failed) {
      size_t length = 0;
      n.log_size(program, &length);
      std::string log(length + 1, '\0');
      n.log(program, &log[0]);
      n.destroy(&program);
      TORCH_CHECK(false, "NVRTC's error ", failed, " for ", arch, ": ", log.c_str());
    }
    *size = 0;
    n.cubin_size(program, size);
    *cubin = malloc(*size);
    int missing = *cubin ? n.cubin(program, static_cast<char *>(*cubin)) : 1;
    n.destroy(&program);
    TORCH_CHECK(!missing && *size, "NVRTC made no code for ", arch);
  })
}
