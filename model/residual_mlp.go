package model

import (
	"fmt"
	"regexp"
	"strconv"

	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
)

// residualMLP is LLaVA-NeXT's projector mlpNx_resMx_gelu: the MLP, then M blocks, whose numbers follow its layers'
// (llava/model/multimodal_projector/builder.py, SimpleResBlock).
type residualMLP struct {
	mlp    *mlpProjector
	blocks []*residualBlock
}

// residualBlock adds an MLP to the normalised rows, not to the rows before the norm.
type residualBlock struct {
	norm     *nn.LayerNorm
	up, down *nn.Linear
}

var residualPattern = regexp.MustCompile(`^mlp([0-9]+)x_res([0-9]+)x_gelu$`)

func newResidualMLP(p nn.Path, b projectorBuild) (Projector, error) {
	depth, err := b.depth(1)
	if err != nil {
		return nil, err
	}
	blocks, err := b.depth(2)
	if err != nil {
		return nil, err
	}
	m := &residualMLP{mlp: newMLP(p, depth, b.in, b.out)}
	for i := range blocks {
		block := p.Sub(strconv.Itoa(2*depth - 1 + i))
		linear := func(name string) *nn.Linear {
			return nn.NewLinear(block.Sub("proj").Sub(name), b.out, b.out, true, nn.LinearInit(b.out))
		}
		norm := nn.NewLayerNorm(block.Sub("pre_norm"), b.out, layerNormEps)
		m.blocks = append(m.blocks, &residualBlock{norm, linear("0"), linear("2")})
	}
	return m, nil
}

// Forward is [R,Dv] -> [R,D].
func (m *residualMLP) Forward(s *torch.Scope, x *torch.Tensor, keys nn.DropoutKeys) *torch.Tensor {
	return s.Sub(func(s *torch.Scope) *torch.Tensor {
		x = m.mlp.Forward(s, x, keys)
		for _, block := range m.blocks {
			x = block.norm.Forward(s, x)
			y := torch.Gelu(s, block.up.Forward(s, x, keys))
			x = torch.Add(s, x, block.down.Forward(s, y, keys))
		}
		return x
	})
}

// residualFiles have the numbers of a torch Sequential for names, as the MLP's have.
var residualFiles = &projectorFiles{sight: func(at lookUp) (sighting, bool) {
	seen, ok := mlpFiles.sight(at)
	depth, blocks := at.depth(), 0
	for at.shape(fmt.Sprintf("%d.pre_norm.weight", 2*depth-1+blocks)) != nil {
		blocks++
	}
	seen.config = recipes.Projector{Type: fmt.Sprintf("mlp%dx_res%dx_gelu", depth, blocks)}
	return seen, ok && blocks > 0
}}
