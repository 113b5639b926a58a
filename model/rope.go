package model

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// ropeConfig is the part of config.json about rotary positions: rope_theta and rope_scaling as written by
// transformers 4, rope_parameters by transformers 5.
type ropeConfig struct {
	Theta      float64      `json:"rope_theta"`
	Scaling    *ropeScaling `json:"rope_scaling"`
	Parameters *ropeScaling `json:"rope_parameters"`
}

// ropeScaling says how the frequencies are changed for more positions than the model was first trained with.
type ropeScaling struct {
	Type              string  `json:"rope_type"`
	OldType           string  `json:"type"` // in older files
	Theta             float64 `json:"rope_theta"`
	Factor            float32 `json:"factor"`
	LowFactor         float32 `json:"low_freq_factor"`
	HighFactor        float32 `json:"high_freq_factor"`
	OriginalPositions float32 `json:"original_max_position_embeddings"`
	PartialFactor     float64 `json:"partial_rotary_factor"`
}

// ropeScalings change one frequency each, in fp32 as in transformers (modeling_rope_utils.py).
var ropeScalings = map[string]func(r ropeScaling, frequency float32) float32{
	"default": func(_ ropeScaling, frequency float32) float32 { return frequency },
	"linear":  func(r ropeScaling, frequency float32) float32 { return frequency / r.Factor },
	"llama3":  ropeScaling.llama3,
}

// UnmarshalJSON refuses fields that it does not know: every field of this object changes the computation.
func (r *ropeScaling) UnmarshalJSON(text []byte) error {
	type plain ropeScaling // without this method
	p := plain{PartialFactor: 1}
	if err := json.Unmarshal(text, &p); err != nil {
		return err
	}
	*r = ropeScaling(p)
	r.Type = orDefault(orDefault(r.Type, r.OldType), "default")
	if _, err := failure.LookUp("rope_type", r.Type, ropeScalings); err != nil { // before its fields, unknown too
		return err
	}
	strict := json.NewDecoder(bytes.NewReader(text))
	strict.DisallowUnknownFields()
	if err := strict.Decode(&p); err != nil {
		return fmt.Errorf("rope_type %q: %w", r.Type, err)
	}
	return nil
}

// resolve turns both spellings into one; positions is max_position_embeddings.
func (c *ropeConfig) resolve(positions int64) error {
	if c.Scaling == nil {
		c.Scaling = orDefault(c.Parameters, &ropeScaling{Type: "default", PartialFactor: 1})
	}
	r := c.Scaling
	c.Theta = orDefault(orDefault(r.Theta, c.Theta), 10000)
	r.OriginalPositions = orDefault(r.OriginalPositions, float32(positions))
	switch {
	case c.Theta <= 0:
		return fmt.Errorf("rope_theta %g is not positive", c.Theta)
	case r.PartialFactor != 1:
		return fmt.Errorf("partial_rotary_factor %g is not supported; it must be absent or 1", r.PartialFactor)
	case r.Type != "default" && r.Factor <= 0:
		return fmt.Errorf("rope_type %q needs a positive factor; it has %g", r.Type, r.Factor)
	case r.Type == "llama3" && !(0 < r.LowFactor && r.LowFactor < r.HighFactor && r.OriginalPositions > 0):
		return errors.New(`rope_type "llama3" needs 0 < low_freq_factor < high_freq_factor ` +
			`and a positive original_max_position_embeddings`)
	}
	return nil
}

// frequencies are the angles, in radians a position, by which each pair of a head is rotated.
func (c *ropeConfig) frequencies(headDim int64) []float32 {
	list := nn.Frequencies(headDim, c.Theta)
	for i := range list {
		list[i] = ropeScalings[c.Scaling.Type](*c.Scaling, list[i])
	}
	return list
}

// llama3 leaves high frequencies unchanged, divides low ones by the factor, and interpolates in between (Llama 3.1,
// Grattafiori et al. 2024; the formula is from meta-llama/llama-models, models/llama3/model.py, apply_scaling).
func (r ropeScaling) llama3(frequency float32) float32 {
	wavelength := 2 * math.Pi / frequency
	switch {
	case wavelength < r.OriginalPositions/r.HighFactor:
		return frequency
	case wavelength > r.OriginalPositions/r.LowFactor:
		return frequency / r.Factor
	}
	smooth := (r.OriginalPositions/wavelength - r.LowFactor) / (r.HighFactor - r.LowFactor)
	return (1-smooth)*frequency/r.Factor + smooth*frequency
}
