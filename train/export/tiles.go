package export

import (
	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/train/input"
)

// isOneVision says whether transformers' class for a model with these tiles is LLaVA-OneVision: the one that limits
// maps.
func isOneVision(t *picture.Tiling) bool { return t != nil && t.Max > 0 }

// processorOf is how transformers' names of a model's processors begin.
func processorOf(t *picture.Tiling) string {
	switch {
	case t == nil:
		return "Llava"
	case isOneVision(t):
		return "LlavaOnevision"
	}
	return "LlavaNext"
}

// imageSettings is the preprocessor_config.json of format hf where it is not the tower's own.
func (c Conversion) imageSettings(p *input.Preprocessor) []byte {
	switch {
	case p.Tiling != nil:
		return p.Processors[0].TilesJSON(processorOf(p.Tiling)+"ImageProcessor", p.Tiling)
	case c.Notes.Aspect == "pad":
		return p.Processors[0].PaddingJSON()
	}
	return nil
}

// pinpointPairs are the sizes of a tiling, as pairs of width and height in pixels.
func pinpointPairs(t *picture.Tiling) (pairs [][2]int) {
	if t == nil {
		return nil
	}
	for _, pinpoint := range t.Pinpoints {
		pairs = append(pairs, [2]int{pinpoint.Width, pinpoint.Height})
	}
	return pairs
}
