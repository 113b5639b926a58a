package train

import (
	"time"

	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
)

// amounts is how much data steps processed, summed over their samples.
type amounts struct {
	tokens, supervised, tiles float64
	squaredLengths            float64 // sum of the squares of the samples' lengths in positions
}

// flops counts the useful operations of steps. Each matrix element and position costs 2 in forward, 2 for the gradient
// of the input, and 2 for the element's own gradient if it trains: 4N or 6N for the language model, 2N for a frozen
// tower. The scores of causal attention are added, whose backward costs twice the forward. The head counts only at
// supervised positions. Recomputation does not count.
func flops(m *model.LLaVA, trains map[string]bool, a amounts) float64 {
	l := m.Language.Describe()
	h, q, k, inner := float64(l.HiddenSize), float64(l.QuerySize), float64(l.KeySize), float64(l.IntermediateSize)
	layer := h*(2*q+2*k) + 3*h*inner
	passes := 4.0
	if trains[recipes.PartLanguage] {
		passes = 6
	}
	language := passes * (a.tokens*float64(l.Layers)*layer + a.supervised*h*float64(l.VocabSize))
	language += 3 * 2 * a.squaredLengths * q * float64(l.Layers)

	tower := 0.0
	for _, t := range m.Tower.Describe().Each() {
		tower += towerFLOPs(t, a.tiles)
	}
	for _, t := range m.TrainedTowers() {
		tower += 2 * towerFLOPs(t, a.tiles)
	}
	projector := 0.0
	for _, p := range m.Params.All() {
		if p.Part == recipes.PartProjector && len(p.Shape) == 2 {
			projector += 6 * a.tiles * float64(m.Tower.Describe().Tokens) * float64(p.Elements())
		}
	}
	return language + tower + projector
}

// towerFLOPs are those of one tower's forward pass.
func towerFLOPs(t model.TowerShape, tiles float64) float64 {
	v, rows := float64(t.HiddenSize), tiles*float64(t.Rows)
	return 2*rows*float64(t.Layers)*(4*v*v+2*v*float64(t.IntermediateSize)) +
		4*rows*float64(t.Rows)*v*float64(t.Layers)
}

// peaks are the data sheets' dense bf16 rates, 10^12 operations a second, by the driver's name of the GPU.
var peaks = map[string]float64{
	"NVIDIA A100-SXM4-40GB": 312, "NVIDIA A100-SXM4-80GB": 312,
	"NVIDIA A100-PCIE-40GB": 312, "NVIDIA A100 80GB PCIe": 312,
	"NVIDIA H100 80GB HBM3": 989, "NVIDIA H200": 989, "NVIDIA H100 PCIe": 756, "NVIDIA H100 NVL": 835,
}

// matmulRate measures the device's rate in products of two large square matrices, in operations a second: the best of a
// few.
func matmulRate(device torch.Device, dtype torch.Dtype) (best float64, err error) {
	n := int64(2048)
	if device != torch.CPU {
		n = 8192
	}
	err = torch.Do(func(s *torch.Scope) {
		a := torch.Zeros(s, []int64{n, n}, dtype, device) // [n,n]
		a.FillNormal(1, 1)                                // GPUs multiply numbers with few set bits faster
		for range 5 {
			torch.Synchronize()
			began := time.Now()
			s.Sub(func(s *torch.Scope) *torch.Tensor { return torch.MatMul(s, a, a) })
			torch.Synchronize()
			best = max(best, 2*float64(n*n*n)/time.Since(began).Seconds())
		}
	})
	return best, err
}
