package torch

/*
#include "shim/shim.h"
*/
import "C"

import "fmt"

// DecoderFits says whether the nodes below support rows like x: fp32 on a CPU or 16 bits on a GPU, if
// our own kernels are in use (lt_set_fused).
func DecoderFits(x *Tensor) bool { return C.lt_decoder_fits(x.c()) != 0 }

// DecoderAttention is one node for causal attention over the rotated heads of RMSNorm(x) weight^T + bias, with its
// backward written by hand. Gradients of trainable weights are added directly to their gradient buffers.
type DecoderAttention struct {
	Norm         *Tensor // [D]
	Weight, Bias *Tensor // [(H+2G)*d,D]: q, k and v stacked by rows; [(H+2G)*d] or nil
	Cos, Sin     *Tensor // [T,1,d]
	Starts       []int64 // [n+1] offsets of the samples, and T
	Eps          float64
	Heads        int64 // H
	Groups       int64 // G: key heads

	// Queries [n+1] are the offsets of each sample's rows in the result, and M: the result has one or more of the
	// last positions of every sample. nil: all positions, M = T.
	Queries []int64

	// Keep keeps the norm's output for backward if the weight trains; otherwise it is recomputed, which gives the
	// same bits.
	Keep bool
}

// Forward maps x [T,D] to [M,H*d]. same is x itself: add the residual to same, so that both gradients of x are
// computed in one pass.
func (a DecoderAttention) Forward(s *Scope, x *Tensor) (out, same *Tensor) {
	var y, residual C.lt_tensor
	p, n := dims(a.Starts)
	queries, borders := dims(a.Queries)
	if a.Queries != nil && borders != n {
		panic(&Error{Op: "decoder attention", Msg: fmt.Sprintf("%d offsets of queries for %d of samples", borders, n)})
	}
	check("decoder attention", C.lt_decoder_attention(x.c(), a.Norm.c(), a.Weight.c(), a.Bias.optional(), a.Cos.c(),
		a.Sin.c(), p, queries, n-1, C.double(a.Eps), C.int64_t(a.Heads), C.int64_t(a.Groups), flag(a.Keep), &y,
		&residual))
	return s.take("decoder attention", y, nil), s.take("decoder attention", residual, nil)
}

// DecoderMLP is one node for the part of a layer after attention: h = x + y O^T, then h + SwiGLU(RMSNorm(h) GateUp^T)
// Down^T.
type DecoderMLP struct {
	O      *Tensor // [D,H*d]
	Norm   *Tensor // [D]
	GateUp *Tensor // [2I,D]: gate and up stacked by rows
	Down   *Tensor // [D,I]
	Eps    float64
	Keep   bool // keep the outputs of the norm and of SwiGLU for backward if the weights train
}

// Forward maps x [N,D] and y [N,H*d] to [N,D].
func (m DecoderMLP) Forward(s *Scope, x, y *Tensor) *Tensor {
	var out C.lt_tensor
	message := C.lt_decoder_mlp(x.c(), y.c(), m.O.c(), m.Norm.c(), m.GateUp.c(), m.Down.c(), C.double(m.Eps),
		flag(m.Keep), &out)
	return s.take("decoder mlp", out, message)
}

func flag(on bool) C.int {
	if on {
		return 1
	}
	return 0
}
