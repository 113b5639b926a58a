package model

import (
	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
)

// mistralConfig is Mistral's config.json. An absent window is 4096; null is none, as in version 0.2 and later.
type mistralConfig struct {
	llamaConfig
	Window *int64 `json:"sliding_window"`
}

func (c *mistralConfig) complete() error {
	if err := c.llamaConfig.complete(); err != nil {
		return err
	}
	return c.windowAll(c.Window)
}

// newMistral is Llama with sliding-window attention (Jiang et al. 2023, "Mistral 7B").
func newMistral(raw []byte, ps *nn.Params, device torch.Device) (Language, error) {
	window := int64(4096)
	c := mistralConfig{llamaConfig: llamaConfig{KeyValueHeads: 8, MaxPositions: 32 * 4096, Eps: 1e-6}, Window: &window}
	if err := parseConfig(raw, &c, c.complete, "sliding_window"); err != nil {
		return nil, err
	}
	return newDecoder(c.llamaConfig, ps, device)
}
