package torch

/*
#include "shim/shim.h"
*/
import "C"

import "fmt"

// DecoderFits says whether the halves of a decoder layer below take rows like x: fp32 on a CPU, 16 bit on a card, and SetFused on.
func DecoderFits(x *Tensor) bool { return C.lt_decoder_fits(x.c()) != 0 }

// DecoderAttention is one node for causal attention over the rotated heads of RMSNorm(x) weight^T + bias, with its backward written out.
// Gradients of trainable weights are added to their gradient buffers at once.
type DecoderAttention struct {
	Norm         *Tensor // [D]
	Weight, Bias *Tensor // [(H+2G)*d,D]: q, k and v below each other; [(H+2G)*d] or nil
	Cos, Sin     *Tensor // [T,1,d]
	Starts       []int64 // [n+1]
	Queries      []int64 // [n+1] borders of the rows of the result, which are at least one of each sample's last positions; nil: all, M = T
	Eps          float64
	Heads        int64 // H
	Groups       int64 // G: key heads
	Keep         bool  // the norm's output for backward, where the weight trains; else it is computed again, which gives the same bits
}

// Forward maps x [T,D] to [M,H*d]. same is x: what is added to x is added to same, so that its gradient comes back in one pass.
func (a DecoderAttention) Forward(s *Scope, x *Tensor) (out, same *Tensor) {
	var y, residual C.lt_tensor
	p, n := dims(a.Starts)
	queries, borders := dims(a.Queries)
	if a.Queries != nil && borders != n {
		panic(&Error{Op: "decoder attention", Msg: fmt.Sprintf("%d borders of queries for %d of samples", borders, n)})
	}
	check("decoder attention", C.lt_decoder_attention(x.c(), a.Norm.c(), a.Weight.c(), a.Bias.optional(), a.Cos.c(), a.Sin.c(), p, queries, n-1,
		C.double(a.Eps), C.int64_t(a.Heads), C.int64_t(a.Groups), flag(a.Keep), &y, &residual))
	return s.take("decoder attention", y, nil), s.take("decoder attention", residual, nil)
}

// DecoderMLP is one node for what follows attention: h = x + y O^T, then h + SwiGLU(RMSNorm(h) GateUp^T) Down^T.
type DecoderMLP struct {
	O      *Tensor // [D,H*d]
	Norm   *Tensor // [D]
	GateUp *Tensor // [2I,D]: gate above up
	Down   *Tensor // [D,I]
	Eps    float64
	Keep   bool // the outputs of the norm and of SwiGLU for backward, where the weights train
}

// Forward maps x [N,D] and y [N,H*d] to [N,D].
func (m DecoderMLP) Forward(s *Scope, x, y *Tensor) *Tensor {
	var out C.lt_tensor
	message := C.lt_decoder_mlp(x.c(), y.c(), m.O.c(), m.Norm.c(), m.GateUp.c(), m.Down.c(), C.double(m.Eps), flag(m.Keep), &out)
	return s.take("decoder mlp", out, message)
}

func flag(on bool) C.int {
	if on {
		return 1
	}
	return 0
}
