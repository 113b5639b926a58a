package model

import "math"

// The weights of bicubic interpolation (Keys 1981) with the two constants of PyTorch, in its precision. Both make the
// matrix [to,from] that Map.resample applies.

// bicubic is torch's interpolate(mode="bicubic", align_corners=False, antialias=False): each row has the weights of
// four neighbours, of which those outside are the outermost inside (aten/src/ATen/native/UpSample.h,
// get_cubic_upsample_coefficients).
func bicubic(from, to int64) []float32 {
	const a = -0.75
	matrix, scale := make([]float32, to*from), float32(from)/float32(to)
	for i := range to {
		at := float32(scale*(float32(i)+0.5)) - 0.5
		left := int64(math.Floor(float64(at)))
		share := at - float32(left)
		for k := range int64(4) {
			neighbour := min(max(left-1+k, 0), from-1)
			matrix[i*from+neighbour] += keysKernel(share+1-float32(k), a)
		}
	}
	return matrix
}

// smoothBicubic is torch's interpolate(mode="bicubic", align_corners=False, antialias=True), Pillow's filter: where a
// line becomes shorter, each row has the weights of all points that it stands for
// (aten/src/ATen/native/cpu/UpSampleKernel.cpp, HelperInterpBase::_compute_indices_min_size_weights_aa).
func smoothBicubic(from, to int64) []float32 {
	const a = -0.5
	matrix, scale := make([]float32, to*from), float32(from)/float32(to)
	wide := max(scale, 1)
	for i := range to {
		centre := float32(scale * (float32(i) + 0.5))
		first := max(int64(centre-2*wide+0.5), 0)
		end := min(int64(centre+2*wide+0.5), from)
		row, total := matrix[i*from:][:from], float32(0)
		for j := first; j < end; j++ {
			row[j] = keysKernel((float32(j)-centre+0.5)/wide, a)
			total += row[j]
		}
		for j := first; j < end; j++ {
			row[j] /= total
		}
	}
	return matrix
}

// keysKernel is Keys' convolution kernel: the weight of a neighbour at a distance.
func keysKernel(x, a float32) float32 {
	switch x = max(x, -x); {
	case x < 1:
		return ((a+2)*x-(a+3))*x*x + 1
	case x < 2:
		return ((a*x-5*a)*x+8*a)*x - 4*a
	}
	return 0
}
