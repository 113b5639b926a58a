package torchtest

/*
#include "../shim/shim.h"
*/
import "C"

import "unsafe"

// SetFused selects our own kernels (the default) or libtorch's operations everywhere, and returns the previous setting.
func SetFused(on bool) bool {
	value := C.int(0)
	if on {
		value = 1
	}
	return C.lt_set_fused(value) != 0
}

// OwnProducts says whether torch.Linear uses our own products of fp32 matrices on the CPU: it does on AMD's processors
// with AVX-512.
func OwnProducts() bool { return C.lt_own_products() != 0 }

// Philox is the random number generator of the optimizer: Philox 4x32-10 (Salmon et al. 2011).
func Philox(counter [4]uint32, key [2]uint32) (out [4]uint32) {
	C.lt_philox((*C.uint32_t)(&counter[0]), (*C.uint32_t)(&key[0]), (*C.uint32_t)(&out[0]))
	return out
}

// setLauncher makes a C function run the kernels instead of a GPU, on tensors of the CPU; nil ends that.
func setLauncher(launch unsafe.Pointer) { C.lt_set_launcher(C.lt_launcher(launch)) }
