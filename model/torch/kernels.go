package torch

/*
#include <stdlib.h>
#include "shim/shim.h"
*/
import "C"

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unsafe"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/model/torch/shim"
)

// kernelSource is the source of all kernels. The parts are joined because NVRTC is given no header files.
func kernelSource() string {
	var text strings.Builder
	for _, name := range []string{"kernels.h", "kernels_layer.cu", "kernels_optimizer.cu"} {
		part, err := shim.Sources.ReadFile(name)
		if err != nil {
			panic(err) // embedded, so it cannot be missing
		}
		fmt.Fprintf(&text, "#line 1 %q\n%s\n", name, strings.Replace(string(part), "#pragma once\n", "\n", 1))
	}
	return text.String()
}

// NVRTC is NVIDIA's run-time compiler as found on this machine.
type NVRTC struct {
	Path    string // of libnvrtc.so
	Version string // as in 13.0

	builtins string // path of libnvrtc-builtins; "" to let the loader find it
}

// FindNVRTC looks for libnvrtc in the file LLAVATRAIN_NVRTC if that is set; else near libtorch, in the per-user
// cache, and in the paths of the system's loader, in this order.
func FindNVRTC() (NVRTC, error) {
	var problems []string
	for _, path := range nvrtcCandidates() {
		n := NVRTC{Path: path}
		files, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "libnvrtc-builtins.so*"))
		if filepath.IsAbs(path) && len(files) > 0 {
			n.builtins = files[0]
		}
		name, builtins := C.CString(n.Path), C.CString(n.builtins)
		var major, minor C.int
		message := C.lt_open_nvrtc(name, builtins, &major, &minor)
		C.free(unsafe.Pointer(name))
		C.free(unsafe.Pointer(builtins))
		if message == nil {
			n.Version = fmt.Sprintf("%d.%d", int(major), int(minor))
			return n, nil
		}
		problems = append(problems, takeString(message))
	}
	return NVRTC{}, fmt.Errorf("%w: no NVRTC (libnvrtc.so.13 or .12): %s", ErrEngine, problems[0])
}

func nvrtcCandidates() []string {
	if named := os.Getenv("LLAVATRAIN_NVRTC"); named != "" {
		return []string{named}
	}
	lib := filepath.Dir(loadedLibrary("libtorch_cpu.so"))
	folders := []string{filepath.Join(lib, "../../nvidia/cu13/lib"), filepath.Join(lib, "../../nvidia/cuda_nvrtc/lib"),
		lib}
	if cache, err := checkpoints.CacheFolder(); err == nil {
		folders = append(folders, filepath.Join(cache, "nvrtc"))
	}
	var list []string
	names := []string{"libnvrtc.so.13", "libnvrtc.so.12"}
	for _, folder := range folders {
		for _, name := range names {
			if path := filepath.Join(folder, name); checkpoints.Exists(path) {
				list = append(list, path)
			}
		}
	}
	return append(list, names...)
}

// Compile compiles the kernels for an architecture such as sm_90.
func (n NVRTC) Compile(arch string) ([]byte, error) {
	path, source, target := C.CString(n.Path), C.CString(kernelSource()), C.CString(arch)
	defer C.free(unsafe.Pointer(path))
	defer C.free(unsafe.Pointer(source))
	defer C.free(unsafe.Pointer(target))
	var cubin unsafe.Pointer
	var size C.size_t
	if message := C.lt_compile_kernels(path, source, target, &cubin, &size); message != nil {
		defer C.free(unsafe.Pointer(message))
		return nil, fmt.Errorf("%w: kernels: %s", ErrEngine, C.GoString(message))
	}
	defer C.free(cubin)
	return C.GoBytes(cubin, C.int(size)), nil
}

// Kernels is the kernels' code for an architecture, from the cache, or compiled and then cached. A cache that cannot
// be read or written is ignored. Its files are named by a hash of everything that the code depends on, and end with a
// hash of the code.
func (n NVRTC) Kernels(arch string) ([]byte, error) {
	folder, err := checkpoints.CacheFolder()
	if err != nil {
		return n.Compile(arch)
	}
	key := sha256.Sum256([]byte(n.Version + "\n" + arch + "\n" + kernelSource()))
	path := filepath.Join(folder, "kernels", hex.EncodeToString(key[:16])+"-"+arch+".cubin")
	if kept, err := os.ReadFile(path); err == nil {
		if cubin, sum := kept[:max(0, len(kept)-sha256.Size)], kept[max(0, len(kept)-sha256.Size):]; len(cubin) > 0 {
			if want := sha256.Sum256(cubin); slices.Equal(sum, want[:]) {
				return cubin, nil
			}
		}
	}
	cubin, err := n.Compile(arch)
	if err == nil {
		keep(path, cubin)
	}
	return cubin, err
}

// keep caches code and its hash for Kernels.
func keep(path string, cubin []byte) {
	if os.MkdirAll(filepath.Dir(path), 0o777) != nil {
		return
	}
	sum := sha256.Sum256(cubin)
	// If this fails, the next run compiles again.
	_ = checkpoints.ReplaceFile(path, append(slices.Clip(cubin), sum[:]...))
}

// LoadKernels compiles our kernels for a GPU, unless they are cached, loads them, and checks each operation against
// libtorch's. Operations that fail run with libtorch's kernels; said has a line for each. Call it before training
// starts.
func LoadKernels(d Device) (said []string) {
	if err := loadKernels(d); err != nil {
		return []string{fmt.Sprintf("libtorch's operations run in place of our kernels: %v", err)}
	}
	for operation, check := range CheckKernels(d) {
		if check.Problem != "" {
			C.lt_switch_operation(C.int(operation), 0)
			said = append(said, fmt.Sprintf("libtorch's operations run in place of our kernel for %s: %s",
				check.Operation, check.Problem))
		}
	}
	slices.Sort(said)
	return said
}

// CardName is the driver's name of a GPU, such as NVIDIA H200.
func CardName(d Device) string {
	var name [256]C.char
	check("card name", C.lt_card_name(C.int(d), &name[0], C.int(len(name))))
	return C.GoString(&name[0])
}

func loadKernels(d Device) error {
	nvrtc, err := FindNVRTC()
	if err != nil {
		return err
	}
	var major, minor C.int
	if message := C.lt_compute_capability(C.int(d), &major, &minor); message != nil {
		return fmt.Errorf("%w: %s", ErrEngine, takeString(message))
	}
	cubin, err := nvrtc.Kernels(fmt.Sprintf("sm_%d%d", int(major), int(minor)))
	if err != nil {
		return err
	}
	if message := C.lt_load_kernels(C.int(d), unsafe.Pointer(&cubin[0])); message != nil {
		return fmt.Errorf("%w: %s", ErrEngine, takeString(message))
	}
	return nil
}

// KernelCheck compares an operation's kernels with libtorch's operations.
type KernelCheck struct {
	Operation  string
	FP32, BF16 float64 // the largest difference of a result or gradient, relative to its largest value
	Problem    string  // "" if they agree
}

// CheckKernels runs each operation with its kernels and with libtorch's operations, forward and backward, in fp32 and
// bf16, on small tensors.
func CheckKernels(d Device) (list []KernelCheck) {
	for i := C.int(0); C.lt_operation_name(i) != nil; i++ {
		check := KernelCheck{Operation: C.GoString(C.lt_operation_name(i))}
		var worst [2]C.double
		if message := C.lt_check_operation(i, C.int(d), &worst[0]); message != nil {
			check.Problem = takeString(message)
		}
		check.FP32, check.BF16 = float64(worst[0]), float64(worst[1])
		list = append(list, check)
	}
	return list
}
