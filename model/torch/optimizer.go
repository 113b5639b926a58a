package torch

/*
#include "shim/shim.h"
*/
import "C"

// SumSquares adds the sum of squared values, accumulated in fp64, to total, [1] fp64 on the same device. It is the same for any number of
// threads.
func SumSquares(t, total *Tensor) { check("sum of squares", C.lt_sum_squares_into(t.c(), total.c())) }

// Adam holds the numbers of one AdamW update.
type Adam struct {
	LR, Beta1, Beta2, Eps, WeightDecay float64
	Step                               int64   // 1 for the first update
	Clip                               float64 // the largest norm of all gradients, which are scaled down to it; 0: any (torch.nn.utils.clip_grad_norm_)
	Seed                               uint64  // of the rounding of bf16 moments; buffers of one step need different ones
}

// AdamW updates flat buffers in place: param by its gradient and the moments m and v, both fp32 or both bf16, and clears the gradient.
// remainder is nil for fp32 parameters; for bf16 ones it holds the low half of the fp32 masters (see MergeMaster). total is the sum of
// squares of all gradients of the step, [1] fp64 on the same device: where it is not finite, only the gradient is cleared.
//
// bf16 moments are rounded up or down at random, so that their mean is right however small a change is: by Philox 4x32-10 (Salmon et al.
// 2011) of the seed, the step, and the element's place, and so alike on every device, for any number of threads, and after a resume.
// (Loshchilov and Hutter 2019; torch.optim.AdamW.)
func AdamW(param, remainder, grad, m, v, total *Tensor, a Adam) {
	check("adamw", C.lt_adamw(param.c(), remainder.optional(), grad.c(), m.c(), v.c(), total.c(), C.double(a.LR), C.double(a.Beta1), C.double(a.Beta2),
		C.double(a.Eps), C.double(a.WeightDecay), C.double(a.Clip), C.int64_t(a.Step), C.uint64_t(a.Seed)))
}

// MergeMaster is the exact fp32 value held as param (bf16, the nearest, ties away from zero) and remainder (i16, the signed distance of
// the bit patterns).
func MergeMaster(s *Scope, param, remainder *Tensor) *Tensor {
	var out C.lt_tensor
	message := C.lt_merge_master(param.c(), remainder.c(), &out)
	return s.take("merge master", out, message)
}

// SplitMaster stores fp32 values as their nearest bf16 and the remainder that MergeMaster adds back.
func SplitMaster(master, param, remainder *Tensor) {
	check("split master", C.lt_split_master(master.c(), param.c(), remainder.c()))
}
