package model

import (
	"fmt"

	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// dinov2Config is the config.json of DINOv2, with registers or without; absent fields get transformers' defaults.
type dinov2Config struct {
	ModelType  string  `json:"model_type"`
	HiddenSize int64   `json:"hidden_size"`
	Layers     int64   `json:"num_hidden_layers"`
	Heads      int64   `json:"num_attention_heads"`
	Channels   int64   `json:"num_channels"`
	ImageSize  int64   `json:"image_size"` // of the position embeddings
	PatchSize  int64   `json:"patch_size"`
	MLPRatio   float64 `json:"mlp_ratio"`
	Activation string  `json:"hidden_act"`
	Gated      bool    `json:"use_swiglu_ffn"`
	Biased     bool    `json:"qkv_bias"`
	Registers  int64   `json:"num_register_tokens"`
	Scale      float64 `json:"layerscale_value"`
	Eps        float64 `json:"layer_norm_eps"`
	Range      float64 `json:"initializer_range"`

	registered bool
}

func (c *dinov2Config) complete() error {
	c.registered = c.ModelType == "dinov2_with_registers"
	c.HiddenSize, c.Layers, c.Heads = orDefault(c.HiddenSize, 768), orDefault(c.Layers, 12), orDefault(c.Heads, 12)
	c.Channels, c.ImageSize = orDefault(c.Channels, 3), orDefault(c.ImageSize, 224)
	c.MLPRatio, c.Activation = orDefault(c.MLPRatio, 4), orDefault(c.Activation, "gelu")
	c.Eps, c.Range = orDefault(c.Eps, 1e-6), orDefault(c.Range, 0.02)
	if c.registered {
		c.PatchSize, c.Registers = orDefault(c.PatchSize, 16), orDefault(c.Registers, 4)
	} else {
		c.PatchSize, c.Registers = orDefault(c.PatchSize, 14), 0
	}
	switch {
	case c.HiddenSize <= 0 || c.Layers <= 0 || c.Heads <= 0 || c.PatchSize <= 0 || c.ImageSize < c.PatchSize ||
		c.Registers < 0 || !(c.MLPRatio > 0):
		return fmt.Errorf("a size is not positive, or image_size is smaller than patch_size")
	case max(c.HiddenSize, c.ImageSize) > maxSize || max(c.Layers, c.Registers) > maxLayers || c.MLPRatio > 64:
		return fmt.Errorf("hidden_size or image_size is over %d, num_hidden_layers or num_register_tokens over %d, "+
			"or mlp_ratio over 64", maxSize, maxLayers)
	case c.HiddenSize%c.Heads != 0:
		return fmt.Errorf("hidden_size %d is not a multiple of num_attention_heads %d", c.HiddenSize, c.Heads)
	case c.Channels != 3:
		return fmt.Errorf("num_channels %d is not supported; images have 3", c.Channels)
	}
	_, err := failure.LookUp("hidden_act", c.Activation, activations)
	return err
}

// inner is the width of the MLP; that of SwiGLU is two thirds, rounded up to a multiple of 8.
func (c *dinov2Config) inner() int64 {
	inner := int64(float64(c.HiddenSize) * c.MLPRatio)
	if c.Gated {
		inner = (inner*2/3 + 7) / 8 * 8
	}
	return inner
}

// dinov2 is the image encoder of Oquab et al. 2023 (DINOv2), and of Darcet et al. 2023 with register tokens, up to the
// selected layer, as transformers 5.17 has them (modeling_dinov2.py, modeling_dinov2_with_registers.py). The norm
// behind the last layer is not part of the hidden states.
type dinov2 struct {
	config          dinov2Config
	size            int64     // S, of the images
	class           *nn.Param // [1,1,Dv]
	registers       *nn.Param // [1,registers,Dv], or nil
	patches, shifts *nn.Param // [Dv,3,p,p] and [Dv], a convolution without overlap
	positions       *nn.Param // [1,P'+1,Dv] for images of config.json's image_size
	layers          []*dinov2Layer
	withClass       bool
}

func newDINOv2(raw []byte, root nn.Path, selected TowerSelect) (Tower, error) {
	m := &dinov2{config: dinov2Config{Biased: true, Scale: 1}, withClass: selected.Feature == "cls_patch"}
	if err := parseConfig(raw, &m.config, m.config.complete, "qkv_bias"); err != nil {
		return nil, err
	}
	c := &m.config
	layers, err := selected.layers(int(c.Layers))
	if err != nil {
		return nil, err
	}
	if m.size, err = selected.size(c.ImageSize, c.PatchSize); err != nil {
		return nil, err
	}
	init, zeros := normal(c.Range), nn.Init{Kind: "zeros"}
	embeddings := root.Sub("embeddings")
	m.class = embeddings.Param("cls_token", init, 1, 1, c.HiddenSize)
	if c.registered {
		m.registers = embeddings.Param("register_tokens", zeros, 1, c.Registers, c.HiddenSize)
	}
	convolution := embeddings.Sub("patch_embeddings").Sub("projection")
	m.patches = convolution.Param("weight", init, c.HiddenSize, c.Channels, c.PatchSize, c.PatchSize)
	m.shifts = convolution.Param("bias", zeros, c.HiddenSize)
	own := c.ImageSize / c.PatchSize
	m.positions = embeddings.Param("position_embeddings", init, 1, own*own+1, c.HiddenSize)
	for i := range layers {
		m.layers = append(m.layers, newDINOv2Layer(root.Sub("encoder").Layer("layer", i), c))
	}
	return m, nil
}

// side is the number of patches along each side of an image.
func (m *dinov2) side() int64 { return m.size / m.config.PatchSize }

// rows in the layers for each image: the class token, the registers, the patches.
func (m *dinov2) rows() int64 { return 1 + m.config.Registers + m.side()*m.side() }

func (m *dinov2) Describe() TowerShape {
	c, tokens := &m.config, m.side()*m.side()
	if m.withClass {
		tokens++
	}
	inner := c.inner()
	if c.Gated {
		inner = inner * 3 / 2 // three matrices in place of two
	}
	return TowerShape{HiddenSize: c.HiddenSize, ImageSize: m.size, PatchSize: c.PatchSize, Tokens: tokens,
		Rows: m.rows(), Layers: int64(len(m.layers)), IntermediateSize: inner, LayerScales: 2, Processor: "dinov2",
		Resizes: true}
}

// Forward runs the tower over n images: [n,3,S,S] -> [n*tokens,Dv].
func (m *dinov2) Forward(s *torch.Scope, pixels *torch.Tensor, keys nn.DropoutKeys) *torch.Tensor {
	n, d, rows, registers := pixels.Size(0), m.config.HiddenSize, m.rows(), m.config.Registers
	x := m.hidden(s, pixels, keys) // [n*(1+R+P),Dv]
	if m.withClass && registers == 0 {
		return x
	}
	x = torch.Reshape(s, x, n, rows, d)                              // [n,1+R+P,Dv]
	features := torch.Narrow(s, x, 1, 1+registers, rows-1-registers) // [n,P,Dv]
	if m.withClass {
		features = torch.Cat(s, 1, torch.Narrow(s, x, 1, 0, 1), features) // [n,1+P,Dv]
	}
	return torch.Reshape(s, features, -1, d)
}

// hidden is all rows of the selected hidden state: [n,3,S,S] -> [n*(1+R+P),Dv].
func (m *dinov2) hidden(s *torch.Scope, pixels *torch.Tensor, keys nn.DropoutKeys) *torch.Tensor {
	x := torch.Reshape(s, m.embed(s, pixels), -1, m.config.HiddenSize) // [n*(1+R+P),Dv], transformers' hidden_states[0]
	return runPictures(s, m.layers, x, pixels.Size(0), keys)
}

// embed is [n,3,S,S] -> [n,1+R+P,Dv]. Registers have no position.
func (m *dinov2) embed(s *torch.Scope, pixels *torch.Tensor) *torch.Tensor {
	n, d := pixels.Size(0), m.config.HiddenSize
	kernel := torch.Reshape(s, m.patches.Tensor(), d, -1)                                         // [Dv,3*p*p]
	x := torch.Linear(s, torch.Patches(s, pixels, m.config.PatchSize), kernel, m.shifts.Tensor()) // [n*P,Dv]
	first, patches := m.placed(s)                                                                 // [1,Dv], [P,Dv]
	x = torch.Add(s, torch.Reshape(s, x, n, -1, d), patches)                                      // [n,P,Dv]
	class := torch.Add(s, m.class.Tensor(), first)                                                // [1,1,Dv]
	parts := []*torch.Tensor{torch.Expand(s, class, n, 1, d)}
	if m.registers != nil {
		parts = append(parts, torch.Expand(s, m.registers.Tensor(), n, m.config.Registers, d)) // [n,R,Dv]
	}
	return torch.Cat(s, 1, append(parts, x)...)
}

// placed is the positions of the class token [1,Dv] and of the patches [P,Dv]. At another size than config.json's
// image_size those of the patches are interpolated, as interpolate_pos_encoding of transformers does it: with
// antialiasing only in the model with registers.
func (m *dinov2) placed(s *torch.Scope) (first, patches *torch.Tensor) {
	own, side, d := m.config.ImageSize/m.config.PatchSize, m.side(), m.config.HiddenSize
	table := torch.Reshape(s, m.positions.Tensor(), own*own+1, d) // [P'+1,Dv]
	first, patches = torch.Narrow(s, table, 0, 0, 1), torch.Narrow(s, table, 0, 1, own*own)
	if own == side {
		return first, patches
	}
	weights := bicubic
	if m.config.registered {
		weights = smoothBicubic
	}
	return first, Map{Rows: own, Columns: own, ToRows: side, ToColumns: side}.resample(s, patches, weights)
}
