package model

import (
	"fmt"
	"regexp"

	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// pixelShuffle joins the features of r x r neighbouring patches to one row, and maps it to the language model's width:
// by a matrix (Idefics3, SmolVLM) or by a norm and two layers (InternVL). The joined features are of the window's first
// row first, then of its second (transformers' pixel_shuffle in both).
type pixelShuffle struct {
	side, ratio int64
	norm        *nn.LayerNorm // [r*r*Dv]; nil with one layer
	layers      []*nn.Linear
}

func pixelShuffleShape(b projectorBuild) (ProjectorShape, error) {
	ratio := int64(b.config.Ratio)
	if err := b.needsGrid(); err != nil {
		return ProjectorShape{}, err
	}
	if b.side%ratio != 0 {
		return ProjectorShape{}, fmt.Errorf("ratio %d does not divide the %d patches a side of the tower's grid: "+
			"set model.projector.ratio to a divisor of %[2]d, or use a pool, which drops what is left", ratio, b.side)
	}
	if then := b.config.Then; then != "linear" && then != "mlp" {
		return ProjectorShape{}, failure.NotOneOf("then", then, []string{"linear", "mlp"})
	}
	return squareOf(b.side / ratio), nil
}

func newPixelShuffle(p nn.Path, b projectorBuild) (Projector, error) {
	m := &pixelShuffle{side: b.side, ratio: int64(b.config.Ratio)}
	joined := b.in * m.ratio * m.ratio
	linear := func(p nn.Path, in int64, bias bool) {
		m.layers = append(m.layers, nn.NewLinear(p, in, b.out, bias, nn.LinearInit(in)))
	}
	if b.config.Then == "linear" {
		linear(p.Sub("modality_projection").Sub("proj"), joined, false)
		return m, nil
	}
	m.norm = nn.NewLayerNorm(p.Sub("layer_norm"), joined, layerNormEps)
	linear(p.Sub("linear_1"), joined, true)
	linear(p.Sub("linear_2"), b.out, true)
	return m, nil
}

// Forward maps the features of n tiles, [n*P,Dv], to [n*P/(r*r),D].
func (m *pixelShuffle) Forward(s *torch.Scope, x *torch.Tensor, keys nn.DropoutKeys) *torch.Tensor {
	return s.Sub(func(s *torch.Scope) *torch.Tensor {
		joined := x.Size(1) * m.ratio * m.ratio
		x = torch.Permute(s, windows(s, x, m.side, m.ratio), 0, 1, 3, 2, 4, 5) // [n,t,t,r,r,Dv]
		x = torch.Reshape(s, x, -1, joined)                                    // [n*t*t,r*r*Dv]
		if m.norm != nil {
			x = m.norm.Forward(s, x)
		}
		for i, layer := range m.layers {
			if i > 0 {
				x = torch.Gelu(s, x)
			}
			x = layer.Forward(s, x, keys)
		}
		return x
	})
}

// pixelShuffleFiles knows Idefics3's and both of InternVL's: transformers', and its own code's.
var pixelShuffleFiles = &projectorFiles{
	anchor: regexp.MustCompile(`^((?:.*\.)?)(?:modality_projection\.proj\.weight|layer_norm\.weight|mlp1\.0\.weight)$`),
	spellings: func(prefix string) []spelling {
		return []spelling{
			{{projectorPrefix, prefix}},
			{{projectorPrefix + "layer_norm.", prefix + "mlp1.0."}, {projectorPrefix + "linear_1.", prefix + "mlp1.1."},
				{projectorPrefix + "linear_2.", prefix + "mlp1.3."}},
		}
	},
	sight: sightPixelShuffle,
}

func sightPixelShuffle(at lookUp) (seen sighting, ok bool) {
	c := recipes.Projector{Type: recipes.PixelShuffle, Then: "linear"}
	joined := at.shape("modality_projection.proj.weight")
	if len(joined) != 2 {
		c.Then, joined = "mlp", at.shape("linear_1.weight")
		if len(joined) != 2 || at.shape("layer_norm.weight") == nil {
			return seen, false
		}
	}
	for ratio := int64(1); ratio*ratio*at.in <= joined[1]; ratio++ {
		if ratio*ratio*at.in == joined[1] { // else it belongs to another tower
			c.Ratio = int(ratio)
		}
	}
	return sighting{config: c, out: joined[0]}, true
}
