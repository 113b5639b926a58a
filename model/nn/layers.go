package nn

import (
	"math"

	"github.com/llavatrain/llavatrain/model/torch"
)

// Linear is x W^T + b, plus the output of an adapter if there is one.
type Linear struct {
	path    Path
	weight  *Param   // [out,in]
	bias    *Param   // [out] or nil
	adapter *adapter // or nil
}

// NewLinear declares a weight, and a bias if wanted. init initialises the weight, and the bias as biasInit says.
func NewLinear(p Path, in, out int64, bias bool, init Init) *Linear {
	l := &Linear{path: p, weight: p.Param("weight", init, out, in)}
	if bias {
		l.bias = p.Param("bias", biasInit(init), out)
	}
	p.params.linears = append(p.params.linears, l)
	return l
}

// biasInit is the weight's initialisation if that is uniform (PyTorch's Linear), and zero otherwise (transformers).
func biasInit(weight Init) Init {
	if weight.Kind == "uniform" {
		return weight
	}
	return Init{Kind: "zeros"}
}

// LinearInit is PyTorch's initialisation of a Linear: uniform in ±1/sqrt(fan_in), weight and bias
// (torch.nn.Linear.reset_parameters).
func LinearInit(in int64) Init { return Init{"uniform", 1 / math.Sqrt(float64(in))} }

// XavierInit is torch.nn.init.xavier_uniform_ for the weight and zero for the bias.
func XavierInit(in, out int64) Init { return Init{"xavier", math.Sqrt(6 / float64(in+out))} }

// Forward maps [R,in] to [R,out]. keys are for the adapter's dropout.
func (l *Linear) Forward(s *torch.Scope, x *torch.Tensor, keys DropoutKeys) *torch.Tensor {
	var bias *torch.Tensor
	if l.bias != nil {
		bias = l.bias.tensor
	}
	y := torch.Linear(s, x, l.weight.tensor, bias)
	if l.adapter == nil {
		return y
	}
	return torch.Add(s, y, l.adapter.forward(s, x, keys))
}

// Weight is the parameter [out,in].
func (l *Linear) Weight() *Param { return l.weight }

// Adapted says whether the map has an adapter.
func (l *Linear) Adapted() bool { return l.adapter != nil }

// Biased says whether the map has a bias.
func (l *Linear) Biased() bool { return l.bias != nil }

// RMSNorm divides by the root mean square of each row.
type RMSNorm struct {
	weight *Param // [D]
	eps    float64
}

// NewRMSNorm declares a weight of ones.
func NewRMSNorm(p Path, size int64, eps float64) *RMSNorm {
	n := &RMSNorm{p.Param("weight", Init{Kind: "ones"}, size), eps}
	n.weight.Norm = true
	return n
}

// Weight is the factors [D] of the normalised values.
func (n *RMSNorm) Weight() *torch.Tensor { return n.weight.tensor }

// Forward keeps the shape [R,D].
func (n *RMSNorm) Forward(s *torch.Scope, x *torch.Tensor) *torch.Tensor {
	return torch.RMSNorm(s, x, n.weight.tensor, n.eps)
}

// ForwardSum is x + y and its norm, [R,D] each.
func (n *RMSNorm) ForwardSum(s *torch.Scope, x, y *torch.Tensor) (sum, normed *torch.Tensor) {
	return torch.AddRMSNorm(s, x, y, n.weight.tensor, n.eps)
}

// LayerNorm normalises each row to mean 0 and variance 1, then scales and shifts.
type LayerNorm struct {
	weight, bias *Param // [D]
	eps          float64
}

// NewLayerNorm declares a weight of ones and a bias of zeros.
func NewLayerNorm(p Path, size int64, eps float64) *LayerNorm {
	n := &LayerNorm{p.Param("weight", Init{Kind: "ones"}, size), p.Param("bias", Init{Kind: "zeros"}, size), eps}
	n.weight.Norm, n.bias.Norm = true, true
	return n
}

// Forward keeps the shape [R,D].
func (n *LayerNorm) Forward(s *torch.Scope, x *torch.Tensor) *torch.Tensor {
	return torch.LayerNorm(s, x, n.weight.tensor, n.bias.tensor, n.eps)
}

// Embedding is a table with one row for each id.
type Embedding struct{ weight *Param } // [V,D]

// NewEmbedding declares a table.
func NewEmbedding(p Path, rows, size int64, init Init) *Embedding {
	return &Embedding{p.Param("weight", init, rows, size)}
}

// Forward looks up ids [T]: [T,D].
func (e *Embedding) Forward(s *torch.Scope, ids *torch.Tensor) *torch.Tensor {
	return torch.Embedding(s, e.weight.tensor, ids)
}

// Weight is the parameter [V,D].
func (e *Embedding) Weight() *Param { return e.weight }
