package model

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// pool makes the grid of patches smaller, in front of a projector that maps each row by itself (LLaVA-NeXT-Video in
// transformers: modeling_llava_next_video.py, LlavaNextVideoPooler) or behind it (LLaVA-OneVision in transformers,
// LLaVA-NeXT's get_2dPool).
type pool struct {
	mode         string
	side, stride int64
	conv         *gridConv // of mode conv
	behind       bool
	then         Projector
}

func poolShape(b projectorBuild) (ProjectorShape, error) {
	c, stride := b.config, int64(b.config.Stride)
	if err := b.needsGrid(); err != nil {
		return ProjectorShape{}, err
	}
	if stride > b.side {
		return ProjectorShape{}, fmt.Errorf("stride %d is more than the %d patches a side of the tower's grid: "+
			"set model.projector.stride to at most %[2]d", stride, b.side)
	}
	if _, _, err := b.then().find("then", rowProjectors); err != nil {
		return ProjectorShape{}, err
	}
	if c.Place != "before" && c.Place != "behind" {
		return ProjectorShape{}, failure.NotOneOf("place", c.Place, []string{"before", "behind"})
	}
	switch c.Mode {
	case "average", "max", "conv":
		return squareOf(b.side / stride), nil
	case "bilinear":
		return squareOf((b.side + stride - 1) / stride), nil
	}
	return ProjectorShape{}, failure.NotOneOf("mode", c.Mode, []string{"average", "max", "bilinear", "conv"})
}

func newPool(p nn.Path, b projectorBuild) (Projector, error) {
	c := b.config
	m := &pool{mode: c.Mode, side: b.side, stride: int64(c.Stride), behind: c.Place == "behind"}
	if c.Mode == "conv" {
		width := b.in
		if m.behind {
			width = b.out
		}
		m.conv = newGridConv(p.Sub("pool"), width, width, m.stride, m.side)
	}
	var err error
	m.then, err = b.then().newRow(p)
	return m, err
}

// Forward maps the features of n tiles, [n*P,Dv], to [n*t*t,D], where t is the side of the smaller grid.
func (m *pool) Forward(s *torch.Scope, x *torch.Tensor, keys nn.DropoutKeys) *torch.Tensor {
	return s.Sub(func(s *torch.Scope) *torch.Tensor {
		if m.behind {
			return m.shrink(s, m.then.Forward(s, x, keys))
		}
		return m.then.Forward(s, m.shrink(s, x), keys)
	})
}

// shrink is [n*P,d] -> [n*t*t,d].
func (m *pool) shrink(s *torch.Scope, x *torch.Tensor) *torch.Tensor {
	d := x.Size(1)
	switch m.mode {
	case "conv":
		return m.conv.Forward(s, x)
	case "bilinear":
		t := (m.side + m.stride - 1) / m.stride
		return Map{Rows: m.side, Columns: m.side, ToRows: t, ToColumns: t}.interpolate(s, x)
	}
	x = torch.Permute(s, torch.Reshape(s, x, -1, m.side, m.side, d), 0, 3, 1, 2) // [n,d,side,side]
	switch m.mode {                                                              // [n,d,t,t]
	case "average":
		x = torch.AveragePool(s, x, m.stride)
	case "max":
		x = torch.MaxPool(s, x, m.stride)
	}
	return torch.Reshape(s, torch.Permute(s, x, 0, 2, 3, 1), -1, d)
}

// poolFiles knows the pools that have weights, convolutions: transformers' LLaVA-NeXT-Video and LLaVA-NeXT's.
var poolFiles = &projectorFiles{
	anchor: regexp.MustCompile(`^((?:.*\.)?)pool\.weight$`),
	spellings: func(prefix string) []spelling {
		conv := renaming{projectorPrefix + "pool.", prefix + "pool."}
		beside := strings.TrimSuffix(prefix, "vision_resampler.")
		return []spelling{
			append(spelling{conv}, linear12(beside+nestedProjector)...),
			{conv, {projectorPrefix, beside + ownProjector}},
			{{projectorPrefix, prefix}},
		}
	},
	sight: func(at lookUp) (seen sighting, ok bool) {
		conv := at.shape("pool.weight")
		if len(conv) != 4 {
			return seen, false
		}
		seen.config = recipes.Projector{Type: recipes.Pool, Mode: "conv", Stride: int(conv[2])}
		seen.config.Then, seen.out = sightThen(at)
		return seen, true
	},
}

// pooler is LLaVA-NeXT's projector pooler: a convolution of 2 x 2 patches to the language model's width, a Gelu and a
// linear map (llava/model/multimodal_projector/pooler_projector.py).
type pooler struct {
	conv *gridConv
	out  *nn.Linear
}

func poolerShape(b projectorBuild) (ProjectorShape, error) {
	if err := b.needsGrid(); err != nil {
		return ProjectorShape{}, err
	}
	if b.side < 2 {
		return ProjectorShape{}, fmt.Errorf("a pooler joins 2 x 2 patches, and the tower has %d a side: "+
			"set another model.projector.type", b.side)
	}
	return squareOf(b.side / 2), nil
}

func newPooler(p nn.Path, b projectorBuild) (Projector, error) {
	return &pooler{newGridConv(p.Sub("conv_pool"), b.in, b.out, 2, b.side),
		nn.NewLinear(p.Sub("proj").Sub("1"), b.out, b.out, true, nn.LinearInit(b.out))}, nil
}

// Forward maps the features of n tiles, [n*P,Dv], to [n*t*t,D], where t is half of the grid's side.
func (m *pooler) Forward(s *torch.Scope, x *torch.Tensor, keys nn.DropoutKeys) *torch.Tensor {
	return s.Sub(func(s *torch.Scope) *torch.Tensor {
		return m.out.Forward(s, torch.Gelu(s, m.conv.Forward(s, x)), keys)
	})
}

// poolerFiles knows LLaVA-NeXT's.
var poolerFiles = &projectorFiles{
	anchor:    regexp.MustCompile(`^((?:.*\.)?)conv_pool\.weight$`),
	spellings: func(prefix string) []spelling { return []spelling{{{projectorPrefix, prefix}}} },
	sight: func(at lookUp) (seen sighting, ok bool) {
		conv := at.shape("conv_pool.weight")
		if len(conv) != 4 {
			return seen, false
		}
		return sighting{config: recipes.Projector{Type: "pooler"}, in: conv[1], out: conv[0]}, true
	},
}
