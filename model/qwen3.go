package model

import (
	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
)

// newQwen3 is Qwen2 without the biases, with each head of q and k normalised, and with head_dim independent of
// hidden_size (Yang et al. 2025, "Qwen3 Technical Report").
func newQwen3(raw []byte, ps *nn.Params, device torch.Device) (Language, error) {
	c := newQwenConfig()
	c.headNorm = true
	c.HeadDim = 128
	if err := parseConfig(raw, &c, c.complete, "attention_bias", "sliding_window", "use_sliding_window",
		"layer_types"); err != nil {
		return nil, err
	}
	return newDecoder(c.llamaConfig, ps, device)
}
