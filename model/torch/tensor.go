package torch

/*
#include "shim/shim.h"
*/
import "C"

import (
	"fmt"
	"unsafe"

	"github.com/sugarme/gotch/libtch"
)

// Dtype is an element type; the values are libtorch's ScalarType codes.
type Dtype int

const (
	Uint8    Dtype = 0
	Int16    Dtype = 2
	Int32    Dtype = 3
	Int64    Dtype = 4
	Float16  Dtype = 5
	Float32  Dtype = 6
	Float64  Dtype = 7
	Bool     Dtype = 11
	BFloat16 Dtype = 15
)

var dtypes = map[Dtype]struct {
	name string
	size int
}{
	Uint8: {"u8", 1}, Int16: {"i16", 2}, Int32: {"i32", 4}, Int64: {"i64", 8}, Float16: {"fp16", 2},
	Float32: {"fp32", 4}, Float64: {"fp64", 8}, Bool: {"bool", 1}, BFloat16: {"bf16", 2},
}

func (d Dtype) String() string { return dtypes[d].name }

// Size is the bytes of an element.
func (d Dtype) Size() int { return dtypes[d].size }

// Device is where a tensor is: CPU, or the index of a CUDA device.
type Device int

// CPU is the host.
const CPU Device = -1

func (d Device) String() string {
	if d == CPU {
		return "cpu"
	}
	return fmt.Sprintf("cuda:%d", int(d))
}

// Tensor is a handle to an engine tensor. It belongs to the scope it was made in or, after Own, to the caller of Own.
type Tensor struct {
	handle unsafe.Pointer
	scope  *Scope
	op     string // the operation that made it, for the error if it is used after its scope has ended
}

func (t *Tensor) ptr() unsafe.Pointer {
	if t.handle == nil {
		panic(&Error{Op: t.op, Msg: "its result was used after its scope ended"})
	}
	return t.handle
}

func (t *Tensor) c() C.lt_tensor { return C.lt_tensor(t.ptr()) }

// optional is the handle, or nil for no tensor.
func (t *Tensor) optional() C.lt_tensor {
	if t == nil {
		return nil
	}
	return t.c()
}

func (t *Tensor) free() {
	if t.handle != nil {
		C.lt_free(C.lt_tensor(t.handle))
		t.handle = nil
		live.Add(-1)
	}
}

// Free releases an owned tensor. Tensors of a scope are freed with the scope.
func (t *Tensor) Free() { t.free() }

func dims(shape []int64) (*C.int64_t, C.int) {
	return (*C.int64_t)(unsafe.Pointer(unsafe.SliceData(shape))), C.int(len(shape))
}

func (s *Scope) take(op string, handle C.lt_tensor, message *C.char) *Tensor {
	check(op, message)
	return s.wrap(op, unsafe.Pointer(handle))
}

// Empty makes an uninitialised tensor.
func Empty(s *Scope, shape []int64, dtype Dtype, device Device) *Tensor {
	return empty(s, shape, dtype, device, 0)
}

// Zeros makes a tensor of zeros.
func Zeros(s *Scope, shape []int64, dtype Dtype, device Device) *Tensor {
	return empty(s, shape, dtype, device, 1)
}

// Ones makes a tensor of ones.
func Ones(s *Scope, shape []int64, dtype Dtype, device Device) *Tensor {
	return gotch(s, "ones", func(out *libtch.Ctensor) {
		libtch.AtgOnes(out, shape, len(shape), int32(dtype), int32(device))
	})
}

func empty(s *Scope, shape []int64, dtype Dtype, device Device, zero C.int) *Tensor {
	var out C.lt_tensor
	p, n := dims(shape)
	message := C.lt_empty(p, n, C.int(dtype), C.int(device), zero, &out)
	return s.take("empty", out, message)
}

// Element is a Go type that a tensor can be made from or read into.
type Element interface {
	uint8 | int16 | int32 | int64 | float32 | float64
}

func dtypeOf[E Element]() Dtype {
	switch any(*new(E)).(type) {
	case uint8:
		return Uint8
	case int16:
		return Int16
	case int32:
		return Int32
	case int64:
		return Int64
	case float32:
		return Float32
	default:
		return Float64
	}
}

// From copies a slice to a tensor of the given shape on a device.
func From[E Element](s *Scope, data []E, shape []int64, device Device) *Tensor {
	requireElements("from", int64(len(data)), shape)
	var out C.lt_tensor
	p, n := dims(shape)
	message := C.lt_from_bytes(unsafe.Pointer(unsafe.SliceData(data)), p, n, C.int(dtypeOf[E]()), C.int(device), &out)
	return s.take("from", out, message)
}

// Read copies a tensor's values to Go; E must be the tensor's element type.
func Read[E Element](t *Tensor) []E {
	if t.Dtype() != dtypeOf[E]() {
		panic(&Error{Op: "read", Msg: fmt.Sprintf("the tensor holds %v, not %v", t.Dtype(), dtypeOf[E]())})
	}
	out := make([]E, t.Elements())
	check("read", C.lt_copy_to_bytes(t.c(), unsafe.Pointer(unsafe.SliceData(out)),
		C.size_t(len(out)*dtypeOf[E]().Size())))
	return out
}

// Bytes copies a tensor's values, little-endian and contiguous.
func (t *Tensor) Bytes() []byte {
	out := make([]byte, t.Elements()*int64(t.Dtype().Size()))
	check("bytes", C.lt_copy_to_bytes(t.c(), unsafe.Pointer(unsafe.SliceData(out)), C.size_t(len(out))))
	return out
}

// SetBytes copies little-endian data of the given dtype and shape into t, converting to t's dtype and device.
func (t *Tensor) SetBytes(data []byte, dtype Dtype, shape []int64) {
	requireElements("set bytes", int64(len(data)/dtype.Size()), shape)
	p, n := dims(shape)
	check("set bytes", C.lt_copy_from_bytes(t.c(), unsafe.Pointer(unsafe.SliceData(data)), p, n, C.int(dtype)))
}

func requireElements(op string, have int64, shape []int64) {
	want := int64(1)
	for _, d := range shape {
		want *= d
	}
	if have != want {
		panic(&Error{Op: op, Msg: fmt.Sprintf("%d values for shape %v", have, shape)})
	}
}

type description struct {
	dtype, device, rank C.int
	shape               [8]C.int64_t
}

func (t *Tensor) describe() (d description) {
	check("describe", C.lt_describe(t.c(), &d.dtype, &d.device, &d.rank, &d.shape[0]))
	return d
}

// Shape is the size of each dimension.
func (t *Tensor) Shape() []int64 {
	d := t.describe()
	shape := make([]int64, d.rank)
	for i := range shape {
		shape[i] = int64(d.shape[i])
	}
	return shape
}

// Size is the size of one dimension, counted from 0.
func (t *Tensor) Size(dim int) int64 { return t.Shape()[dim] }

// Elements is the product of the shape.
func (t *Tensor) Elements() int64 {
	n := int64(1)
	for _, d := range t.Shape() {
		n *= d
	}
	return n
}

// Dtype is the element type.
func (t *Tensor) Dtype() Dtype { return Dtype(t.describe().dtype) }

// Device is the device that the tensor is on.
func (t *Tensor) Device() Device { return Device(t.describe().device) }

// Copy copies the values of source into t, converting dtype and device.
func (t *Tensor) Copy(source *Tensor) { check("copy", C.lt_copy(t.c(), source.c())) }

// Zero sets every value to 0.
func (t *Tensor) Zero() { check("zero", C.lt_zero(t.c())) }

// FillNormal draws every value from a normal distribution with mean 0. The same seed gives the same values on any
// device.
func (t *Tensor) FillNormal(std float64, seed uint64) {
	check("fill normal", C.lt_fill_normal(t.c(), C.double(std), C.uint64_t(seed)))
}

// FillUniform draws every value uniformly from [-bound, bound).
func (t *Tensor) FillUniform(bound float64, seed uint64) {
	check("fill uniform", C.lt_fill_uniform(t.c(), C.double(bound), C.uint64_t(seed)))
}
