package model

import (
	"fmt"
	"regexp"
	"strconv"

	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// Projector maps rows of tower features [R,Dv] to rows of the language model's width [R,D]. keys has one key for each
// image.
type Projector interface {
	Forward(s *torch.Scope, x *torch.Tensor, keys nn.DropoutKeys) *torch.Tensor
}

// projectors lists the projector types of LLaVA (llava/model/multimodal_projector/builder.py).
var projectors = []struct {
	name    string // as shown to users
	pattern *regexp.Regexp
	build   func(p nn.Path, match []string, in, out int64) (Projector, error)
}{
	{"linear", regexp.MustCompile(`^linear$`), newLinearProjector},
	{"mlpNx_gelu (N = 2, 3, …)", regexp.MustCompile(`^mlp([0-9]+)x_gelu$`), newMLPProjector},
	{"identity", regexp.MustCompile(`^identity$`), newIdentityProjector},
}

// newProjector declares a projector of the named type for a tower of width in and a language model of width out.
func newProjector(name string, ps *nn.Params, in, out int64) (Projector, error) {
	var known []string
	for _, row := range projectors {
		if match := row.pattern.FindStringSubmatch(name); match != nil {
			return row.build(ps.Root(recipes.PartProjector, projectorPrefix), match, in, out)
		}
		known = append(known, row.name)
	}
	return nil, failure.NotOneOf("projector type", name, known)
}

func newLinearProjector(p nn.Path, _ []string, in, out int64) (Projector, error) {
	return nn.NewLinear(p, in, out, true, nn.LinearInit(in)), nil
}

// mlpProjector is N linear layers with GELUs between them. The layers are numbered 0, 2, 4 … as in a torch Sequential.
type mlpProjector struct{ layers []*nn.Linear }

func newMLPProjector(p nn.Path, match []string, in, out int64) (Projector, error) {
	depth, err := strconv.Atoi(match[1])
	if err != nil || depth < 1 || depth > 16 {
		return nil, fmt.Errorf("projector type %q: the depth must be 1 to 16", match[0])
	}
	m := &mlpProjector{}
	for i := range depth {
		m.layers = append(m.layers, nn.NewLinear(p.Sub(strconv.Itoa(2*i)), in, out, true, nn.LinearInit(in)))
		in = out
	}
	return m, nil
}

// Forward is [R,Dv] -> [R,D].
func (m *mlpProjector) Forward(s *torch.Scope, x *torch.Tensor, keys nn.DropoutKeys) *torch.Tensor {
	return s.Sub(func(s *torch.Scope) *torch.Tensor {
		for i, layer := range m.layers {
			if i > 0 {
				x = torch.Gelu(s, x)
			}
			x = layer.Forward(s, x, keys)
		}
		return x
	})
}

type identityProjector struct{}

func newIdentityProjector(_ nn.Path, _ []string, in, out int64) (Projector, error) {
	if in != out {
		return nil, fmt.Errorf("projector type identity needs a tower as wide as the language model; "+
			"they have %d and %d", in, out)
	}
	return identityProjector{}, nil
}

// Forward returns x.
func (identityProjector) Forward(_ *torch.Scope, x *torch.Tensor, _ nn.DropoutKeys) *torch.Tensor {
	return x
}
