package model

import (
	"slices"
	"strings"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/recipes"
)

// renaming is a prefix of our names and the prefix that replaces it in files.
type renaming struct{ ours, theirs string }

// spelling is how files name the parameters of one part: by the first renaming whose prefix matches.
type spelling []renaming

// layout is how a folder names the parameters of all three parts.
type layout map[string]spelling

// linear12 is transformers' spelling of a two-layer projector. The original numbers the layers as in a torch
// Sequential.
func linear12(prefix string) spelling {
	return spelling{{projectorPrefix + "0.", prefix + "linear_1."}, {projectorPrefix + "2.", prefix + "linear_2."}}
}

// The layouts of a whole LLaVA: the original's, and those that versions of transformers'
// LlavaForConditionalGeneration have written. We write original and onDisk, which every version of transformers
// reads.
var (
	original = layout{recipes.PartLanguage: {{"", ""}}, recipes.PartProjector: {{"", ""}},
		recipes.PartVision: {{"", ""}}}
	onDisk = layout{
		recipes.PartLanguage:  {{"lm_head.", "language_model.lm_head."}, {"model.", "language_model.model."}},
		recipes.PartProjector: linear12("multi_modal_projector."),
		recipes.PartVision:    {{visionPrefix, "vision_tower.vision_model."}},
	}
	inModule = layout{
		recipes.PartLanguage:  {{"lm_head.", "lm_head."}, {"model.", "model.language_model."}},
		recipes.PartProjector: linear12("model.multi_modal_projector."),
		recipes.PartVision:    {{visionPrefix, "model.vision_tower.vision_model."}},
	}
	bareTower = layout{recipes.PartVision: {{visionPrefix, "model.vision_tower."}}}
	clipAlone = layout{recipes.PartVision: {{visionPrefix, "vision_model."}}}
	clipBare  = layout{recipes.PartVision: {{visionPrefix, ""}}}
	layouts   = []layout{original, onDisk, inModule, bareTower, clipAlone, clipBare}
)

// Prefixes in a whole LLaVA of the parts other than the language model.
var (
	projectorPrefixes = []string{projectorPrefix, "multi_modal_projector.", "model.multi_modal_projector."}
	towerPrefixes     = []string{"model.vision_tower.", "vision_tower."}
)

func hasPrefix(name string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

func isProjector(name string) bool { return hasPrefix(name, projectorPrefixes) }

// of is a parameter's name in files.
func (sp spelling) of(name string) string {
	for _, r := range sp {
		if rest, ok := strings.CutPrefix(name, r.ours); ok {
			return r.theirs + rest
		}
	}
	return name
}

// prefix begins the names of a tower's tensors in files.
func (sp spelling) prefix() string { return sp.of(visionPrefix) }

// findSpelling is the spelling under which the files hold the most of a part's parameters.
func findSpelling(part string, ps *nn.Params, w *checkpoints.Weights) spelling {
	best, most := original[part], 0
	for _, l := range layouts {
		found := 0
		for _, p := range ps.All() {
			if l[part] == nil || p.Part != part {
				continue
			}
			if _, ok := w.Info(l[part].of(p.Name)); ok {
				found++
			}
		}
		if found > most {
			best, most = l[part], found
		}
	}
	return best
}
