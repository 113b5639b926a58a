package torchtest

/*
#cgo CXXFLAGS: -std=c++17
#cgo LDFLAGS: -lstdc++
#include <stdlib.h>
void *emulator(void);
void *idle_launcher(void);
int emulator_launches(const char *name);
*/
import "C"

import (
	"testing"
	"unsafe"

	"github.com/llavatrain/llavatrain/model/torch"
)

// Emulate runs the kernels of a card on the CPU until the test ends, in place of the CPU's own loops.
func Emulate(t testing.TB) {
	t.Helper()
	torch.SetLauncher(C.emulator())
	t.Cleanup(func() { torch.SetLauncher(nil) })
}

// LeaveUndone has kernels launched and not run until the test ends.
func LeaveUndone(t testing.TB) {
	t.Helper()
	torch.SetLauncher(C.idle_launcher())
	t.Cleanup(func() { torch.SetLauncher(nil) })
}

// Launches is how often a kernel has been emulated so far.
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
