package model

import (
	"errors"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/model/torch"
)

// weightChange is what adapters add to a weight W, [out,in]: scale B A.
type weightChange struct {
	a, b  *peftTensor // [r,in], [out,r]
	scale float64
}

// load reads A and B.
func (c *weightChange) load() (a, b checkpoints.Tensor, err error) {
	a, errA := c.a.weights.Load(c.a.info.Name)
	b, errB := c.b.weights.Load(c.b.info.Name)
	return a, b, errors.Join(errA, errB)
}

// addTo returns W + scale B A in fp32.
func (c *weightChange) addTo(w checkpoints.Tensor) (sum checkpoints.Tensor, err error) {
	a, b, err := c.load()
	if err != nil {
		return w, err
	}
	sum.Info = checkpoints.Info{Name: w.Name, Dtype: checkpoints.F32, Shape: w.Shape}
	err = torch.Do(func(s *torch.Scope) {
		torch.NoGrad(func() {
			change := torch.MatMul(s, float32s(s, b), float32s(s, a)) // [out,in]
			sum.Data = torch.Add(s, float32s(s, w), torch.Scale(s, change, c.scale)).Bytes()
		})
	})
	return sum, err
}

// at is the element of scale B A in a row and a column.
func (c *weightChange) at(row, column int64) (float32, error) {
	a, b, err := c.load()
	if err != nil {
		return 0, err
	}
	down, errA := a.Float32s()
	up, errB := b.Float32s()
	if err := errors.Join(errA, errB); err != nil {
		return 0, err
	}
	rank, width := c.a.info.Shape[0], c.a.info.Shape[1]
	sum := 0.
	for k := range rank {
		sum += float64(up[row*rank+k]) * float64(down[k*width+column])
	}
	return float32(c.scale * sum), nil
}

// float32s copies a tensor's values into fp32 on the CPU.
func float32s(s *torch.Scope, t checkpoints.Tensor) *torch.Tensor {
	x := torch.Empty(s, t.Shape, torch.Float32, torch.CPU)
	x.SetBytes(t.Data, dtypeNames[t.Dtype], t.Shape)
	return x
}
