package model

import (
	"regexp"

	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
)

// gatedProjector is a resampler at the tower's width, whose rows become no positions: layers of cross-attention look at
// them from the text.
type gatedProjector struct {
	*gatedLayers
	resampler *resampler
	tokens    int64 // P, rows of features for each tile
}

// gatedShape is no position.
func gatedShape(b projectorBuild) (ProjectorShape, error) {
	return ProjectorShape{Media: int64(b.config.Resampler.Queries)}, nil
}

func newGatedProjector(p nn.Path, b projectorBuild) (Projector, error) {
	return &gatedProjector{
		gatedLayers: newGatedLayers(p, b.config, b.in, b.language),
		resampler:   newResampler(p.Sub("perceiver_resampler"), resamplerOf(b.config.Resampler.Whole(), b.in)),
		tokens:      b.tokens,
	}, nil
}

// Forward maps the features of n tiles, [n*P,Dv], to what the layers look at, [n*N,Dv].
func (g *gatedProjector) Forward(s *torch.Scope, x *torch.Tensor, keys nn.DropoutKeys) *torch.Tensor {
	return g.resampler.Forward(s, x, x.Size(0)/g.tokens, keys)
}

// gatedFiles has the names of transformers' IDEFICS.
var gatedFiles = &projectorFiles{
	anchor:    regexp.MustCompile(`^(.*)gated_cross_attn_layers\.0\.alpha_dense$`),
	spellings: func(prefix string) []spelling { return []spelling{{{projectorPrefix, prefix}}} },
	sight:     sightGated,
}

// sightGated reads off the gates and the norms of heads; how far the layers stand apart is in no tensor.
func sightGated(at lookUp) (seen sighting, ok bool) {
	const layer = "gated_cross_attn_layers.0."
	alpha := at.shape(layer + "alpha_dense")
	if alpha == nil {
		return seen, false
	}
	c := recipes.Projector{Type: recipes.GatedCrossAttention, Gate: "float", QKNorm: "false"}
	if len(alpha) == 3 {
		c.Gate = "vector"
	}
	if at.shape(layer+"cross_attn.q_layer_norm.weight") != nil {
		c.QKNorm = "true"
	}
	return sighting{config: c, in: at.size(1, layer+"cross_attn.k_proj.weight"),
		out: at.size(1, layer+"cross_attn.q_proj.weight")}, true
}
