package torch

/*
#include "shim/shim.h"
*/
import "C"

import (
	"runtime"
	"unsafe"
)

// Extents says where the samples of a step of generation have their keys and values in an arena [C,G,d]: sample i has
// Lengths[i] positions, whose rows begin at Places[i]. Its new positions, the last ones, are the rows Borders[i] to
// Borders[i+1] of the step.
type Extents struct {
	Borders         []int64 // [n+1]
	Places, Lengths []int64 // [n]
	Rows            *Tensor // [T] i64, the arena's row of each new position
}

// c is the extents for one call; the pinner keeps its slices in place.
func (e Extents) c(pins *runtime.Pinner) *C.lt_extents {
	if len(e.Borders) != len(e.Places)+1 || len(e.Lengths) != len(e.Places) {
		panic(&Error{Op: "extents", Msg: "borders, places and lengths do not belong together"})
	}
	slice := func(x []int64) *C.int64_t {
		pins.Pin(unsafe.SliceData(x))
		return (*C.int64_t)(unsafe.Pointer(unsafe.SliceData(x)))
	}
	return &C.lt_extents{count: C.int(len(e.Places)), borders: slice(e.Borders), places: slice(e.Places),
		lengths: slice(e.Lengths), rows: e.Rows.c()}
}

// ExtentsAttention is causal attention of the samples' new positions to all their positions; with a window, to at most
// the last ones, themselves included. q [T,H,d]; keys, values [C,G,d] -> [T,H,d]. No gradient.
func ExtentsAttention(s *Scope, q, keys, values *Tensor, e Extents, window int64) *Tensor {
	var out C.lt_tensor
	var pins runtime.Pinner
	defer pins.Unpin()
	message := C.lt_extents_attention(q.c(), keys.c(), values.c(), e.c(&pins), C.int64_t(window), &out)
	return s.take("extents attention", out, message)
}

// PutRows writes x [T,G,d] to the rows [T] of an arena [C,G,d], in place.
func PutRows(arena, rows, x *Tensor) { check("put rows", C.lt_put_rows(arena.c(), rows.c(), x.c())) }

// MoveRows copies rows of an arena within it; the two ranges may not overlap.
func MoveRows(arena *Tensor, from, to, count int64) {
	check("move rows", C.lt_move_rows(arena.c(), C.int64_t(from), C.int64_t(to), C.int64_t(count)))
}

// LargePages asks the system for large pages behind a tensor on the CPU, which makes reading all of it faster.
func LargePages(t *Tensor) { C.lt_large_pages(t.c()) }

// Product is x weight^T, without a gradient. For the few rows that generation multiplies at a time, it takes as long as
// reading the weight. x [M,K], weight [N,K] -> [M,N]
func Product(s *Scope, x, weight *Tensor) *Tensor {
	var out C.lt_tensor
	message := C.lt_product(x.c(), weight.c(), &out)
	return s.take("product", out, message)
}

// DecoderStep is a decoder layer on the new positions of a step of generation, in one call. The fields are those of
// DecoderAttention and DecoderMLP.
type DecoderStep struct {
	InputNorm, QKV, Bias *Tensor // Bias may be nil
	QNorm, KNorm         *Tensor // [d], nil if heads are not normalised
	Cos, Sin             *Tensor
	O, PostNorm          *Tensor
	GateUp, Down         *Tensor
	Eps                  float64
	Heads, Window        int64
	Wanted               *Tensor // [N] i64, rows whose result is wanted; nil for all
}

// Forward maps x [T,D] to [N,D], and writes the keys and values of the new positions to the arena [C,G,d].
func (d DecoderStep) Forward(s *Scope, x *Tensor, e Extents, keys, values *Tensor) *Tensor {
	var out C.lt_tensor
	var pins runtime.Pinner
	defer pins.Unpin()
	layer := &C.lt_layer{input_norm: d.InputNorm.c(), qkv: d.QKV.c(), qkv_bias: d.Bias.optional(),
		q_norm: d.QNorm.optional(), k_norm: d.KNorm.optional(), cos: d.Cos.c(), sin: d.Sin.c(), o: d.O.c(),
		post_norm: d.PostNorm.c(), gate_up: d.GateUp.c(), down: d.Down.c(), wanted: d.Wanted.optional(),
		eps: C.double(d.Eps), heads: C.int64_t(d.Heads), window: C.int64_t(d.Window)}
	message := C.lt_decoder_step(x.c(), layer, e.c(&pins), keys.c(), values.c(), &out)
	return s.take("decoder step", out, message)
}
