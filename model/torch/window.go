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

// CachedWindowAttention is CachedAttention with a window.
func CachedWindowAttention(s *Scope, q, k, v *Tensor, window int64) *Tensor {
	m := k.Size(0)
	switch {
	case window == 0 || m <= window:
		return CachedAttention(s, q, k, v)
	case q.Size(0) > 1: // a whole prompt
		return WindowAttention(s, q, k, v, []int64{0, m}, window)
	}
	return CachedAttention(s, q, Narrow(s, k, 0, m-window, window), Narrow(s, v, 0, m-window, window))
}
