package train

import (
	"strings"

	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/recipes"
)

// adapterSize counts the values that the adapters of the language model keep for a position, over all layers: an
// adapter keeps its inner values, [r], and its input. Maps of the same input share it, unless dropout gives each its
// own copy. A frozen map beside it keeps nothing.
type adapterSize struct {
	attention, mlp int64
	drops          bool // after attention: the last layer then computes every position there
}

func adaptersOf(m *model.LLaVA) (size adapterSize) {
	shape, shared := m.Language.Describe(), map[string]bool{}
	for _, linear := range m.Adapted(recipes.PartLanguage) {
		settings, _ := linear.Adapter()
		at := strings.LastIndexByte(linear.Name(), '.')
		block, name := linear.Name()[:at], linear.Name()[at+1:]
		drops, values := settings.Dropout > 0, settings.Rank
		switch {
		case name == "o_proj" && drops:
			values += shape.QuerySize
		case name == "o_proj": // its input is attention's output, which is kept in any case
		case name == "down_proj":
			values += shape.IntermediateSize
		case drops || !shared[block]:
			values += shape.HiddenSize
			shared[block] = true
		}
		if strings.HasSuffix(block, "mlp") {
			size.mlp += values
		} else {
			size.attention += values
		}
		size.drops = size.drops || drops && (name == "o_proj" || strings.HasSuffix(block, "mlp"))
	}
	return size
}
