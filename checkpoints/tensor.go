package checkpoints

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
)

// Dtype is an element type under its name in safetensors.
type Dtype string

// The types that models use. Other types of safetensors (all are in dtypeSizes) are passed on as bytes.
const (
	F64  Dtype = "F64"
	F32  Dtype = "F32"
	F16  Dtype = "F16"
	BF16 Dtype = "BF16"
	I64  Dtype = "I64"
	I32  Dtype = "I32"
	I16  Dtype = "I16"
	I8   Dtype = "I8"
	U8   Dtype = "U8"
	Bool Dtype = "BOOL"
)

// dtypeSizes has the types of safetensors 0.6 whose elements are whole bytes.
var dtypeSizes = map[Dtype]int{
	F64: 8, F32: 4, F16: 2, BF16: 2, I64: 8, I32: 4, I16: 2, I8: 1, U8: 1, Bool: 1,
	"U64": 8, "U32": 4, "U16": 2, "C64": 8, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "F8_E4M3FNUZ": 1,
	"F8_E5M2FNUZ": 1,
}

// Size is the number of bytes of one element, 0 for an unknown type.
func (d Dtype) Size() int { return dtypeSizes[d] }

// Info describes a tensor without its values.
type Info struct {
	Name  string
	Dtype Dtype
	Shape []int64 // row-major; empty for a scalar
}

// Elements is the product of the shape.
func (i Info) Elements() int64 {
	n := int64(1)
	for _, size := range i.Shape {
		n *= size
	}
	return n
}

// Bytes is the size of the tensor's data.
func (i Info) Bytes() int64 { return i.Elements() * int64(i.Dtype.Size()) }

// check refuses a description whose size cannot be computed: an unknown type, a negative dimension, a product over 63
// bits. All untrusted descriptions pass it once, so that Elements and Bytes need not check.
func (i Info) check() error {
	size := i.Dtype.Size()
	if size == 0 {
		return fmt.Errorf("tensor %q: dtype %q is not one of %q", i.Name, i.Dtype, slices.Sorted(maps.Keys(dtypeSizes)))
	}
	n := int64(1)
	for _, extent := range append([]int64{int64(size)}, i.Shape...) {
		if extent < 0 || extent > 0 && n > math.MaxInt64/extent {
			return fmt.Errorf("tensor %q: no tensor of %s can have the shape %v", i.Name, i.Dtype, i.Shape)
		}
		n *= extent
	}
	return nil
}

// Tensor is a tensor's description and its values, little-endian, row-major, at any alignment. Data may be in a mapped
// file: then it must not be written to, and is invalid after the Weights it came from are closed.
type Tensor struct {
	Info
	Data []byte
}

// Float32Tensor is a one-dimensional tensor with a copy of the given values.
func Float32Tensor(name string, values []float32) Tensor {
	data := make([]byte, 0, 4*len(values))
	for _, x := range values {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(x))
	}
	return Tensor{Info{name, F32, []int64{int64(len(values))}}, data}
}

// Float32s returns the values as float32, copied. F16 and BF16 convert exactly, F64 is rounded; other types are an
// error.
func (t Tensor) Float32s() ([]float32, error) {
	convert, ok := map[Dtype]func([]byte) float32{
		F64:  func(b []byte) float32 { return float32(math.Float64frombits(binary.LittleEndian.Uint64(b))) },
		F32:  func(b []byte) float32 { return math.Float32frombits(binary.LittleEndian.Uint32(b)) },
		F16:  func(b []byte) float32 { return float16(binary.LittleEndian.Uint16(b)) },
		BF16: func(b []byte) float32 { return math.Float32frombits(uint32(binary.LittleEndian.Uint16(b)) << 16) },
	}[t.Dtype]
	if !ok {
		return nil, fmt.Errorf("tensor %q: values of %s are not floats", t.Name, t.Dtype)
	}
	size := t.Dtype.Size()
	values := make([]float32, len(t.Data)/size)
	for i := range values {
		values[i] = convert(t.Data[i*size:])
	}
	return values, nil
}

// float16 widens an IEEE 754 half: 1 sign bit, 5 exponent bits (bias 15), 10 fraction bits.
func float16(bits uint16) float32 {
	sign := uint32(bits>>15) << 31
	exponent, fraction := uint32(bits>>10&0x1f), uint32(bits&0x3ff)
	switch exponent {
	case 0: // zero or subnormal: fraction × 2⁻²⁴, which float32 holds exactly
		return math.Float32frombits(sign | math.Float32bits(float32(fraction)*0x1p-24))
	case 0x1f: // infinity or NaN
		return math.Float32frombits(sign | 0xff<<23 | fraction<<13)
	}
	return math.Float32frombits(sign | (exponent+127-15)<<23 | fraction<<13)
}
