package model

import (
	"errors"
	"fmt"

	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// qwenConfig is config.json of Qwen2, Qwen2.5 or Qwen3. Published files have a window but do not use it.
type qwenConfig struct {
	llamaConfig
	UseWindow       bool   `json:"use_sliding_window"`
	Window          *int64 `json:"sliding_window"`    // null: none
	MaxWindowLayers int64  `json:"max_window_layers"` // layers before this one have no window
	// LayerTypes has one entry for each layer; transformers 5 writes it. It overrides max_window_layers.
	LayerTypes []string `json:"layer_types"`
}

func newQwenConfig() qwenConfig {
	window := int64(4096)
	return qwenConfig{llamaConfig: llamaConfig{KeyValueHeads: 32, MaxPositions: 32768, Eps: 1e-6},
		Window: &window, MaxWindowLayers: 28}
}

func (c *qwenConfig) complete() error {
	if err := c.llamaConfig.complete(); err != nil {
		return err
	}
	if c.LayerTypes != nil && int64(len(c.LayerTypes)) != c.Layers {
		return fmt.Errorf("layer_types has %d entries for %d layers", len(c.LayerTypes), c.Layers)
	}
	if !c.UseWindow {
		c.Window = nil
	}
	c.windows = make([]int64, c.Layers)
	for i := range c.windows {
		within, err := c.inWindow(i)
		switch {
		case err != nil:
			return err
		case within && (c.Window == nil || *c.Window <= 0):
			return errors.New("layers with sliding_attention need use_sliding_window and a positive sliding_window")
		case within:
			c.windows[i] = *c.Window
		}
	}
	return nil
}

// inWindow says whether a layer attends within the window.
func (c *qwenConfig) inWindow(layer int) (bool, error) {
	if c.LayerTypes == nil {
		return c.Window != nil && int64(layer) >= c.MaxWindowLayers, nil
	}
	kinds := map[string]bool{"full_attention": false, "sliding_attention": true}
	return failure.LookUp("layer_types", c.LayerTypes[layer], kinds)
}

// newQwen2 is Llama with biases in q, k and v, and optionally a window in the later layers (Yang et al. 2024, "Qwen2
// Technical Report"; Qwen2.5 is the same).
func newQwen2(raw []byte, ps *nn.Params, device torch.Device) (Language, error) {
	c := newQwenConfig()
	c.qkvBias = true
	if err := parseConfig(raw, &c, c.complete, "sliding_window", "use_sliding_window", "layer_types"); err != nil {
		return nil, err
	}
	return newDecoder(c.llamaConfig, ps, device)
}
