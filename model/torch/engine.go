package torch

/*
#include <stdlib.h>
#include "shim/shim.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"unsafe"
)

// Engine describes the engine as Open found it.
type Engine struct {
	Version      string // of the libtorch in use
	BuiltAgainst string // of the headers this binary was compiled with
	Path         string // of libtorch_cpu.so
	CUDADevices  int
	WhyNoCUDA    string // "" if there is a GPU
	Config       string // libtorch's description of its build: compiler, BLAS, CPU capability
}

// ErrEngine is wrapped by every failure to find or use the engine or a device.
var ErrEngine = errors.New("engine")

var opened = sync.OnceValues(openEngine)

// Open loads the CUDA half of libtorch if it is in the same folder as the CPU half, and checks that the engine's
// version is the one this binary was built against. It must be called before any tensor is made; later calls return
// the first one's result.
func Open() (Engine, error) { return opened() }

func openEngine() (Engine, error) {
	C.lt_keep_memory()
	C.lt_count_memory()
	e := Engine{BuiltAgainst: C.GoString(C.lt_built_against())}
	e.Path = loadedLibrary("libtorch_cpu.so")
	for key, value := range defaultEnv {
		setDefaultEnv(key, value)
	}
	e.WhyNoCUDA, e.CUDADevices = openCUDA(filepath.Join(filepath.Dir(e.Path), "libtorch_cuda.so"))
	var config *C.char
	if message := C.lt_show_config(&config); message != nil {
		return e, fmt.Errorf("%w: %s", ErrEngine, takeString(message))
	}
	e.Config = takeString(config)
	e.Version = versionIn(e.Config)
	if minor(e.Version) != minor(e.BuiltAgainst) {
		return e, fmt.Errorf("%w: this binary was built against libtorch %s and found libtorch %s at %s; "+
			"rebuild it (make build) or point LD_LIBRARY_PATH at the lib folder of PyTorch %s",
			ErrEngine, e.BuiltAgainst, e.Version, e.Path, minor(e.BuiltAgainst))
	}
	return e, nil
}

// defaultEnv are settings of libraries, which they read when they start; what is set already stays.
var defaultEnv = map[string]string{
	"CUBLAS_WORKSPACE_CONFIG": ":4096:8", // deterministic cuBLAS
	"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
	// cuBLASLt repeats its search for a kernel at every linear map with a bias, 0.1 ms of host time each.
	"DISABLE_ADDMM_CUDA_LT": "1",
	// Sums in NVLink's switches differ from call to call; of the rest, rings have one order for each number of ranks.
	"NCCL_NVLS_ENABLE": "0",
	"NCCL_ALGO":        "Ring",
	// c10d's recorder of the last collectives, which nothing here reads, keeps a table that threads of several groups
	// change without a lock (recordWithResetEnabled in FlightRecorderDetail.hpp of 2.11): a crash now and then.
	"TORCH_FR_BUFFER_SIZE": "0",
}

func openCUDA(path string) (why string, devices int) {
	if _, err := os.Stat(path); err != nil {
		return "this libtorch has no CUDA half (libtorch_cuda.so)", 0
	}
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	var count C.int
	if message := C.lt_open_cuda(name, &count); message != nil {
		return takeString(message), 0
	}
	if count == 0 {
		return "no NVIDIA driver or GPU was found", 0
	}
	return "", int(count)
}

func takeString(c *C.char) string {
	defer C.free(unsafe.Pointer(c))
	return firstLine(C.GoString(c))
}

func setDefaultEnv(key, value string) {
	if os.Getenv(key) == "" {
		os.Setenv(key, value)
	}
}

// loadedLibrary is the path from which this process mapped a library.
func loadedLibrary(name string) string {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(maps)) {
		if path := strings.TrimSpace(line); strings.HasSuffix(path, "/"+name) {
			return path[strings.IndexByte(path, '/'):]
		}
	}
	return ""
}

var versionPattern = regexp.MustCompile(`TORCH_VERSION=([0-9.]+)`)

func versionIn(config string) string {
	if m := versionPattern.FindStringSubmatch(config); m != nil {
		return m[1]
	}
	return "unknown"
}

func minor(version string) string {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return version
	}
	return parts[0] + "." + parts[1]
}

// SetThreads sets how many threads an operation on the CPU may use.
func SetThreads(n int) { check("threads", C.lt_set_threads(C.int(n))) }

// Threads is how many threads an operation on the CPU may use.
func Threads() int { return int(C.lt_threads()) }

// Deterministic makes every operation either give the same bits in each run on the same machine, or fail.
func Deterministic() { check("deterministic", C.lt_deterministic()) }

// Memory is a GPU's total memory and the most that tensors on it have held since ResetPeak, in bytes.
func Memory(d Device) (total, peak int64) {
	var t, p C.int64_t
	check("memory", C.lt_device_memory(C.int(d), &t, &p))
	return int64(t), int64(p)
}

// Allocated is the bytes that tensors on the CPU take now: the memory that libtorch got from its allocator, without
// what kernels or the program hold outside it.
func Allocated() int64 { return int64(C.lt_allocated()) }

// PeakAllocated is the maximum of Allocated since ResetPeakAllocated.
func PeakAllocated() int64 { return int64(C.lt_peak_allocated()) }

// ResetPeakAllocated resets PeakAllocated to what is allocated now.
func ResetPeakAllocated() { C.lt_reset_peak_allocated() }

// Synchronize waits until the GPU has finished all queued work.
func Synchronize() { check("synchronize", C.lt_synchronize()) }
