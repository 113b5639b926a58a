package model

import (
	"math"

	"github.com/llavatrain/llavatrain/model/torch"
)

// interpolate makes a map smaller: grid [Rows*Columns,D] -> [ToRows*ToColumns,D]. It is torch's
// interpolate(mode="bilinear", align_corners=False, antialias=False).
func (p Map) interpolate(s *torch.Scope, grid *torch.Tensor) *torch.Tensor {
	return p.resample(s, grid, bilinear)
}

// resample changes the size of n maps: grid [n*Rows*Columns,D] -> [n*ToRows*ToColumns,D]. weights(from, to) is the
// matrix [to,from] that does it to a line. Written as two products with matrices in fp32, it has a gradient that always
// adds in one order; that of torch's own interpolate does not on a GPU, where training refuses it.
func (p Map) resample(s *torch.Scope, grid *torch.Tensor, weights func(from, to int64) []float32) *torch.Tensor {
	d, dtype := grid.Size(1), grid.Dtype()
	return s.Sub(func(s *torch.Scope) *torch.Tensor {
		matrix := func(from, to int64) *torch.Tensor { // [to,from]
			return torch.From(s, weights(from, to), []int64{to, from}, grid.Device())
		}
		x := torch.Reshape(s, torch.To(s, grid, torch.Float32), -1, p.Rows, p.Columns*d) // [n,R,C*D]
		x = torch.MatMul(s, matrix(p.Rows, p.ToRows), x)                                 // [n,R',C*D]
		x = torch.Reshape(s, x, -1, p.Columns, d)                                        // [n*R',C,D]
		x = torch.MatMul(s, matrix(p.Columns, p.ToColumns), x)                           // [n*R',C',D]
		return torch.To(s, torch.Reshape(s, x, -1, d), dtype)
	})
}

// bilinear interpolates a line, [to,from]: each row has the weights of two neighbours (PyTorch,
// aten/src/ATen/native/UpSample.h, area_pixel_compute_source_index, in its precision).
func bilinear(from, to int64) []float32 {
	matrix, scale := make([]float32, to*from), float32(from)/float32(to)
	for i := range to {
		at := max(float32(scale*(float32(i)+0.5))-0.5, 0)
		left := int64(math.Floor(float64(at)))
		right := min(left+1, from-1)
		share := at - float32(left)
		matrix[i*from+left] += 1 - share
		matrix[i*from+right] += share
	}
	return matrix
}
