package model

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
)

// qformer is the querying transformer of Li et al. 2023 (BLIP-2): learned queries attend to each other and to a tile's
// features in the layers of a post-norm BERT, and take as many positions whatever the number of features. Names are
// transformers' (modeling_blip_2.py, Blip2QFormerModel). There is no dropout and no text branch.
type qformer struct {
	tokens  int64         // P, rows of features for each tile
	vision  *nn.LayerNorm // on the features [R,Dv]; nil without
	queries *nn.Param     // [1,q,w]
	norm    *nn.LayerNorm
	layers  []*qformerLayer
	out     *nn.Linear // w -> D
}

// Constants of the published models. LAVIS and LLaVA-NeXT normalise features with PyTorch's eps.
const (
	qformerEps   = 1e-12
	qformerScale = 0.02 // standard deviation of initial values
	layerNormEps = 1e-5 // PyTorch's default
)

// qformerShape is one position for each query.
func qformerShape(b projectorBuild) (ProjectorShape, error) {
	c := b.config
	if c.Heads <= 0 || c.Width%c.Heads != 0 {
		return ProjectorShape{}, fmt.Errorf("width %d is not a multiple of heads %d: set model.projector.heads to a "+
			"divisor of %[1]d", c.Width, c.Heads)
	}
	return ProjectorShape{Tokens: int64(c.Queries)}, nil
}

func newQFormer(p nn.Path, b projectorBuild) (Projector, error) {
	c, w := b.config, int64(b.config.Width)
	m := &qformer{tokens: b.tokens}
	if c.LNVision == "true" {
		m.vision = nn.NewLayerNorm(p.Sub("ln_vision"), b.in, layerNormEps)
	}
	m.queries = p.Param("query_tokens", normal(qformerScale), 1, int64(c.Queries), w)
	body := p.Sub("qformer")
	m.norm = nn.NewLayerNorm(body.Sub("layernorm"), w, qformerEps)
	for i := range c.Layers {
		layer := newQFormerLayer(body.Sub("encoder").Layer("layer", i), c, b.in, i%c.CrossEvery == 0)
		m.layers = append(m.layers, layer)
	}
	m.out = newQFormerLinear(p.Sub("language_projection"), w, b.out)
	return m, nil
}

func newQFormerLinear(p nn.Path, in, out int64) *nn.Linear {
	return nn.NewLinear(p, in, out, true, normal(qformerScale))
}

// Forward maps the features of n tiles, [n*P,Dv], to rows of their queries, [n*q,D].
func (m *qformer) Forward(s *torch.Scope, x *torch.Tensor, keys nn.DropoutKeys) *torch.Tensor {
	n := x.Size(0) / m.tokens
	return s.Sub(func(s *torch.Scope) *torch.Tensor {
		if m.vision != nil {
			x = m.vision.Forward(s, x)
		}
		layers := make([]nn.Layer, len(m.layers))
		for i, layer := range m.layers {
			layers[i] = func(s *torch.Scope, h *torch.Tensor) *torch.Tensor { return layer.forward(s, h, x, n, keys) }
		}
		return m.out.Forward(s, nn.Run(s, layers, m.start(s, n), false).Out, keys)
	})
}

// start is the queries of n tiles, [n*q,w].
func (m *qformer) start(s *torch.Scope, n int64) *torch.Tensor {
	q, w := m.queries.Shape[1], m.queries.Shape[2]
	h := m.norm.Forward(s, m.queries.Tensor()) // [1,q,w]
	return torch.Reshape(s, torch.Expand(s, h, n, q, w), n*q, w)
}

type qformerLayer struct {
	self, cross *qformerAttention // cross is nil in layers without
	up, down    *nn.Linear        // w -> mlp -> w
	norm        *nn.LayerNorm
}

func newQFormerLayer(p nn.Path, c recipes.Projector, in int64, cross bool) *qformerLayer {
	w, mlp := int64(c.Width), int64(c.MLP)
	l := &qformerLayer{self: newQFormerAttention(p.Sub("attention"), c, w)}
	if cross {
		l.cross = newQFormerAttention(p.Sub("crossattention"), c, in)
	}
	l.up = newQFormerLinear(p.Sub("intermediate_query").Sub("dense"), w, mlp)
	l.down = newQFormerLinear(p.Sub("output_query").Sub("dense"), mlp, w)
	l.norm = nn.NewLayerNorm(p.Sub("output_query").Sub("LayerNorm"), w, qformerEps)
	return l
}

// forward is [n*q,w] -> [n*q,w]; features [n*P,Dv].
func (l *qformerLayer) forward(s *torch.Scope, h, features *torch.Tensor, n int64, keys nn.DropoutKeys) *torch.Tensor {
	h = l.self.forward(s, h, h, n, keys)
	if l.cross != nil {
		h = l.cross.forward(s, h, features, n, keys)
	}
	y := l.down.Forward(s, torch.Gelu(s, l.up.Forward(s, h, keys)), keys)
	return l.norm.Forward(s, torch.Add(s, h, y))
}

// qformerAttention is attention, the sum with its input, and a norm.
type qformerAttention struct {
	heads      int64
	q, k, v, o *nn.Linear
	norm       *nn.LayerNorm
}

// newQFormerAttention declares attention to rows of width in.
func newQFormerAttention(p nn.Path, c recipes.Projector, in int64) *qformerAttention {
	w, attention, output := int64(c.Width), p.Sub("attention"), p.Sub("output")
	return &qformerAttention{
		heads: int64(c.Heads),
		q:     newQFormerLinear(attention.Sub("query"), w, w),
		k:     newQFormerLinear(attention.Sub("key"), in, w),
		v:     newQFormerLinear(attention.Sub("value"), in, w),
		o:     newQFormerLinear(output.Sub("dense"), w, w),
		norm:  nn.NewLayerNorm(output.Sub("LayerNorm"), w, qformerEps),
	}
}

// forward is [n*q,w] -> [n*q,w]; the n*K rows of to, K for each of n tiles, are what it attends to.
func (a *qformerAttention) forward(s *torch.Scope, h, to *torch.Tensor, n int64, keys nn.DropoutKeys) *torch.Tensor {
	heads := func(linear *nn.Linear, x *torch.Tensor) *torch.Tensor {
		return splitHeads(s, linear.Forward(s, x, keys), n, a.heads)
	}
	y := torch.CrossAttention(s, heads(a.q, h), heads(a.k, to), heads(a.v, to)) // [n,q,H,d]
	y = a.o.Forward(s, torch.Reshape(s, y, h.Size(0), h.Size(1)), keys)
	return a.norm.Forward(s, torch.Add(s, h, y))
}

// splitHeads gives the rows of n tiles their heads: [n*L,H*d] -> [n,L,H,d].
func splitHeads(s *torch.Scope, x *torch.Tensor, n, heads int64) *torch.Tensor {
	return torch.Reshape(s, x, n, x.Size(0)/n, heads, x.Size(1)/heads)
}

// qformerFiles knows a Q-Former of transformers, of LAVIS and LLaVA-NeXT, and of TinyLLaVA.
var qformerFiles = &projectorFiles{
	anchor:    regexp.MustCompile(`^(.*)query_tokens$`),
	spellings: qformerSpellings, sight: sightQFormer, asked: askedQFormer,
}

// qformerSpellings are the names of the programs that train one. LLaVA-NeXT's has LLaVA's projector behind it.
func qformerSpellings(prefix string) []spelling {
	rest := renaming{projectorPrefix, prefix}
	list := []spelling{{{projectorPrefix + "ln_vision.", prefix + towerNorm}, rest}, {rest}}
	lavis := func(body, norm, out string) {
		list = append(list, spelling{
			{"*.attention.attention.", ".attention.self."}, {"*.crossattention.attention.", ".crossattention.self."},
			{projectorPrefix + "qformer.layernorm.", norm}, {projectorPrefix + "qformer.", prefix + body},
			{projectorPrefix + "language_projection.", out}, rest})
	}
	norm := prefix + "Qformer.bert.embeddings.LayerNorm."
	for _, out := range []string{"opt_proj.", "t5_proj.", "llm_proj."} {
		lavis("Qformer.bert.", norm, prefix+out)
	}
	lavis("Qformer.bert.", norm, strings.TrimSuffix(prefix, "vision_resampler.")+ownProjector)
	lavis("bert.", absent, prefix+"projector.") // TinyLLaVA normalises its queries without weights
	return list
}

// towerNorm is ln_vision as transformers has it: the last norm of the tower.
const towerNorm = "vision_model.post_layernorm."

func sightQFormer(at lookUp) (seen sighting, ok bool) {
	const layers, first = "qformer.encoder.layer.%d.attention.output.dense.weight", "qformer.encoder.layer.0."
	c := recipes.Projector{Type: recipes.QFormer, Layers: at.count(layers),
		Queries: int(at.size(1, "query_tokens")), Width: int(at.size(2, "query_tokens")),
		MLP: int(at.size(0, first+"intermediate_query.dense.weight")), LNVision: "false"}
	if c.Layers == 0 || c.Queries == 0 || at.shape("language_projection.weight") == nil {
		return seen, false
	}
	for i := c.Layers - 1; i > 0; i-- { // without a second layer that has it, its distance is unknown
		if at.shape(fmt.Sprintf("qformer.encoder.layer.%d.crossattention.output.dense.weight", i)) != nil {
			c.CrossEvery = i
		}
	}
	if at.shape("ln_vision.weight") != nil {
		c.LNVision = "true"
	}
	if strings.HasSuffix(at.spelled.of(projectorPrefix+"ln_vision."), towerNorm) {
		if c.LNVision == "false" {
			return seen, false // spelled without the tower's
		}
		c.LNVision = "" // as the recipe wants it
	}
	return sighting{config: c, in: at.size(1, first+"crossattention.attention.key.weight"),
		out: at.size(0, "language_projection.weight")}, true
}

// askedQFormer leaves out a distance of cross-attention that one layer alone has.
func askedQFormer(b projectorBuild) sighting {
	asked := sighting{config: b.config, in: b.in, out: b.out}
	if asked.config.CrossEvery >= asked.config.Layers {
		asked.config.CrossEvery = 0
	}
	return asked
}
