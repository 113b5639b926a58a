package torch_test

import (
	"math"
	"testing"

	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/model/torch/torchtest"
)

// operation is one of the engine's differentiable operations beside its formula.
type operation struct {
	name    string
	shapes  [][]int64
	engine  func(s *torch.Scope, x []*torch.Tensor) *torch.Tensor
	formula func(x [][]float64) []float64
}

func index(s *torch.Scope, i ...int64) *torch.Tensor {
	return torch.From(s, i, []int64{int64(len(i))}, torch.CPU)
}

// each applies a formula to the elements of its inputs one by one.
func each(f func(x []float64) float64) func(x [][]float64) []float64 {
	return func(x [][]float64) []float64 {
		out := make([]float64, len(x[0]))
		for i := range out {
			column := make([]float64, len(x))
			for k := range x {
				column[k] = x[k][i%len(x[k])] // a shorter input repeats: broadcast along the first dimension
			}
			out[i] = f(column)
		}
		return out
	}
}

func sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

// take is a formula that moves elements: out[i] = x[from[i]].
func take(x []float64, from ...int) []float64 {
	out := make([]float64, len(from))
	for i, k := range from {
		out[i] = x[k]
	}
	return out
}

// linear is x [r,in] times weight [out,in], plus bias [out] when there is one.
func linear(x, weight, bias []float64, in int) []float64 {
	var y []float64
	for r := 0; r < len(x); r += in {
		for o := range len(weight) / in {
			sum := dot(x[r:r+in], weight[o*in:(o+1)*in])
			if bias != nil {
				sum += bias[o]
			}
			y = append(y, sum)
		}
	}
	return y
}

// normalise is rows of x less their mean (times centre), over the root of their mean square, times weight.
func normalise(x, weight []float64, centre, eps float64) []float64 {
	var y []float64
	n := len(weight)
	for r := 0; r < len(x); r += n {
		mean, square := 0.0, 0.0
		for _, v := range x[r : r+n] {
			mean += centre * v / float64(n)
		}
		for _, v := range x[r : r+n] {
			square += (v - mean) * (v - mean) / float64(n)
		}
		for i, v := range x[r : r+n] {
			y = append(y, (v-mean)/math.Sqrt(square+eps)*weight[i])
		}
	}
	return y
}

// rotate turns x [T,H,d] by cos and sin [T,1,d]: x*cos + (-second half, first half)*sin.
func rotate(x, cos, sin []float64, heads, d int) []float64 {
	out := make([]float64, len(x))
	for i := range out {
		row, column := i/(heads*d), i%d
		partner := x[(i/d)*d+(column+d/2)%d]
		if column < d/2 {
			partner = -partner
		}
		out[i] = x[i]*cos[row*d+column] + partner*sin[row*d+column]
	}
	return out
}

// convolve is a convolution whose stride is its kernel's size, without padding: pixels [n,c,S,S], kernel [out,c,p,p]
// -> [n*(S/p)^2,out].
func convolve(pixels, kernel []float64, n, c, size, p int) []float64 {
	var y []float64
	side := size / p
	for k := range n * side * side {
		picture, row, column := k/(side*side), k/side%side, k%side
		for o := range len(kernel) / (c * p * p) {
			sum := 0.0
			for channel := range c {
				for i := range p {
					for j := range p {
						sum += pixels[((picture*c+channel)*size+row*p+i)*size+column*p+j] *
							kernel[((o*c+channel)*p+i)*p+j]
					}
				}
			}
			y = append(y, sum)
		}
	}
	return y
}

var operations = []operation{
	{"add, broadcast", [][]int64{{3, 4}, {4}},
		func(s *torch.Scope, x []*torch.Tensor) *torch.Tensor { return torch.Add(s, x[0], x[1]) },
		each(func(x []float64) float64 { return x[0] + x[1] })},
	{"mul, broadcast", [][]int64{{3, 4}, {4}},
		func(s *torch.Scope, x []*torch.Tensor) *torch.Tensor { return torch.Mul(s, x[0], x[1]) },
		each(func(x []float64) float64 { return x[0] * x[1] })},
	{"scale", [][]int64{{3, 4}},
		func(s *torch.Scope, x []*torch.Tensor) *torch.Tensor { return torch.Scale(s, x[0], 0.375) },
		each(func(x []float64) float64 { return x[0] * 0.375 })},
	{"gelu", [][]int64{{3, 4}},
		func(s *torch.Scope, x []*torch.Tensor) *torch.Tensor { return torch.Gelu(s, x[0]) },
		each(func(x []float64) float64 { return x[0] * (1 + math.Erf(x[0]/math.Sqrt2)) / 2 })},
	{"gelu by tanh", [][]int64{{3, 4}},
		func(s *torch.Scope, x []*torch.Tensor) *torch.Tensor { return torch.GeluTanh(s, x[0]) },
		each(func(x []float64) float64 {
			return x[0] * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x[0]+0.044715*x[0]*x[0]*x[0]))) / 2
		})},
	{"quick gelu", [][]int64{{3, 4}},
		func(s *torch.Scope, x []*torch.Tensor) *torch.Tensor { return torch.QuickGelu(s, x[0]) },
		each(func(x []float64) float64 { return x[0] * sigmoid(1.702*x[0]) })},
	{"swiglu", [][]int64{{3, 4}, {3, 4}},
		func(s *torch.Scope, x []*torch.Tensor) *torch.Tensor { return torch.SwiGLU(s, x[0], x[1]) },
		each(func(x []float64) float64 { return x[0] * sigmoid(x[0]) * x[1] })},
	{"linear", [][]int64{{3, 4}, {5, 4}},
		func(s *torch.Scope, x []*torch.Tensor) *torch.Tensor { return torch.Linear(s, x[0], x[1], nil) },
		func(x [][]float64) []float64 { return linear(x[0], x[1], nil, 4) }},
	{"linear with bias", [][]int64{{3, 4}, {5, 4}, {5}},
		func(s *torch.Scope, x []*torch.Tensor) *torch.Tensor { return torch.Linear(s, x[0], x[1], x[2]) },
		func(x [][]float64) []float64 { return linear(x[0], x[1], x[2], 4) }},
	{"layer norm", [][]int64{{3, 6}, {6}, {6}},
		func(s *torch.Scope, x []*torch.Tensor) *torch.Tensor {
			return torch.LayerNorm(s, x[0], x[1], x[2], 1e-2)
		},
		func(x [][]float64) []float64 {
			y := normalise(x[0], x[1], 1, 1e-2)
			for i := range y {
				y[i] += x[2][i%6]
			}
			return y
		}},
	{"rms norm", [][]int64{{3, 6}, {6}},
		func(s *torch.Scope, x []*torch.Tensor) *torch.Tensor { return torch.RMSNorm(s, x[0], x[1], 1e-2) },
		func(x [][]float64) []float64 { return normalise(x[0], x[1], 0, 1e-2) }},
	{"rotary", [][]int64{{3, 2, 6}},
		func(s *torch.Scope, x []*torch.Tensor) *torch.Tensor {
			table := func(seed uint64) *torch.Tensor { return tensor(s, numbers(18, seed), x[0].Dtype(), 3, 1, 6) }
			return torch.Rotary(s, x[0], table(11), table(12))
		},
		func(x [][]float64) []float64 { return rotate(x[0], numbers(18, 11), numbers(18, 12), 2, 6) }},
	{"embedding, a row twice", [][]int64{{4, 2}},
		func(s *torch.Scope, x []*torch.Tensor) *torch.Tensor {
			return torch.Embedding(s, x[0], index(s, 3, 1, 3))
		},
		func(x [][]float64) []float64 { return take(x[0], 6, 7, 2, 3, 6, 7) }},
	{"index select, a row twice", [][]int64{{4, 2}},
		func(s *torch.Scope, x []*torch.Tensor) *torch.Tensor {
			return torch.IndexSelect(s, x[0], 0, index(s, 2, 2, 0))
		},
		func(x [][]float64) []float64 { return take(x[0], 4, 5, 4, 5, 0, 1) }},
	{"index copy", [][]int64{{4, 2}, {2, 2}},
		func(s *torch.Scope, x []*torch.Tensor) *torch.Tensor {
			return torch.IndexCopy(s, x[0], index(s, 3, 1), x[1])
		},
		func(x [][]float64) []float64 {
			return append(append(take(x[0], 0, 1), take(x[1], 2, 3)...),
				append(take(x[0], 4, 5), take(x[1], 0, 1)...)...)
		}},
	{"reshape", [][]int64{{2, 6}},
		func(s *torch.Scope, x []*torch.Tensor) *torch.Tensor { return torch.Reshape(s, x[0], 3, -1) },
		func(x [][]float64) []float64 { return take(x[0], 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11) }},
	{"narrow", [][]int64{{2, 4}},
		func(s *torch.Scope, x []*torch.Tensor) *torch.Tensor { return torch.Narrow(s, x[0], 1, 1, 2) },
		func(x [][]float64) []float64 { return take(x[0], 1, 2, 5, 6) }},
	{"split", [][]int64{{2, 6}}, // the middle part is left out: it has no gradient
		func(s *torch.Scope, x []*torch.Tensor) *torch.Tensor {
			parts := torch.Split(s, x[0], 1, 2, 3)
			return torch.Cat(s, 1, parts[2], parts[0])
		},
		func(x [][]float64) []float64 { return take(x[0], 3, 4, 5, 0, 9, 10, 11, 6) }},
	{"cat", [][]int64{{2, 1}, {2, 2}},
		func(s *torch.Scope, x []*torch.Tensor) *torch.Tensor { return torch.Cat(s, 1, x[0], x[1]) },
		func(x [][]float64) []float64 {
			return []float64{x[0][0], x[1][0], x[1][1], x[0][1], x[1][2], x[1][3]}
		}},
	{"expand", [][]int64{{1, 3}},
		func(s *torch.Scope, x []*torch.Tensor) *torch.Tensor { return torch.Expand(s, x[0], 2, -1) },
		func(x [][]float64) []float64 { return take(x[0], 0, 1, 2, 0, 1, 2) }},
	// the fifth row and column are left over
	{"patches and linear: a convolution", [][]int64{{2, 3, 5, 5}, {4, 3, 2, 2}},
		func(s *torch.Scope, x []*torch.Tensor) *torch.Tensor {
			return torch.Linear(s, torch.Patches(s, x[0], 2), torch.Reshape(s, x[1], 4, -1), nil)
		},
		func(x [][]float64) []float64 { return convolve(x[0], x[1], 2, 3, 5, 2) }},
}

// tolerances of one operation on numbers of about 1: bf16 has 8 bits, and its gradients sum several rounded terms.
var tolerances = map[torch.Dtype]float64{torch.Float32: 1e-5, torch.BFloat16: 0.04}

func TestOperationsFollowTheirFormulas(t *testing.T) { checkOperations(t, operations) }

// checkOperations compares values with the formula, and all gradients with the formula's slope.
func checkOperations(t *testing.T, list []operation) {
	t.Helper()
	for _, op := range list {
		for dtype, tolerance := range tolerances {
			t.Run(op.name+"/"+dtype.String(), func(t *testing.T) {
				torchtest.NoLeaks(t)
				do(t, func(s *torch.Scope) { checkOperation(t, s, op, dtype, tolerance) })
			})
		}
	}
}

func checkOperation(t *testing.T, s *torch.Scope, op operation, dtype torch.Dtype, tolerance float64) {
	var values [][]float64
	var leaves []*torch.Tensor
	for i, shape := range op.shapes {
		values = append(values, numbers(product(shape), uint64(i+1)))
		leaves = append(leaves, leaf(s, values[i], dtype, shape...))
	}
	y := s.Sub(func(s *torch.Scope) *torch.Tensor { return op.engine(s, leaves) })
	if y.Dtype() != dtype {
		t.Errorf("the result is %v, want %v", y.Dtype(), dtype)
	}
	near(t, "result", read(s, y), op.formula(values), tolerance)
	weights := numbers(int(y.Elements()), 99)
	torch.Backward(y, tensor(s, weights, dtype, y.Shape()...))
	for i, x := range leaves {
		grad := torch.Grad(s, x)
		if grad == nil {
			t.Fatalf("input %d has no gradient", i)
		}
		near(t, "gradient", read(s, grad), slope(op.formula, values, i, weights), tolerance)
	}
}

func TestNormalizeIsATableLookup(t *testing.T) {
	torchtest.NoLeaks(t)
	const pictures, size = 2, 20 // 400 pixels a channel: every level occurs
	table := make([]float32, 3*256)
	for i := range table {
		table[i] = float32(math.Sin(float64(i))) / 3
	}
	pixels, want := make([]uint8, pictures*3*size*size), []float32(nil)
	for i := range pixels {
		pixels[i] = uint8(i * 7)
		want = append(want, table[i/(size*size)%3*256+int(pixels[i])])
	}
	do(t, func(s *torch.Scope) {
		levels := torch.From(s, pixels, []int64{pictures, 3, size, size}, torch.CPU)
		constants := torch.From(s, table, []int64{3, 256}, torch.CPU)
		sameBits(t, "fp32", torch.Read[float32](torch.Normalize(s, levels, constants, torch.Float32)), want)
		for i, x := range read(s, torch.Normalize(s, levels, constants, torch.BFloat16)) {
			if nearest := nearestBF16(want[i]); float32(x) != nearest {
				t.Fatalf("bf16 value %d is %v, want %v", i, x, nearest)
			}
		}
	})
}
