package model

import (
	"fmt"
	"math"

	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// clipConfig is the vision half of a CLIP config.json; absent fields get transformers' defaults.
type clipConfig struct {
	HiddenSize       int64   `json:"hidden_size"`
	IntermediateSize int64   `json:"intermediate_size"`
	Layers           int64   `json:"num_hidden_layers"`
	Heads            int64   `json:"num_attention_heads"`
	Channels         int64   `json:"num_channels"`
	ImageSize        int64   `json:"image_size"`
	PatchSize        int64   `json:"patch_size"`
	Activation       string  `json:"hidden_act"`
	Eps              float64 `json:"layer_norm_eps"`
	Range            float64 `json:"initializer_range"`
	Factor           float64 `json:"initializer_factor"`
}

func (c *clipConfig) complete() error {
	c.HiddenSize, c.IntermediateSize = orDefault(c.HiddenSize, 768), orDefault(c.IntermediateSize, 3072)
	c.Layers, c.Heads, c.Channels = orDefault(c.Layers, 12), orDefault(c.Heads, 12), orDefault(c.Channels, 3)
	c.ImageSize, c.PatchSize = orDefault(c.ImageSize, 224), orDefault(c.PatchSize, 32)
	c.Activation, c.Eps = orDefault(c.Activation, "quick_gelu"), orDefault(c.Eps, 1e-5)
	c.Range, c.Factor = orDefault(c.Range, 0.02), orDefault(c.Factor, 1)
	switch {
	case c.HiddenSize <= 0 || c.IntermediateSize <= 0 || c.Layers <= 0 || c.Heads <= 0 || c.PatchSize <= 0 ||
		c.ImageSize < c.PatchSize:
		return fmt.Errorf("a size is not positive, or image_size is smaller than patch_size")
	case max(c.HiddenSize, c.IntermediateSize, c.ImageSize) > maxSize || c.Layers > maxLayers:
		return fmt.Errorf("hidden_size, intermediate_size or image_size is over %d, or num_hidden_layers over %d",
			maxSize, maxLayers)
	case c.HiddenSize%c.Heads != 0:
		return fmt.Errorf("hidden_size %d is not a multiple of num_attention_heads %d", c.HiddenSize, c.Heads)
	case c.Channels != 3:
		return fmt.Errorf("num_channels %d is not supported; images have 3", c.Channels)
	}
	_, err := failure.LookUp("hidden_act", c.Activation, activations)
	return err
}

// side is the number of patches along each side of an image; pixels beyond the last whole patch are ignored.
func (c *clipConfig) side() int64 { return c.ImageSize / c.PatchSize }

var activations = map[string]func(s *torch.Scope, x *torch.Tensor) *torch.Tensor{
	"quick_gelu":        torch.QuickGelu,
	"gelu":              torch.Gelu,
	"gelu_pytorch_tanh": torch.GeluTanh,
}

// clip is the image encoder of Radford et al. 2021 up to the selected layer: later layers are neither declared nor run.
type clip struct {
	config     clipConfig
	class      *nn.Param     // [Dv]
	patches    *nn.Param     // [Dv,3,p,p], a convolution without overlap
	positions  *nn.Embedding // [P+1,Dv]
	preNorm    *nn.LayerNorm
	layers     []*clipLayer
	withClass  bool
	activation func(s *torch.Scope, x *torch.Tensor) *torch.Tensor
}

type clipLayer struct {
	norm1, norm2 *nn.LayerNorm
	attention    towerAttention
	fc1, fc2     *nn.Linear
	activation   func(s *torch.Scope, x *torch.Tensor) *torch.Tensor
}

// towerAttention is the attention of all rows of an image to each other.
type towerAttention struct {
	heads      int64
	q, k, v, o *nn.Linear // [Dv,Dv]
}

func newCLIP(raw []byte, root nn.Path, selected TowerSelect) (Tower, error) {
	m := &clip{withClass: selected.Feature == "cls_patch"}
	if err := parseConfig(raw, &m.config, m.config.complete); err != nil {
		return nil, err
	}
	c := m.config
	layers, err := selected.layers(int(c.Layers))
	if err != nil {
		return nil, err
	}
	m.activation = activations[c.Activation]
	embeddings := root.Sub("embeddings")
	init := normal(c.Range * c.Factor)
	m.class = embeddings.Param("class_embedding", normal(c.Factor/math.Sqrt(float64(c.HiddenSize))), c.HiddenSize)
	m.patches = embeddings.Sub("patch_embedding").
		Param("weight", init, c.HiddenSize, c.Channels, c.PatchSize, c.PatchSize)
	rows := m.config.side()*m.config.side() + 1
	m.positions = nn.NewEmbedding(embeddings.Sub("position_embedding"), rows, c.HiddenSize, init)
	m.preNorm = nn.NewLayerNorm(root.Sub("pre_layrnorm"), c.HiddenSize, c.Eps) // spelled so in the published files
	for i := range layers {
		m.layers = append(m.layers, newCLIPLayer(root.Sub("encoder").Layer("layers", i), c, c.clipInit()))
	}
	return m, nil
}

// layerInit is how the matrices of a layer are initialised: q, k and v, the attention's output projection, and the
// two of the MLP.
type layerInit struct{ qkv, o, fc1, fc2 nn.Init }

// clipInit is transformers' rule for CLIP (modeling_clip.py, CLIPPreTrainedModel._init_weights).
func (c *clipConfig) clipInit() layerInit {
	width, depth := math.Sqrt(float64(c.HiddenSize)), math.Sqrt(float64(2*c.Layers))
	return layerInit{normal(c.Factor / width / depth), normal(c.Factor / width), normal(c.Factor / width / math.Sqrt2),
		normal(c.Factor / width / depth)}
}

func normal(std float64) nn.Init { return nn.Init{Kind: "normal", Scale: std} }

func newCLIPLayer(p nn.Path, c clipConfig, init layerInit) *clipLayer {
	linear := func(p nn.Path, in, out int64, init nn.Init) *nn.Linear { return nn.NewLinear(p, in, out, true, init) }
	attention, mlp, d := p.Sub("self_attn"), p.Sub("mlp"), c.HiddenSize
	return &clipLayer{
		norm1: nn.NewLayerNorm(p.Sub("layer_norm1"), d, c.Eps),
		attention: towerAttention{
			heads: c.Heads,
			q:     linear(attention.Sub("q_proj"), d, d, init.qkv),
			k:     linear(attention.Sub("k_proj"), d, d, init.qkv),
			v:     linear(attention.Sub("v_proj"), d, d, init.qkv),
			o:     linear(attention.Sub("out_proj"), d, d, init.o),
		},
		norm2:      nn.NewLayerNorm(p.Sub("layer_norm2"), d, c.Eps),
		fc1:        linear(mlp.Sub("fc1"), d, c.IntermediateSize, init.fc1),
		fc2:        linear(mlp.Sub("fc2"), c.IntermediateSize, d, init.fc2),
		activation: activations[c.Activation],
	}
}

func (m *clip) Describe() TowerShape {
	tokens := m.config.side() * m.config.side()
	if m.withClass {
		tokens++
	}
	return TowerShape{HiddenSize: m.config.HiddenSize, ImageSize: m.config.ImageSize, Tokens: tokens,
		PatchSize: m.config.PatchSize, Processor: "clip", Rows: m.config.side()*m.config.side() + 1,
		Layers: int64(len(m.layers)), IntermediateSize: m.config.IntermediateSize}
}

// Forward runs the tower over n images: [n,3,S,S] -> [n*tokens,Dv].
func (m *clip) Forward(s *torch.Scope, pixels *torch.Tensor, keys nn.DropoutKeys) *torch.Tensor {
	n, d, rows := pixels.Size(0), m.config.HiddenSize, m.config.side()*m.config.side()+1
	x := m.embed(s, pixels, n)         // [n,P+1,Dv]
	x = torch.Reshape(s, x, n*rows, d) // [n*(P+1),Dv]
	x = m.preNorm.Forward(s, x)        // transformers' hidden_states[0]
	x = runPictures(s, m.layers, x, n, keys)
	if m.withClass {
		return x
	}
	x = torch.Narrow(s, torch.Reshape(s, x, n, rows, d), 1, 1, rows-1) // [n,P,Dv]
	return torch.Reshape(s, x, n*(rows-1), d)
}

// runPictures runs layers over the rows of n images, each of which attends only to itself: [n*rows,Dv] -> [n*rows,Dv].
func runPictures[L towerLayer](s *torch.Scope, list []L, x *torch.Tensor, n int64, keys nn.DropoutKeys) *torch.Tensor {
	starts := make([]int64, n+1)
	for i := range starts {
		starts[i] = int64(i) * x.Size(0) / n
	}
	layers := make([]nn.Layer, len(list))
	for i, layer := range list {
		layers[i] = func(s *torch.Scope, x *torch.Tensor) *torch.Tensor { return layer.forward(s, x, starts, keys) }
	}
	return nn.Run(s, layers, x, false).Out
}

// towerLayer is a layer of a tower: [R,Dv] -> [R,Dv]. starts [n+1] are the images' first rows, and R.
type towerLayer interface {
	forward(s *torch.Scope, x *torch.Tensor, starts []int64, keys nn.DropoutKeys) *torch.Tensor
}

func (m *clip) embed(s *torch.Scope, pixels *torch.Tensor, n int64) *torch.Tensor { // [n,3,S,S] -> [n,P+1,Dv]
	d := m.config.HiddenSize
	kernel := torch.Reshape(s, m.patches.Tensor(), d, -1)                                 // [Dv,3*p*p]
	patches := torch.Linear(s, torch.Patches(s, pixels, m.config.PatchSize), kernel, nil) // [n*P,Dv]
	class := torch.Expand(s, torch.Reshape(s, m.class.Tensor(), 1, 1, d), n, 1, d)        // [n,1,Dv]
	x := torch.Cat(s, 1, class, torch.Reshape(s, patches, n, -1, d))                      // [n,P+1,Dv]
	return torch.Add(s, x, m.positions.Weight().Tensor())
}

// forward is [R,Dv] -> [R,Dv].
func (l *clipLayer) forward(s *torch.Scope, x *torch.Tensor, starts []int64, keys nn.DropoutKeys) *torch.Tensor {
	x = torch.Add(s, x, l.attention.forward(s, l.norm1.Forward(s, x), starts, keys))
	h := l.activation(s, l.fc1.Forward(s, l.norm2.Forward(s, x), keys))
	return torch.Add(s, x, l.fc2.Forward(s, h, keys))
}

// forward is [R,Dv] -> [R,Dv].
func (a *towerAttention) forward(s *torch.Scope, x *torch.Tensor, starts []int64, keys nn.DropoutKeys) *torch.Tensor {
	d := a.q.Weight().Shape[0]
	heads := func(linear *nn.Linear) *torch.Tensor { // [R,H,d]
		return torch.Reshape(s, linear.Forward(s, x, keys), -1, a.heads, d/a.heads)
	}
	y := torch.Attention(s, heads(a.q), heads(a.k), heads(a.v), starts, false) // [R,H,d]
	return a.o.Forward(s, torch.Reshape(s, y, -1, d), keys)
}
