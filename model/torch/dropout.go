package torch

/*
#include "shim/shim.h"
*/
import "C"

import (
	"fmt"
	"unsafe"
)

// Dropout sets a share p of x's elements to 0 and divides the others by 1-p (Srivastava et al. 2014). Rows starts[k]
// to starts[k+1] belong to sample k. Which elements are kept depends only on keys[k] and on their row and column
// within the sample: it is the same on every device, in every dtype, and each time. x [R,D], keys [n], starts [n+1]
// -> [R,D].
func Dropout(s *Scope, x *Tensor, p float64, keys []uint64, starts []int64) *Tensor {
	if len(starts) != len(keys)+1 {
		panic(&Error{Op: "dropout", Msg: fmt.Sprintf("%d keys for %d offsets", len(keys), len(starts))})
	}
	var out C.lt_tensor
	borders, _ := dims(starts)
	message := C.lt_dropout(x.c(), C.double(p), (*C.uint64_t)(unsafe.Pointer(unsafe.SliceData(keys))), borders,
		C.int(len(keys)), &out)
	return s.take("dropout", out, message)
}
