package torch

import "github.com/sugarme/gotch/libtch"

// Operations of what stands between tower and language model: attention between sequences of different lengths, and
// grids of patches.

// CrossAttention is softmax(q k^T / sqrt(d)) v within each of n images: every query attends to all keys of its image. q
// [n,Q,H,d]; k, v [n,K,G,d] with G a divisor of H (grouped-query attention) -> [n,Q,H,d].
func CrossAttention(s *Scope, q, k, v *Tensor) *Tensor {
	return s.Sub(func(s *Scope) *Tensor {
		heads := q.Size(2)
		q, k, v := headsFirst(s, q), headsFirst(s, repeatHeads(s, k, heads)), headsFirst(s, repeatHeads(s, v, heads))
		// gotch passes no mask as one that is undefined, which libtorch refuses: add zeros instead
		mask := Zeros(s, []int64{q.Size(2), k.Size(2)}, q.Dtype(), q.Device()) // [Q,K]
		y := gotch(s, "cross attention", func(out *libtch.Ctensor) {           // [n,H,Q,d]
			libtch.AtgScaledDotProductAttention(out, q.g(), k.g(), v.g(), mask.g(), 0, 0, 0, 1)
		})
		return headsFirst(s, y)
	})
}

// headsFirst swaps positions and heads: [n,L,H,d] -> [n,H,L,d], and back.
func headsFirst(s *Scope, x *Tensor) *Tensor { return Permute(s, x, 0, 2, 1, 3) }

// repeatHeads repeats each head of keys for its group of query heads: [n,K,G,d] -> [n,K,H,d].
func repeatHeads(s *Scope, x *Tensor, heads int64) *Tensor {
	n, k, g, d := x.Size(0), x.Size(1), x.Size(2), x.Size(3)
	if g == heads {
		return x
	}
	groups := Expand(s, Reshape(s, x, n, k, g, 1, d), n, k, g, heads/g, d) // [n,K,G,H/G,d]
	return Reshape(s, groups, n, k, heads, d)
}

// Permute reorders dimensions; it shares memory with x.
func Permute(s *Scope, x *Tensor, order ...int64) *Tensor {
	return gotch(s, "permute", func(out *libtch.Ctensor) { libtch.AtgPermute(out, x.g(), order, len(order)) })
}

// Tanh is the hyperbolic tangent of each element.
func Tanh(s *Scope, x *Tensor) *Tensor {
	return gotch(s, "tanh", func(out *libtch.Ctensor) { libtch.AtgTanh(out, x.g()) })
}

// Relu is max(x, 0).
func Relu(s *Scope, x *Tensor) *Tensor {
	return gotch(s, "relu", func(out *libtch.Ctensor) { libtch.AtgRelu(out, x.g()) })
}

// AveragePool is the mean of windows of stride x stride that do not overlap; rows and columns that fill no window are
// dropped. [n,D,h,w] -> [n,D,h/stride,w/stride]
func AveragePool(s *Scope, x *Tensor, stride int64) *Tensor {
	size, none := []int64{stride, stride}, []int64{0, 0}
	return gotch(s, "average pool", func(out *libtch.Ctensor) {
		libtch.AtgAvgPool2d(out, x.g(), size, 2, size, 2, none, 2, 0, 1, 0, 1)
	})
}

// MaxPool is the largest value of each channel in the windows of AveragePool. [n,D,h,w] -> [n,D,h/stride,w/stride]
func MaxPool(s *Scope, x *Tensor, stride int64) *Tensor {
	size, none, each := []int64{stride, stride}, []int64{0, 0}, []int64{1, 1}
	return gotch(s, "max pool", func(out *libtch.Ctensor) {
		libtch.AtgMaxPool2d(out, x.g(), size, 2, size, 2, none, 2, each, 2, 0)
	})
}
