package model

import (
	"math"

	"github.com/llavatrain/llavatrain/model/torch"
)

// interpolate makes a map smaller: grid [Rows*Columns,D] -> [ToRows*ToColumns,D]. It is torch's
// interpolate(mode="bilinear", align_corners=False, antialias=False), but written as two products with matrices in
// fp32: torch's own gradient adds in no fixed order on a GPU.
func (p Map) interpolate(s *torch.Scope, grid *torch.Tensor) *torch.Tensor {
	d, dtype := grid.Size(1), grid.Dtype()
	return s.Sub(func(s *torch.Scope) *torch.Tensor {
		x := torch.Reshape(s, torch.To(s, grid, torch.Float32), p.Rows, p.Columns*d) // [R,C*D]
		x = torch.MatMul(s, weights(s, p.Rows, p.ToRows, grid.Device()), x)          // [R',C*D]
		x = torch.Reshape(s, x, p.ToRows, p.Columns, d)                              // [R',C,D]
		x = torch.MatMul(s, weights(s, p.Columns, p.ToColumns, grid.Device()), x)    // [R',C',D]
		return torch.To(s, torch.Reshape(s, x, p.ToRows*p.ToColumns, d), dtype)
	})
}

// weights is the matrix [to,from] that interpolates a line: each row has the weights of two neighbours (PyTorch,
// aten/src/ATen/native/UpSample.h, area_pixel_compute_source_index, in its precision).
func weights(s *torch.Scope, from, to int64, device torch.Device) *torch.Tensor {
	matrix, scale := make([]float32, to*from), float32(from)/float32(to)
	for i := range to {
		at := max(float32(scale*(float32(i)+0.5))-0.5, 0)
		left := int64(math.Floor(float64(at)))
		right := min(left+1, from-1)
		share := at - float32(left)
		matrix[i*from+left] += 1 - share
		matrix[i*from+right] += share
	}
	return torch.From(s, matrix, []int64{to, from}, device)
}
