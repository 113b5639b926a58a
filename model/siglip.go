package model

import (
	"errors"
	"math"

	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
)

// siglip is the image encoder of Zhai et al. 2023 (SigLIP), and of Tschannen et al. 2025 (SigLIP 2) for images of one
// size: CLIP's layers without a class token and without a norm before them. The norm and the pooling head after them
// are used only for matching with text.
type siglip struct {
	config          clipConfig
	patches, shifts *nn.Param     // [Dv,3,p,p] and [Dv], a convolution without overlap
	positions       *nn.Embedding // [P,Dv]
	layers          []*clipLayer
}

func newSigLIP(raw []byte, root nn.Path, selected TowerSelect) (Tower, error) {
	m := &siglip{config: clipConfig{PatchSize: 16, Activation: "gelu_pytorch_tanh", Eps: 1e-6}}
	if err := parseConfig(raw, &m.config, m.config.complete); err != nil {
		return nil, err
	}
	c := m.config
	layers, err := selected.layers(int(c.Layers))
	if err != nil {
		return nil, err
	}
	if selected.Feature == "cls_patch" {
		return nil, errors.New("select_feature cls_patch needs a class token, which SigLIP does not have; " +
			"it must be patch")
	}
	embeddings := root.Sub("embeddings")
	convolution := embeddings.Sub("patch_embedding")
	m.patches = convolution.Param("weight", normal(1/lecunScale/math.Sqrt(float64(c.Channels*c.PatchSize*c.PatchSize))),
		c.HiddenSize, c.Channels, c.PatchSize, c.PatchSize)
	m.shifts = convolution.Param("bias", nn.Init{Kind: "zeros"}, c.HiddenSize)
	m.positions = nn.NewEmbedding(embeddings.Sub("position_embedding"), c.side()*c.side(), c.HiddenSize,
		normal(1/math.Sqrt(float64(c.HiddenSize))))
	for i := range layers {
		m.layers = append(m.layers, newCLIPLayer(root.Sub("encoder").Layer("layers", i), c, c.sigLIPInit()))
	}
	return m, nil
}

// lecunScale is what transformers' lecun_normal_ divides the standard deviation by: as if it truncated the
// distribution at two standard deviations.
const lecunScale = 0.87962566103423978

// sigLIPInit is transformers' rule for SigLIP (modeling_siglip.py, SiglipPreTrainedModel._init_weights), as are the
// values above. Biases are zero here, where transformers draws them with a standard deviation of 1e-6.
func (c *clipConfig) sigLIPInit() layerInit {
	square, wide := nn.XavierInit(c.HiddenSize, c.HiddenSize), nn.XavierInit(c.HiddenSize, c.IntermediateSize)
	return layerInit{square, square, wide, wide}
}

func (m *siglip) Describe() TowerShape {
	side := m.config.side()
	return TowerShape{HiddenSize: m.config.HiddenSize, ImageSize: m.config.ImageSize, Tokens: side * side,
		PatchSize: m.config.PatchSize, Processor: "siglip", Rows: side * side,
		Layers: int64(len(m.layers)), IntermediateSize: m.config.IntermediateSize}
}

// Forward runs the tower over n images: [n,3,S,S] -> [n*P,Dv].
func (m *siglip) Forward(s *torch.Scope, pixels *torch.Tensor, keys nn.DropoutKeys) *torch.Tensor {
	n, d := pixels.Size(0), m.config.HiddenSize
	kernel := torch.Reshape(s, m.patches.Tensor(), d, -1)                                         // [Dv,3*p*p]
	x := torch.Linear(s, torch.Patches(s, pixels, m.config.PatchSize), kernel, m.shifts.Tensor()) // [n*P,Dv]
	x = torch.Add(s, torch.Reshape(s, x, n, -1, d), m.positions.Weight().Tensor())                // [n,P,Dv]
	// The input of the layers is transformers' hidden_states[0].
	return runPictures(s, m.layers, torch.Reshape(s, x, -1, d), n, keys)
}
