package model

import (
	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
)

// phi3Config is Phi-3's config.json.
type phi3Config struct {
	llamaConfig
	Window *int64 `json:"sliding_window"` // null: none
}

func (c *phi3Config) complete() error {
	if err := c.llamaConfig.complete(); err != nil {
		return err
	}
	return c.windowAll(c.Window)
}

// newPhi3 is Llama with sliding-window attention, and with q, k and v in one matrix and gate and up in another (Abdin
// et al. 2024, "Phi-3 Technical Report"). The models for 128k positions have rope_scaling longrope, formerly called
// su, which is refused.
func newPhi3(raw []byte, ps *nn.Params, device torch.Device) (Language, error) {
	c := phi3Config{llamaConfig: llamaConfig{MaxPositions: 4096, Eps: 1e-5, joined: true}}
	if err := parseConfig(raw, &c, c.complete, "sliding_window"); err != nil {
		return nil, err
	}
	return newDecoder(c.llamaConfig, ps, device)
}
