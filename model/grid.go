package model

import (
	"fmt"

	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
)

// needsGrid refuses features that are no grid of patches.
func (b projectorBuild) needsGrid() error {
	if b.side == 0 {
		return fmt.Errorf("a %s needs the grid of patches, and the tower's %d rows have a class token: "+
			"set model.vision.select_feature: patch", b.config.Type, b.tokens)
	}
	return nil
}

// squareOf is the shape of a projector whose rows form a grid of side x side.
func squareOf(side int64) ProjectorShape { return ProjectorShape{Tokens: side * side, Side: side} }

// windows cuts the grids of n tiles into windows of k x k rows; rows and columns that fill no window are dropped.
// [n*side*side,d] -> [n,t,k,t,k,d] with t = side/k
func windows(s *torch.Scope, x *torch.Tensor, side, k int64) *torch.Tensor {
	n, t, d := x.Size(0)/(side*side), side/k, x.Size(1)
	x = torch.Reshape(s, x, n, side, side, d)
	if t*k < side {
		x = torch.Narrow(s, torch.Narrow(s, x, 1, 0, t*k), 2, 0, t*k)
	}
	return torch.Reshape(s, x, n, t, k, t, k, d)
}

// gridConv is a convolution of windows that do not overlap.
type gridConv struct {
	weight, bias *nn.Param // [out,in,k,k] and [out]
	side         int64
}

// newGridConv declares a convolution with PyTorch's initialisation of a Conv2d.
func newGridConv(p nn.Path, in, out, k, side int64) *gridConv {
	init := nn.LinearInit(in * k * k)
	return &gridConv{p.Param("weight", init, out, in, k, k), p.Param("bias", init, out), side}
}

// Forward is [n*side*side,in] -> [n*t*t,out] with t = side/k.
func (m *gridConv) Forward(s *torch.Scope, x *torch.Tensor) *torch.Tensor {
	return s.Sub(func(s *torch.Scope) *torch.Tensor {
		out, k := m.weight.Shape[0], m.weight.Shape[2]
		rows := torch.Permute(s, windows(s, x, m.side, k), 0, 1, 3, 5, 2, 4) // [n,t,t,in,k,k]
		rows = torch.Reshape(s, rows, -1, m.weight.Elements()/out)           // [n*t*t,in*k*k]
		return torch.Linear(s, rows, torch.Reshape(s, m.weight.Tensor(), out, -1), m.bias.Tensor())
	})
}
