package nn

import (
	"math"

	"github.com/llavatrain/llavatrain/model/torch"
)

// Rotary is the table of rotary position embeddings: position p rotates pair i by p times the pair's frequency (Su et
// al. 2021).
type Rotary struct {
	cos, sin *torch.Tensor // [positions,1,d], owned, fp32
}

// Frequencies are theta^(-2i/d) for the d/2 pairs of a head, in radians a position. Each step is rounded to fp32 as
// in transformers: with one rounding less, an angle at position 4096 would be off by 2e-4.
func Frequencies(headDim int64, theta float64) []float32 {
	list := make([]float32, headDim/2)
	for i := range list {
		exponent := float32(2*i) / float32(headDim)
		list[i] = 1 / float32(math.Pow(theta, float64(exponent)))
	}
	return list
}

// NewRotary makes the table on a device, in the arithmetic of transformers' Llama: frequencies and angles in fp32.
func NewRotary(positions int64, frequencies []float32, device torch.Device) (*Rotary, error) {
	half := int64(len(frequencies))
	headDim := 2 * half
	cos, sin := make([]float32, positions*headDim), make([]float32, positions*headDim)
	for i, frequency := range frequencies {
		for p := range positions {
			angle := float64(float32(p) * frequency)
			for _, column := range [2]int64{int64(i), int64(i) + half} {
				cos[p*headDim+column] = float32(math.Cos(angle))
				sin[p*headDim+column] = float32(math.Sin(angle))
			}
		}
	}
	r := &Rotary{}
	return r, torch.Do(func(s *torch.Scope) {
		shape := []int64{positions, 1, headDim}
		r.cos = torch.Own(torch.From(s, cos, shape, device))
		r.sin = torch.Own(torch.From(s, sin, shape, device))
	})
}

// At is the rows of the table for positions [T], in dtype: cos and sin, each [T,1,d].
func (r *Rotary) At(s *torch.Scope, positions *torch.Tensor, dtype torch.Dtype) (cos, sin *torch.Tensor) {
	row := func(table *torch.Tensor) *torch.Tensor {
		return torch.To(s, torch.IndexSelect(s, table, 0, positions), dtype) // [T,1,d]
	}
	return row(r.cos), row(r.sin)
}

// Free releases the table.
func (r *Rotary) Free() { freeAll(r.cos, r.sin) }
