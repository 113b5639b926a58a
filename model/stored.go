package model

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/recipes"
)

// base is where a parameter's value comes from before overlays.
func (ss *sources) base(p *nn.Param) (assignment, error) {
	if p.Adapter {
		return assignment{param: p}, nil
	}
	a, err := ss.stored(p)
	if err == nil && ss.adapters != nil && a.weights != nil {
		a.change, err = ss.adapters.change(p.Part, p.Name, p.Shape)
	}
	return a, err
}

// stored is the tensor that holds a parameter's value without its adapter.
func (ss *sources) stored(p *nn.Param) (assignment, error) {
	if ss.adapters != nil {
		if a, ok := ss.adapters.whole(p.Part, p.Name); ok {
			a.param = p
			return a, checkTensor(p, a.info, ss.adapters.where)
		}
	}
	s := ss.of(p)
	if s == nil && p.Part == recipes.PartProjector && ss.projectorIn != "" {
		return assignment{param: p}, fmt.Errorf("  missing: %s %v (in %s)", p.Name, p.Shape, ss.projectorIn)
	}
	if s == nil {
		return assignment{param: p}, nil
	}
	name := s.nameOf(p)
	info, ok := s.weights.Info(name)
	if strings.HasPrefix(name, absent) || !ok && p.Name == newlineName { // most files have no newline
		return assignment{param: p}, nil
	}
	if !ok {
		return assignment{param: p}, fmt.Errorf("  missing: %s %v (in %s)", name, p.Shape, s.where)
	}
	a := assignment{param: p, info: info, weights: s.weights}
	if ss.newRows.fit(p, info) {
		a.grows = ss.newRows
		info.Shape = p.Shape
	}
	return a, checkTensor(p, info, s.where)
}

// openStart opens the file that the projector starts from. It may be gone if overlays hold what became of it.
func (m *LLaVA) openStart(ss *sources, o OpenOptions, recipe recipes.Model) error {
	err := ss.openProjector(o, recipe)
	for _, p := range m.Params.All() {
		inOverlay := slices.ContainsFunc(ss.overlays, func(s source) bool {
			_, has := s.weights.Info(p.Name)
			return has
		})
		if p.Part == recipes.PartProjector && !p.Adapter && !inOverlay {
			return err
		}
	}
	if len(ss.overlays) > 0 && o.Trains == nil { // a run that resumes compares the file with that of its start
		return nil
	}
	return err
}

// findProjector decides where the projector comes from if it was trained with adapters, or if the model of a folder
// must have one. A projector that is named goes before that beside adapters.
func (m *LLaVA) findProjector(ss *sources, o OpenOptions, recipe recipes.Model) error {
	named := orDefault(o.Projector, recipe.Projector.Weights) != ""
	switch {
	case ss.adapters == nil:
	case named:
		ss.adapters.forgetProjector()
	case ss.adapters.holds(recipes.PartProjector, m.Params):
		ss.projectorIn = ss.adapters.where
	}
	hasWeights := slices.ContainsFunc(m.Params.All(), func(p *nn.Param) bool { return p.Part == recipes.PartProjector })
	if !o.NeedProjector || ss.parts[recipes.PartProjector] != nil || ss.projectorIn != "" || !hasWeights {
		return nil
	}
	dir, files := m.configs.languageDir, otherFiles[2:]
	if ss.adapters != nil {
		dir, files = ss.adapters.where, otherFiles[1:]
	}
	for _, name := range files { // beside adapters they are open
		path := filepath.Join(dir, name)
		if ss.adapters != nil || !checkpoints.Exists(path) {
			continue
		}
		w, err := ss.open(path)
		if err != nil {
			return err
		}
		ss.parts[recipes.PartProjector] = &source{part: recipes.PartProjector, where: path, weights: w}
		return nil
	}
	return fmt.Errorf("no projector in %q: no tensor in its files is named mm_projector or multi_modal_projector; "+
		"copy the file that was saved with the model into the folder (%s)", dir, strings.Join(files, ", "))
}
