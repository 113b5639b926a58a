package torch

/*
#include "shim.h"
*/
import "C"

// SumSquares is the sum of squared values, accumulated in fp64, the same for any number of threads.
func SumSquares(t *Tensor) float64 {
	var out C.double
	check("sum of squares", C.lt_sum_squares(t.c(), &out))
	return float64(out)
}

// Adam holds the numbers of one AdamW update.
type Adam struct {
	LR, Beta1, Beta2, Eps, WeightDecay float64
	Step                               int64   // 1 for the first update
	GradScale                          float64 // the gradient is multiplied by it first (clipping)
}

// AdamW updates flat buffers in place: param by its gradient and the moments m and v (fp32). remainder is nil for fp32 parameters; for
// bf16 ones it holds the low half of the fp32 masters (see MergeMaster). (Loshchilov and Hutter 2019; torch.optim.AdamW.)
func AdamW(param, remainder, grad, m, v *Tensor, a Adam) {
	check("adamw", C.lt_adamw(param.c(), remainder.optional(), grad.c(), m.c(), v.c(), C.double(a.LR), C.double(a.Beta1), C.double(a.Beta2),
		C.double(a.Eps), C.double(a.WeightDecay), C.int64_t(a.Step), C.double(a.GradScale)))
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
