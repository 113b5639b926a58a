package torchtest

/*
#cgo CXXFLAGS: -std=c++17
#cgo LDFLAGS: -lstdc++
#include <stdlib.h>
void *emulator(void);
void *idle_launcher(void);
int emulator_launches(const char *name);
char *emulator_refusal(const char *name);
*/
import "C"

import (
	"testing"
	"unsafe"

	// its sources are compiled here too, and recompiled when they change
	_ "github.com/llavatrain/llavatrain/model/torch/shim"
)

// Emulate runs the GPU kernels on the CPU until the test ends, instead of the CPU's loops.
func Emulate(t testing.TB) {
	t.Helper()
	setLauncher(C.emulator())
	t.Cleanup(func() { setLauncher(nil) })
}

// Emulated runs the GPU kernels on the CPU during run.
func Emulated(run func()) {
	setLauncher(C.emulator())
	defer setLauncher(nil)
	run()
}

// Undone launches kernels without running them, during run.
func Undone(run func()) {
	setLauncher(C.idle_launcher())
	defer setLauncher(nil)
	run()
}

// Refusal runs a kernel that no GPU could run (part_ways, miss_barrier) and returns the emulator's error; "" if it
// found none.
func Refusal(kernel string) string {
	name := C.CString(kernel)
	defer C.free(unsafe.Pointer(name))
	message := C.emulator_refusal(name)
	defer C.free(unsafe.Pointer(message))
	return C.GoString(message)
}

// Launches is the number of times a kernel has been emulated so far.
func Launches(t testing.TB, kernel string) int {
	t.Helper()
	name := C.CString(kernel)
	defer C.free(unsafe.Pointer(name))
	n := int(C.emulator_launches(name))
	if n < 0 {
		t.Fatalf("there is no kernel %s", kernel)
	}
	return n
}
