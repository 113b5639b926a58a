package model

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/recipes"
)

// renaming is a prefix of our names and the prefix that replaces it in files. If ours begins with *, what follows the *
// is replaced wherever it stands in a name.
type renaming struct{ ours, theirs string }

// absent replaces the prefix of names that the files of a spelling do not have: their parameters are initialised.
const absent = "\x00"

// spelling is how files name the parameters of one part: by the first renaming whose prefix matches, behind those with
// a * that stand before it.
type spelling []renaming

// layout is how a folder names the parameters of all three parts.
type layout map[string]spelling

// linear12 is transformers' spelling of a two-layer projector, and of the newline beside it. The original numbers the
// layers as in a torch Sequential.
func linear12(prefix string) spelling {
	newline := strings.TrimSuffix(prefix, nestedProjector) + nestedNewline
	return spelling{{projectorPrefix + "0.", prefix + "linear_1."}, {projectorPrefix + "2.", prefix + "linear_2."},
		{newlineName, newline}}
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
	bareTower       = layout{recipes.PartVision: {{visionPrefix, "model.vision_tower."}}}
	bareTowerOnDisk = layout{recipes.PartVision: {{visionPrefix, "vision_tower."}}} // transformers 5
	clipAlone       = layout{recipes.PartVision: {{visionPrefix, "vision_model."}}}
	clipBare        = layout{recipes.PartVision: {{visionPrefix, ""}}}
	dinov2Alone     = layout{recipes.PartVision: {{visionPrefix, "dinov2."}}} // of its image classifier
	registersAlone  = layout{recipes.PartVision: {{visionPrefix, "dinov2_with_registers."}}}
	layouts         = []layout{original, onDisk, inModule, bareTower, bareTowerOnDisk, clipAlone, clipBare, dinov2Alone,
		registersAlone}
)

// Words that mark the tensors of the parts other than the language model, whatever stands before them: module. of
// torch's DistributedDataParallel, base_model.model. of PEFT.
const (
	ownProjector    = "mm_projector."
	nestedProjector = "multi_modal_projector."
	towerMark       = "vision_tower."
)

func hasPrefix(name string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

func isProjector(name string) bool {
	return strings.Contains(name, ownProjector) || strings.Contains(name, nestedProjector) ||
		strings.HasSuffix(name, nestedNewline) || connectorMarks.MatchString(name)
}

func isTower(name string) bool { return strings.Contains(name, towerMark) }

// bare says whether a projector's names in files have no prefix at all.
func (sp spelling) bare() bool { return strings.HasPrefix(sp.of(projectorPrefix+"0."), "0.") }

// found are further spellings of a part, by what stands before the known part of a name in the files.
func found(part string, names []string) (list []spelling) {
	for _, name := range names {
		switch {
		case part == recipes.PartLanguage:
			if prefix, _, ok := strings.Cut(name, "model.embed_tokens."); ok {
				return []spelling{{{"lm_head.", prefix + "lm_head."}, {"model.", prefix + "model."}}}
			}
			if strings.HasPrefix(name, "embed_tokens.") { // saved without its head
				return []spelling{{{"lm_head.", "lm_head."}, {"model.", ""}}}
			}
		case part != recipes.PartProjector:
		case strings.Contains(name, ownProjector):
			prefix, _, _ := strings.Cut(name, ownProjector)
			return []spelling{{{projectorPrefix, prefix + ownProjector}}}
		case strings.Contains(name, nestedProjector):
			prefix, _, _ := strings.Cut(name, nestedProjector)
			return []spelling{linear12(prefix + nestedProjector)}
		case bareProjector.MatchString(name):
			list = []spelling{{{projectorPrefix, ""}}, linear12("")}
		}
	}
	return list
}

// bareProjector matches the names of a projector's tensors that people's scripts cut out of a model.
var bareProjector = regexp.MustCompile(`^([0-9]+|linear_[12])\.(weight|bias)$|^(weight|bias)$`)

// of is a parameter's name in files.
func (sp spelling) of(name string) string {
	for _, r := range sp {
		if inside, ok := strings.CutPrefix(r.ours, "*"); ok {
			name = strings.Replace(name, inside, r.theirs, 1)
		} else if rest, ok := strings.CutPrefix(name, r.ours); ok {
			return r.theirs + rest
		}
	}
	return name
}

// prefix begins the names of a tower's tensors in files.
func (sp spelling) prefix() string { return sp.of(visionPrefix) }

// seconds are the spellings of the second tower in files that spell the first in one of these ways: our exports, which
// hold both, have their own names, and any other file holds only one tower.
func seconds(list []spelling) []spelling {
	second := []spelling{{{secondPrefix, secondPrefix}}}
	for _, sp := range list {
		second = append(second, spelling{{secondPrefix, sp.prefix()}})
	}
	return second
}

// spellings are those that a part may have in files with these names.
func spellings(part string, names []string) (list []spelling) {
	for _, l := range layouts {
		if l[part] != nil {
			list = append(list, l[part])
		}
	}
	list = append(list, found(part, names)...)
	if part == recipes.PartProjector {
		list = append(list, connectorSpellings(names)...)
	}
	return list
}

// findSpelling sets the spelling under which the files hold the most of the source's parameters, and whether they hold
// none of them.
func (s *source) findSpelling(ps *nn.Params) {
	declared := slices.DeleteFunc(slices.Clone(ps.All()), func(p *nn.Param) bool { return !s.holds(p) || p.Adapter })
	list, most := spellings(s.part, s.weights.Names()), 0
	if s.second {
		list = seconds(list)
	}
	s.spelled = list[0]
	for _, spelled := range list {
		held := 0
		for _, p := range declared {
			if _, ok := s.weights.Info(spelled.of(p.Name)); ok {
				held++
			}
		}
		if held > most {
			s.spelled, most = spelled, held
		}
	}
	s.foreign = len(declared) > 0 && most == 0
}

// projectorAdvice names the type of the projector that files hold, where a part's names do not fit.
func projectorAdvice(part string, names []string) string {
	if part != recipes.PartProjector {
		return ""
	}
	layers := map[string]bool{}
	for _, name := range names {
		if _, rest, ok := strings.Cut(name, ownProjector); ok {
			name = rest
		}
		if number, _, ok := strings.Cut(name, "."); ok {
			layers[number] = true
		} else if name == "weight" {
			return ": set model.projector.type: linear"
		}
	}
	if !layers["0"] {
		return ""
	}
	return fmt.Sprintf(": set model.projector.type: mlp%dx_gelu", len(layers))
}
