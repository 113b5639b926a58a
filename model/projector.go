package model

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"

	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// Projector is what stands between the tower and the language model.
type Projector interface {
	// Forward maps the features of n tiles, [n*P,Dv], to rows of the language model's width, [n*N,D]. keys has one key
	// for each tile.
	Forward(s *torch.Scope, x *torch.Tensor, keys nn.DropoutKeys) *torch.Tensor
}

// ProjectorShape is what a projector makes of one tile.
type ProjectorShape struct {
	Tokens int64 // N, rows of the result
	Side   int64 // of the square grid that the rows form; 0 if they form none
	Media  int64 // rows that layers of cross-attention look at in place of positions; 0 without such layers
}

// projectorBuild is what a projector is built from.
type projectorBuild struct {
	config   recipes.Projector
	match    []string // of the type's pattern
	in, out  int64    // Dv, D
	mlp      int64    // width of the language model's MLP
	tokens   int64    // P, rows of the tower for one tile
	language LanguageShape
	side     int64 // of the square grid that they form; 0 with a class token, which is no part of it
}

// projectorKind is a type of projector. shape depends on the configuration of the projector and the tower alone.
type projectorKind struct {
	name    string // as shown to users
	pattern *regexp.Regexp
	shape   func(b projectorBuild) (ProjectorShape, error)
	build   func(p nn.Path, b projectorBuild) (Projector, error)
	files   *projectorFiles // nil: without weights
}

// rowProjectors are the types that map each row by itself, those of LLaVA
// (llava/model/multimodal_projector/builder.py).
var rowProjectors = []projectorKind{
	{"linear", regexp.MustCompile(`^linear$`), eachRow, newLinearProjector, linearFiles},
	{"mlpNx_gelu (N = 2, 3, …)", regexp.MustCompile(`^mlp([0-9]+)x_gelu$`), eachRow, newMLPProjector, mlpFiles},
	{"identity", regexp.MustCompile(`^identity$`), eachRow, newIdentityProjector, nil},
	{"mlpNx_resMx_gelu", residualPattern, eachRow, newResidualMLP, residualFiles},
}

// projectors lists the types. Files are of the last type that recognises them.
var projectors = slices.Concat(rowProjectors, []projectorKind{
	{recipes.QFormer, regexp.MustCompile(`^qformer$`), qformerShape, newQFormer, qformerFiles},
	{recipes.ResamplerType, regexp.MustCompile(`^resampler$`), resamplerShape, newResamplerProjector, resamplerFiles},
	{recipes.PixelShuffle, regexp.MustCompile(`^pixel_shuffle$`), pixelShuffleShape, newPixelShuffle,
		pixelShuffleFiles},
	{recipes.Pool, regexp.MustCompile(`^pool$`), poolShape, newPool, poolFiles},
	{"pooler", regexp.MustCompile(`^pooler$`), poolerShape, newPooler, poolerFiles},
	{recipes.GatedCrossAttention, regexp.MustCompile(`^gated_cross_attention$`), gatedShape, newGatedProjector,
		gatedFiles},
})

// eachRow is the shape of projectors that map each row by itself.
func eachRow(b projectorBuild) (ProjectorShape, error) {
	return ProjectorShape{Tokens: b.tokens, Side: b.side}, nil
}

// findProjector looks up a projector's type.
func findProjector(b projectorBuild) (projectorKind, projectorBuild, error) {
	return b.find("projector type", projectors)
}

// find looks up the type in a list of types.
func (b projectorBuild) find(what string, kinds []projectorKind) (projectorKind, projectorBuild, error) {
	var known []string
	for _, kind := range kinds {
		if b.match = kind.pattern.FindStringSubmatch(b.config.Type); b.match != nil {
			return kind, b, nil
		}
		known = append(known, kind.name)
	}
	return projectorKind{}, b, failure.NotOneOf(what, b.config.Type, known)
}

// then is what the projector behind another is built from.
func (b projectorBuild) then() projectorBuild {
	b.config = recipes.Projector{Type: b.config.Then}
	return b
}

// newRow declares a projector that maps each row by itself.
func (b projectorBuild) newRow(p nn.Path) (Projector, error) {
	kind, b, err := b.find("then", rowProjectors)
	if err != nil {
		return nil, err
	}
	return kind.build(p, b)
}

// DescribeProjector says what a projector makes of a tile of the tower, without building it.
func DescribeProjector(config recipes.Projector, tower TowerShape) (shape ProjectorShape, err error) {
	defer failure.MarkInput(&err)
	kind, b, err := findProjector(projectorBuild{
		config: config, in: tower.HiddenSize, tokens: tower.Tokens, side: tower.side()})
	if err == nil {
		shape, err = kind.shape(b)
	}
	if err != nil {
		return shape, fmt.Errorf("model.projector: %w", err)
	}
	return shape, nil
}

// projectorBuild is what a projector of this model is built from.
func (m *LLaVA) projectorBuild(config recipes.Projector) projectorBuild {
	tower, language := m.Tower.Describe(), m.Language.Describe()
	return projectorBuild{config: config, in: tower.HiddenSize, out: language.HiddenSize,
		language: language, mlp: language.IntermediateSize, tokens: tower.Tokens, side: tower.side()}
}

// newProjector declares a projector.
func newProjector(ps *nn.Params, b projectorBuild) (Projector, error) {
	kind, b, err := findProjector(b)
	if err != nil {
		return nil, err
	}
	return kind.build(ps.Root(recipes.PartProjector, projectorPrefix), b)
}

func newLinearProjector(p nn.Path, b projectorBuild) (Projector, error) {
	return nn.NewLinear(p, b.in, b.out, true, nn.LinearInit(b.in)), nil
}

// mlpProjector is N linear layers with GELUs between them. The layers are numbered 0, 2, 4 … as in a torch Sequential.
type mlpProjector struct{ layers []*nn.Linear }

func newMLPProjector(p nn.Path, b projectorBuild) (Projector, error) {
	depth, err := b.depth(1)
	if err != nil {
		return nil, err
	}
	return newMLP(p, depth, b.in, b.out), nil
}

// depth is a number in the type's name.
func (b projectorBuild) depth(group int) (int, error) {
	depth, err := strconv.Atoi(b.match[group])
	if err != nil || depth < 1 || depth > 16 {
		return 0, fmt.Errorf("projector type %q: the depth must be 1 to 16", b.match[0])
	}
	return depth, nil
}

func newMLP(p nn.Path, depth int, in, out int64) *mlpProjector {
	m := &mlpProjector{}
	for i := range depth {
		m.layers = append(m.layers, nn.NewLinear(p.Sub(strconv.Itoa(2*i)), in, out, true, nn.LinearInit(in)))
		in = out
	}
	return m
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

func newIdentityProjector(_ nn.Path, b projectorBuild) (Projector, error) {
	if b.in != b.out {
		return nil, fmt.Errorf("projector type identity needs a tower as wide as the language model; "+
			"they have %d and %d", b.in, b.out)
	}
	return identityProjector{}, nil
}

// Forward returns x.
func (identityProjector) Forward(_ *torch.Scope, x *torch.Tensor, _ nn.DropoutKeys) *torch.Tensor {
	return x
}

// linearFiles and mlpFiles have the layers' numbers in a torch Sequential for names.
var (
	linearFiles = &projectorFiles{sight: func(at lookUp) (sighting, bool) {
		shape := at.shape("weight")
		if len(shape) != 2 {
			return sighting{}, false
		}
		return sighting{config: recipes.Projector{Type: "linear"}, in: shape[1], out: shape[0]}, true
	}}
	mlpFiles = &projectorFiles{sight: func(at lookUp) (sighting, bool) {
		depth := at.depth()
		if depth == 0 {
			return sighting{}, false
		}
		return sighting{config: recipes.Projector{Type: fmt.Sprintf("mlp%dx_gelu", depth)}, in: at.size(1, "0.weight"),
			out: at.size(0, "0.weight")}, true
	}}
)

// depth is how many layers of an MLP the files have.
func (l lookUp) depth() (layers int) {
	for len(l.shape(fmt.Sprintf("%d.weight", 2*layers))) == 2 {
		layers++
	}
	return layers
}
