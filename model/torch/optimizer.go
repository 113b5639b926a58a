package torch

/*
#include "shim/shim.h"
*/
import "C"

// SumSquares adds the sum of squares of t, accumulated in fp64, to total, [1] fp64 on the same device. The result is
// the same for any number of threads.
func SumSquares(t, total *Tensor) { check("sum of squares", C.lt_sum_squares_into(t.c(), total.c())) }

// Adam is the settings of one AdamW update.
type Adam struct {
	LR, Beta1, Beta2, Eps, WeightDecay float64
	Step                               int64   // 1 for the first update
	Clip                               float64 // maximum norm of all gradients, as in clip_grad_norm_; 0: none
	Seed                               uint64  // for rounding bf16 moments; differs between the buffers of a step
	First                              int64   // index of the first element in the buffer that these are a slice of
}

// AdamW updates flat buffers in place (Loshchilov and Hutter 2019; torch.optim.AdamW): param from its gradient and
// the moments m and v, both fp32 or both bf16; then it clears the gradient. remainder is nil for fp32 parameters; for
// bf16 ones it holds the low half of the fp32 masters (see MergeMaster). total is the sum of squares of all gradients
// of the step, [1] fp64 on the same device: if it is not finite, only the gradient is cleared.
//
// bf16 moments are rounded up or down at random, so that their mean is right however small a change is. The random
// bits are Philox 4x32-10 (Salmon et al. 2011) of the seed, the step and the element's index, and so the same on
// every device, for any number of threads, and after a resume.
func AdamW(param, remainder, grad, m, v, total *Tensor, a Adam) {
	check("adamw", C.lt_adamw(param.c(), remainder.optional(), grad.c(), m.c(), v.c(), total.c(), C.double(a.LR),
		C.double(a.Beta1), C.double(a.Beta2), C.double(a.Eps), C.double(a.WeightDecay), C.double(a.Clip),
		C.int64_t(a.Step), C.uint64_t(a.Seed), C.int64_t(a.First)))
}

// MergeMaster is the exact fp32 value that is stored as param (bf16, rounded to nearest, ties away from zero) and
// remainder (i16, the signed difference of the bit patterns).
func MergeMaster(s *Scope, param, remainder *Tensor) *Tensor {
	var out C.lt_tensor
	message := C.lt_merge_master(param.c(), remainder.c(), &out)
	return s.take("merge master", out, message)
}

// SplitMaster stores fp32 values as the nearest bf16 and the remainder that MergeMaster adds back.
func SplitMaster(master, param, remainder *Tensor) {
	check("split master", C.lt_split_master(master.c(), param.c(), remainder.c()))
}
