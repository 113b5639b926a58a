package model

import (
	"fmt"
	"slices"
	"strings"

	"github.com/llavatrain/llavatrain/recipes"
)

// projectorType is the type of a projector by the names of its tensors, which may be among others; "" if none is a
// projector's.
func projectorType(names []string) string {
	layers := map[string]bool{}
	for _, name := range names {
		_, rest, ok := strings.Cut(name, ownProjector)
		if !ok {
			_, rest, ok = strings.Cut(name, nestedProjector)
		}
		if !ok && bareProjector.MatchString(name) {
			rest, ok = name, true
		}
		layer, _, numbered := strings.Cut(rest, ".")
		switch {
		case ok && numbered:
			layers[layer] = true
		case ok:
			return "linear"
		}
	}
	if len(layers) == 0 {
		return ""
	}
	return fmt.Sprintf("mlp%dx_gelu", len(layers))
}

// otherProjector says which type the projector in the files has, if it is not the one that is asked for.
func (ss *sources) otherProjector() []error {
	where, names := ss.projectorIn, []string(nil)
	if where != "" {
		names = ss.adapters.names
	} else if s := ss.parts[recipes.PartProjector]; s != nil && !s.foreign {
		where, names = s.where, s.weights.Names()
	}
	theirs := projectorType(names)
	if theirs == "" || !numbered.MatchString(ss.asked.Type) || theirs == ss.asked.Type {
		return nil
	}
	return []error{fmt.Errorf("  the projector in %s is not of type %s: set model.projector.type: %s (in the "+
		"config.json of a LLaVA: mm_projector_type)", where, ss.asked.Type, theirs)}
}

// besideProjector reports what else is in a file of a projector of numbered layers that is not a whole model. Other
// projectors are published with much beside them.
func (s *source) besideProjector(kind string) (problems []error) {
	names := s.weights.Names()
	isLayer := func(name string) bool { return strings.Contains(name, "layers.") }
	if s.part != recipes.PartProjector || s.foreign || !numbered.MatchString(kind) ||
		slices.ContainsFunc(names, isLayer) {
		return nil
	}
	for _, name := range names {
		switch {
		case s.belongs(name):
		case strings.Contains(name, "embed_tokens."):
			problems = append(problems, fmt.Errorf("  extra: %s, beside the projector, of a model with <im_start> and "+
				"<im_end> (mm_use_im_start_end), which is not supported (in %s)", name, s.where))
		default:
			problems = append(problems, fmt.Errorf("  extra: %s, beside the projector (in %s)", name, s.where))
		}
	}
	return problems
}
