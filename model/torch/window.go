package torch

/*
#include "shim/shim.h"
*/
import "C"

// WindowAttention is causal attention within each sample, in which a position attends to at most the last window
// positions, itself included; 0 is no window. The shapes are Attention's.
func WindowAttention(s *Scope, q, k, v *Tensor, starts []int64, window int64) *Tensor {
	if window == 0 || Longest(starts) <= window {
		return Attention(s, q, k, v, starts, true)
	}
	var out C.lt_tensor
	p, n := dims(starts)
	message := C.lt_window_attention(q.c(), k.c(), v.c(), p, n-1, C.int64_t(window), &out)
	return s.take("window attention", out, message)
}

// Longest is the length of the longest sample; starts are the samples' offsets.
func Longest(starts []int64) (length int64) {
	for i := range len(starts) - 1 {
		length = max(length, starts[i+1]-starts[i])
	}
	return length
}
