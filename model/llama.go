package model

import (
	"fmt"
	"slices"

	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
)

// llamaConfig is config.json of Llama (Touvron et al. 2023) or Vicuna, and the part that all families like it share.
type llamaConfig struct {
	HiddenSize       int64    `json:"hidden_size"`
	IntermediateSize int64    `json:"intermediate_size"`
	Layers           int64    `json:"num_hidden_layers"`
	Heads            int64    `json:"num_attention_heads"`
	KeyValueHeads    int64    `json:"num_key_value_heads"` // 0: as many as heads
	HeadDim          int64    `json:"head_dim"`            // 0: hidden_size / heads
	VocabSize        int64    `json:"vocab_size"`
	MaxPositions     int64    `json:"max_position_embeddings"`
	Eps              float64  `json:"rms_norm_eps"`
	Activation       string   `json:"hidden_act"`
	AttentionBias    bool     `json:"attention_bias"`
	MLPBias          bool     `json:"mlp_bias"`
	TieEmbeddings    bool     `json:"tie_word_embeddings"`
	InitializerRange *float64 `json:"initializer_range"`
	ropeConfig

	// Set by the family's file, not by config.json.
	qkvBias  bool    // only q, k and v have biases
	headNorm bool    // each head of q and k is normalised before its rotation
	joined   bool    // q, k and v are one matrix, gate and up another
	windows  []int64 // how many positions each layer attends to, the current one included; nil or 0: all so far
}

// Limits on the sizes in config.json, so that a damaged file cannot cause a huge allocation.
const (
	maxSize   = 1 << 21 // of any size
	maxLayers = 1 << 10
	maxTable  = 1 << 28 // positions times head size: a million positions with head size 256
)

func (c *llamaConfig) complete() error {
	c.KeyValueHeads = orDefault(c.KeyValueHeads, c.Heads)
	c.Activation = orDefault(c.Activation, "silu")
	if c.HeadDim == 0 && c.Heads > 0 {
		c.HeadDim = c.HiddenSize / c.Heads
	}
	for _, size := range []struct {
		name  string
		value int64
	}{
		{"hidden_size", c.HiddenSize}, {"intermediate_size", c.IntermediateSize}, {"num_hidden_layers", c.Layers},
		{"num_attention_heads", c.Heads}, {"num_key_value_heads", c.KeyValueHeads}, {"head_dim", c.HeadDim},
		{"vocab_size", c.VocabSize}, {"max_position_embeddings", c.MaxPositions},
	} {
		if size.value <= 0 || size.value > maxSize {
			return fmt.Errorf("%s is missing or not in 1 to %d", size.name, maxSize)
		}
	}
	switch {
	case c.Layers > maxLayers:
		return fmt.Errorf("num_hidden_layers %d is over %d", c.Layers, maxLayers)
	case c.MaxPositions*c.HeadDim > maxTable:
		return fmt.Errorf("max_position_embeddings %d times head size %d is over %d", c.MaxPositions, c.HeadDim,
			maxTable)
	case c.Heads%c.KeyValueHeads != 0:
		return fmt.Errorf("num_attention_heads %d is not a multiple of num_key_value_heads %d", c.Heads,
			c.KeyValueHeads)
	case c.HeadDim%2 != 0:
		return fmt.Errorf("head size %d is odd; rotary embeddings need pairs", c.HeadDim)
	case c.Activation != "silu":
		return fmt.Errorf("hidden_act %q is not supported; it must be silu", c.Activation)
	}
	return c.resolve(c.MaxPositions)
}

// windowAll gives every layer the same window; nil is none.
func (c *llamaConfig) windowAll(window *int64) error {
	if window == nil {
		return nil
	}
	if *window <= 0 {
		return fmt.Errorf("sliding_window %d is not positive; null is none", *window)
	}
	c.windows = slices.Repeat([]int64{*window}, int(c.Layers))
	return nil
}

func (c *llamaConfig) init() nn.Init {
	if c.InitializerRange != nil {
		return nn.Init{Kind: "normal", Scale: *c.InitializerRange}
	}
	return nn.Init{Kind: "normal", Scale: 0.02}
}

// llama is the decoder of Touvron et al. 2023: pre-norm, rotary positions, grouped-query attention, SwiGLU. Families
// that add a little to it share it; their files say what they add.
type llama struct {
	config llamaConfig
	embed  *nn.Embedding
	layers []*llamaLayer
	norm   *nn.RMSNorm
	head   *nn.Param
	rotary *nn.Rotary
}

type llamaLayer struct {
	config       llamaConfig
	window       int64
	inputNorm    *nn.RMSNorm
	qkv          projections
	qNorm, kNorm *nn.RMSNorm // nil without headNorm
	o            *nn.Linear
	postNorm     *nn.RMSNorm
	gateUp       projections
	down         *nn.Linear
}

// projections are linear maps of the same input.
type projections struct {
	maps  []*nn.Linear // one for each output, or a single one whose rows are those of all outputs in turn
	sizes []int64      // of the outputs
	whole *nn.Joined   // the maps fused
}

func newLlama(raw []byte, ps *nn.Params, device torch.Device) (Language, error) {
	c := llamaConfig{MaxPositions: 2048, Eps: 1e-6}
	if err := parseConfig(raw, &c, c.complete, "attention_bias", "mlp_bias"); err != nil {
		return nil, err
	}
	return newDecoder(c, ps, device)
}

// newDecoder declares the parameters of a completed configuration.
func newDecoder(c llamaConfig, ps *nn.Params, device torch.Device) (Language, error) {
	m := &llama{config: c}
	root := ps.Root(recipes.PartLanguage, "")
	body := root.Sub("model")
	m.embed = nn.NewEmbedding(body.Sub("embed_tokens"), c.VocabSize, c.HiddenSize, c.init())
	for i := range int(c.Layers) {
		layer := newLlamaLayer(body.Layer("layers", i), c)
		if c.windows != nil {
			layer.window = c.windows[i]
		}
		m.layers = append(m.layers, layer)
	}
	m.norm = nn.NewRMSNorm(body.Sub("norm"), c.HiddenSize, c.Eps)
	m.head = m.embed.Weight()
	if !c.TieEmbeddings {
		m.head = root.Sub("lm_head").Param("weight", c.init(), c.VocabSize, c.HiddenSize)
	}
	var err error
	m.rotary, err = nn.NewRotary(c.MaxPositions, c.frequencies(c.HeadDim), device)
	return m, err
}

func newLlamaLayer(p nn.Path, c llamaConfig) *llamaLayer {
	attention, mlp := p.Sub("self_attn"), p.Sub("mlp")
	queries, keys := c.Heads*c.HeadDim, c.KeyValueHeads*c.HeadDim
	l := &llamaLayer{
		config:    c,
		inputNorm: nn.NewRMSNorm(p.Sub("input_layernorm"), c.HiddenSize, c.Eps),
		qkv: c.projections(attention, c.AttentionBias || c.qkvBias, "qkv_proj",
			[]string{"q_proj", "k_proj", "v_proj"}, queries, keys, keys),
		o:        nn.NewLinear(attention.Sub("o_proj"), queries, c.HiddenSize, c.AttentionBias, c.init()),
		postNorm: nn.NewRMSNorm(p.Sub("post_attention_layernorm"), c.HiddenSize, c.Eps),
		gateUp: c.projections(mlp, c.MLPBias, "gate_up_proj", []string{"gate_proj", "up_proj"}, c.IntermediateSize,
			c.IntermediateSize),
		down: nn.NewLinear(mlp.Sub("down_proj"), c.IntermediateSize, c.HiddenSize, c.MLPBias, c.init()),
	}
	if c.headNorm {
		l.qNorm, l.kNorm = nn.NewRMSNorm(attention.Sub("q_norm"), c.HeadDim, c.Eps),
			nn.NewRMSNorm(attention.Sub("k_norm"), c.HeadDim, c.Eps)
	}
	return l
}

// projections declares the maps of a hidden state to outputs of the given sizes, under one name each or, if joined,
// under one name for all.
func (c llamaConfig) projections(p nn.Path, bias bool, joined string, names []string, sizes ...int64) projections {
	ps := projections{sizes: sizes}
	if c.joined {
		total := int64(0)
		for _, size := range sizes {
			total += size
		}
		names, sizes = []string{joined}, []int64{total}
	}
	for i, name := range names {
		ps.maps = append(ps.maps, nn.NewLinear(p.Sub(name), c.HiddenSize, sizes[i], bias, c.init()))
	}
	ps.whole = nn.NewJoined(ps.maps...)
	return ps
}

// forward is [T,D] -> [T,size] each.
func (ps projections) forward(s *torch.Scope, x *torch.Tensor, keys nn.DropoutKeys) (outputs []*torch.Tensor) {
	if len(ps.maps) == 1 {
		return torch.Split(s, ps.maps[0].Forward(s, x, keys), ps.sizes...)
	}
	for _, linear := range ps.maps {
		outputs = append(outputs, linear.Forward(s, x, keys))
	}
	return outputs
}

func (m *llama) Describe() LanguageShape {
	c := m.config
	return LanguageShape{HiddenSize: c.HiddenSize, VocabSize: c.VocabSize, Layers: c.Layers,
		MaxPositions: c.MaxPositions, Heads: c.Heads, QuerySize: c.Heads * c.HeadDim,
		KeySize: c.KeyValueHeads * c.HeadDim, KeyHeads: c.KeyValueHeads, IntermediateSize: c.IntermediateSize,
		NormEps:   c.Eps,
		Selective: len(m.layers[0].obstacles(whenDeclared, LanguageInput{})) == 0}
}

func (m *llama) Head() *nn.Param { return m.head }

func (m *llama) Embed(s *torch.Scope, ids *torch.Tensor) *torch.Tensor {
	return m.embed.Forward(s, ids)
} // [T] -> [T,D]

func (m *llama) Forward(s *torch.Scope, in LanguageInput) LanguageOutput {
	cos, sin := m.rotary.At(s, in.Positions, in.Embeddings.Dtype()) // [T,1,d] each
	keys := nn.DropoutKeys{Keys: in.DropoutKeys, Starts: in.Starts}
	var layers []nn.Layer
	var numbers []int // of the decoder layers among them; -1 for a layer of cross-attention
	for i, layer := range m.layers {
		if in.Before != nil {
			if side := in.Before(i); side != nil {
				layers, numbers = append(layers, side), append(numbers, -1)
			}
		}
		numbers = append(numbers, i)
		attend := func(s *torch.Scope, q, k, v *torch.Tensor) *torch.Tensor { // [T,H,d], [T,G,d], [T,G,d] -> [T,H,d]
			if in.Generation == nil {
				return torch.WindowAttention(s, q, k, v, in.Starts, layer.window)
			}
			return in.Generation.attend(s, i, layer.window, q, k, v)
		}
		wanted := in.Wanted
		if i+1 < len(m.layers) {
			wanted = nil // later layers attend to every position
		}
		layers = append(layers, func(s *torch.Scope, x *torch.Tensor) *torch.Tensor {
			if halves, ok := layer.halves(in, cos, sin); ok {
				return halves.forward(s, x, wanted)
			}
			if step, ok := layer.step(in, cos, sin); ok {
				step.Wanted = indices(s, wanted, x.Device())
				return step.Forward(s, x, in.Generation.Extents, in.Generation.keys[i], in.Generation.values[i])
			}
			return layer.forward(s, x, cos, sin, attend, indices(s, wanted, x.Device()), keys)
		})
	}
	recompute := in.Recompute == nn.RecomputeLayers
	var tape *nn.Tape
	if in.Hooks == nil {
		tape = nn.Run(s, layers, in.Embeddings, recompute) // [N,D]
	} else {
		tape = nn.RunCut(s, layers, in.Embeddings, recompute, renumbered(*in.Hooks, numbers))
	}
	return LanguageOutput{Hidden: m.norm.Forward(s, tape.Out), Tape: tape}
}

// renumbered are hooks that are called for some of a list of layers, by their own numbers; -1 for none.
func renumbered(hooks nn.Hooks, numbers []int) nn.Hooks {
	of := func(hook func(layer int)) func(layer int) {
		return func(i int) {
			if numbers[i] >= 0 && hook != nil {
				hook(numbers[i])
			}
		}
	}
	return nn.Hooks{Forward: of(hooks.Forward), Backward: of(hooks.Backward), After: of(hooks.After)}
}

type attendFunc func(s *torch.Scope, q, k, v *torch.Tensor) *torch.Tensor

// forward returns the wanted rows; nil means all: [T,D] -> [N,D]. After attention no position depends on another, so
// only the wanted ones are computed.
func (l *llamaLayer) forward(s *torch.Scope, x, cos, sin *torch.Tensor, attend attendFunc, rows *torch.Tensor,
	keys nn.DropoutKeys) *torch.Tensor {
	y := l.attention(s, l.inputNorm.Forward(s, x), cos, sin, attend, keys) // [T,H*d]
	early := rows != nil && !l.drops(keys)
	if early {
		x, y = torch.IndexSelect(s, x, 0, rows), torch.IndexSelect(s, y, 0, rows) // [N,D], [N,H*d]
	}
	x, normed := l.postNorm.ForwardSum(s, x, l.o.Forward(s, y, keys)) // [N,D] each
	x = torch.Add(s, x, l.mlp(s, normed, keys))
	if rows != nil && !early {
		x = torch.IndexSelect(s, x, 0, rows) // [N,D]
	}
	return x
}

// drops says whether dropout applies after attention. Then all rows are needed there, because what a position drops
// depends on its place in its sample.
func (l *llamaLayer) drops(keys nn.DropoutKeys) bool {
	return slices.ContainsFunc(l.behind(), func(m *nn.Linear) bool { return m.Drops(keys) })
}

// behind lists the linear maps after attention.
func (l *llamaLayer) behind() []*nn.Linear {
	return append([]*nn.Linear{l.o, l.down}, l.gateUp.maps...)
}

// attention is [T,D] -> [T,H*d].
func (l *llamaLayer) attention(s *torch.Scope, x, cos, sin *torch.Tensor, attend attendFunc,
	keys nn.DropoutKeys) *torch.Tensor {
	d := l.config.HeadDim
	qkv := l.qkv.forward(s, x, keys)
	for i := range qkv {
		qkv[i] = torch.Reshape(s, qkv[i], x.Size(0), -1, d)
	}
	q, k, v := qkv[0], qkv[1], qkv[2] // [T,H,d], [T,G,d] twice
	if l.qNorm != nil {
		q, k = l.qNorm.Forward(s, q), l.kNorm.Forward(s, k)
	}
	y := attend(s, torch.Rotary(s, q, cos, sin), torch.Rotary(s, k, cos, sin), v) // [T,H,d]
	return torch.Reshape(s, y, -1, l.config.Heads*d)
}

func (l *llamaLayer) mlp(s *torch.Scope, x *torch.Tensor, keys nn.DropoutKeys) *torch.Tensor { // [T,D] -> [T,D]
	gateUp := l.gateUp.forward(s, x, keys) // [T,I] each
	return l.down.Forward(s, torch.SwiGLU(s, gateUp[0], gateUp[1]), keys)
}

// Free releases the rotary table.
func (m *llama) Free() { m.rotary.Free() }
