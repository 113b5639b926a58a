package model

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// source is an opened set of files with the values of one part.
type source struct {
	part    string // which must be complete; "" for an overlay, which may hold any tensors
	second  bool   // of the part it is the second tower
	where   string // as the user named it
	key     string // of the recipe under which it was named
	weights *checkpoints.Weights
	spelled spelling
	foreign bool // the files have no name of the part in any spelling
	bare    bool // a projector's files hold nothing else, under names without a prefix
}

type sources struct {
	overlays []source
	parts    map[string]*source // without the parts that are initialised at random; of the tower, the first
	second   *source            // of the second tower; nil without files of one
	adapters *peftAdapters      // on top of the other parts; nil without
	newRows  newRows            // of the embedding and the head
	asked    recipes.Projector  // what the recipe asks for
	// projectorIn is the folder of adapters that holds the projector; "" if none does.
	projectorIn string
	opened      []*checkpoints.Weights
}

func (ss *sources) close() {
	for _, w := range ss.opened {
		w.Close()
	}
}

func (ss *sources) open(path string) (*checkpoints.Weights, error) {
	w, err := checkpoints.Open(path)
	if err == nil {
		ss.opened = append(ss.opened, w)
	}
	return w, err
}

// unused matches tensors in published files that no part needs; names in a tower are without their prefix.
var unused = regexp.MustCompile(`rotary_emb\.inv_freq$|position_ids$|^(text_model|text_projection|` +
	`visual_projection|logit_scale|logit_bias|post_layernorm|head|encoder\.layers?|layernorm|embeddings\.mask_token)\b`)

func (m *LLaVA) openSources(recipe recipes.Model, o OpenOptions) (ss *sources, err error) {
	defer failure.MarkInput(&err)
	ss = &sources{parts: map[string]*source{}, newRows: newRowsOf(o.NewTokens), asked: recipe.Projector}
	for _, path := range o.Overlay {
		w, err := ss.open(path)
		if err != nil {
			return ss, err
		}
		ss.overlays = append(ss.overlays, source{where: path, weights: w})
	}
	err = failure.Join(
		m.openTowers(ss),
		failure.Under("model.language.weights: ", m.openLanguage(ss)),
		m.openStart(ss, o, recipe),
	)
	if err != nil {
		return ss, err
	}
	if err := m.findProjector(ss, o, recipe); err != nil {
		return ss, err
	}
	for _, s := range ss.inOrder() {
		s.findSpelling(m.Params)
	}
	if s := ss.parts[recipes.PartProjector]; s != nil {
		s.bare = s.spelled.bare() && !slices.ContainsFunc(s.weights.Names(), isProjector)
		return ss, cmp.Or(ss.checkSettings(s), s.checkConnector(m.projectorBuild(recipe.Projector)))
	}
	return ss, nil
}

// inOrder lists the sources of the parts, as messages show them.
func (ss *sources) inOrder() (list []*source) {
	for _, s := range []*source{ss.parts[recipes.PartVision], ss.second, ss.parts[recipes.PartProjector],
		ss.parts[recipes.PartLanguage]} {
		if s != nil {
			list = append(list, s)
		}
	}
	return list
}

// holds says whether a parameter's value is in the source.
func (s *source) holds(p *nn.Param) bool { return p.Part == s.part && isSecond(p.Name) == s.second }

// of is the source of a parameter; nil if it is initialised at random.
func (ss *sources) of(p *nn.Param) *source {
	if isSecond(p.Name) {
		return ss.second
	}
	return ss.parts[p.Part]
}

// openTowers opens the files of each tower.
func (m *LLaVA) openTowers(ss *sources) error {
	var problems []error
	for i, files := range m.configs.towers {
		s, err := m.openTower(ss, files)
		problems = append(problems, failure.Under(files.key+".weights: ", err))
		switch {
		case s == nil:
		case i == 0:
			ss.parts[recipes.PartVision] = s
		default:
			s.second, ss.second = true, s
		}
	}
	return failure.Join(problems...)
}

// openTower takes a tower from the folder that the recipe names. Most of the original's LLaVA folders contain no
// tower: then it is in the folder that their configuration names.
func (m *LLaVA) openTower(ss *sources, files towerFiles) (*source, error) {
	dir := files.dir
	if dir == "" {
		return nil, nil
	}
	if HoldsAdapters(dir) { // whatever of the tower was trained is beside the adapters
		dir = files.towerDir
	}
	if dir == m.configs.adapterDir { // with the configuration of the whole LLaVA that they belong to
		dir = m.configs.languageDir
	}
	w, err := ss.open(dir)
	if err == nil && dir != files.towerDir &&
		!slices.ContainsFunc(w.Names(), isTower) {
		dir = files.towerDir
		w, err = ss.open(dir)
	}
	if err != nil {
		return nil, err
	}
	return &source{part: recipes.PartVision, where: dir, weights: w}, nil
}

func (m *LLaVA) openLanguage(ss *sources) error {
	dir := m.configs.languageDir
	if dir == "" {
		return nil
	}
	w, err := ss.open(dir)
	if err != nil {
		return err
	}
	if names := w.Names(); len(names) > 0 &&
		!slices.ContainsFunc(names, func(name string) bool { return !isProjector(name) }) {
		return errProjectorAlone(dir)
	}
	if m.configs.adapterDir != "" {
		if ss.adapters, err = ss.openAdapters(m.configs.adapterDir); err != nil {
			return err
		}
	}
	ss.parts[recipes.PartLanguage] = &source{part: recipes.PartLanguage, where: dir, weights: w}
	return nil
}

// openProjector takes the projector from a file, else from the language model's folder when that is a whole LLaVA.
func (ss *sources) openProjector(o OpenOptions, recipe recipes.Model) error {
	if path := orDefault(o.Projector, recipe.Projector.Weights); path != "" {
		w, err := ss.open(path)
		if err != nil {
			return failure.Inputf("model.projector.weights: %w", err)
		}
		ss.parts[recipes.PartProjector] = &source{part: recipes.PartProjector, where: path, weights: w,
			key: "model.projector.weights"}
		return nil
	}
	language := ss.parts[recipes.PartLanguage]
	if language != nil && slices.ContainsFunc(language.weights.Names(), isProjector) {
		ss.parts[recipes.PartProjector] = &source{part: recipes.PartProjector, where: language.where,
			weights: language.weights, key: "model.language.weights"}
	}
	return nil
}

// nameOf is a parameter's name in the source.
func (s *source) nameOf(p *nn.Param) string { return s.spelled.of(p.Name) }

// root begins our names of the tower's tensors.
func (s *source) root() string {
	if s.second {
		return secondPrefix
	}
	return visionPrefix
}

// prefix begins the names of the tower's tensors in the source.
func (s *source) prefix() string { return s.spelled.of(s.root()) }

// assignment is a parameter and the tensor it takes, if any.
type assignment struct {
	param   *nn.Param
	info    checkpoints.Info
	weights *checkpoints.Weights // nil: initialise
	change  *weightChange        // what adapters add to the tensor; nil without
	grows   newRows              // that the tensor lacks; none unless it is one of a row for each token
}

// checkTie refuses a head of its own in the files of a model whose configuration ties it to the embedding: transformers
// 5 does not tie such a model, so its outputs would be others.
func (s *source) checkTie() error {
	head, embedding := s.spelled.of("lm_head.weight"), s.spelled.of("model.embed_tokens.weight")
	a, ok := s.weights.Info(head)
	b, both := s.weights.Info(embedding)
	if !ok || !both {
		return nil
	}
	equal := a.Dtype == b.Dtype && slices.Equal(a.Shape, b.Shape)
	err := failure.ReadMapped(func() error {
		x, errX := s.weights.Tensor(head)
		y, errY := s.weights.Tensor(embedding)
		equal = equal && bytes.Equal(x.Data, y.Data)
		return errors.Join(errX, errY)
	})
	if err != nil || equal {
		return err
	}
	return fmt.Errorf("  tie: config.json has tie_word_embeddings, but %s differs from %s: set tie_word_embeddings to "+
		"false to use both, or remove %[1]s from the files (in %[3]s)", head, embedding, s.where)
}

// tensor reads the parameter's values from its file. They may be in the mapped file.
func (a assignment) tensor() (checkpoints.Tensor, error) {
	t, err := a.weights.Load(a.info.Name)
	if err == nil && a.change != nil {
		t, err = a.change.addTo(t)
	}
	if err == nil && a.grows.any() {
		t, err = a.grows.addTo(t, a.param.Shape[0])
	}
	return t, err
}

// match finds a tensor for every parameter. One error reports all tensors that are missing, misshaped, of an
// unsupported dtype or left over.
func (ss *sources) match(ps *nn.Params) ([]assignment, error) {
	var plan []assignment
	var problems []error
	taken := map[*source]map[string]bool{}
	for _, p := range ps.All() {
		a, err := ss.find(p)
		if err != nil {
			problems = append(problems, err)
		}
		if s := ss.of(p); s != nil && !p.Adapter {
			if taken[s] == nil {
				taken[s] = map[string]bool{}
			}
			taken[s][s.nameOf(p)] = true
		}
		plan = append(plan, a)
	}
	_, untied := ps.Get("lm_head.weight")
	for _, s := range ss.inOrder() {
		problems = append(problems, s.leftOver(taken[s], !untied)...)
		problems = append(problems, s.besideProjector(ss.asked.Type)...)
	}
	if s := ss.parts[recipes.PartLanguage]; s != nil && !untied {
		err := s.checkTie()
		if err == nil && ss.adapters != nil {
			err = ss.adapters.checkHead()
		}
		if failure.IsStorage(err) {
			return nil, err
		} else if err != nil {
			problems = append(problems, err)
		}
	}
	if ss.adapters != nil {
		_, err := ss.behindTower(ps)
		problems = append(append(problems, err...), ss.adapters.leftOver(!untied)...)
	}
	if len(problems) > 0 {
		return nil, failure.Inputf("weights do not fit the model:\n%w", ss.tell(problems))
	}
	return plan, nil
}

// tell joins problems. Of many it tells the first, and what the files hold whose names begin otherwise.
func (ss *sources) tell(problems []error) error {
	const shown = 12
	told := problems[:min(len(problems), shown)]
	if more := len(problems) - len(told); more > 0 {
		told = append(slices.Clip(told), fmt.Errorf("  and %d more", more))
	}
	for _, s := range ss.inOrder() {
		if s.foreign {
			told = append(slices.Clip(told), fmt.Errorf("  no tensor of the %s has the expected name; %s holds %s%s",
				s.part, s.where, s.examples(), projectorAdvice(s.part, s.weights.Names())))
		}
	}
	return errors.Join(append(slices.Clip(told), ss.otherProjector()...)...)
}

// examples are the first names in a source's files, with their shapes.
func (s *source) examples() string {
	const shown = 4
	var texts []string
	names := s.weights.Names()
	for _, name := range names[:min(len(names), shown)] {
		info, _ := s.weights.Info(name)
		texts = append(texts, fmt.Sprintf("%s %v", name, info.Shape))
	}
	if more := len(names) - len(texts); more > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(texts, ", ")
}

func (ss *sources) find(p *nn.Param) (assignment, error) {
	for _, s := range slices.Backward(ss.overlays) {
		for _, name := range []string{p.Name, peftPrefix + p.Name} {
			if info, ok := s.weights.Info(name); ok {
				return assignment{param: p, info: info, weights: s.weights}, checkTensor(p, info, s.where)
			}
		}
	}
	// initialising an adapter that was trained would silently lose what it learnt
	if p.Adapter && len(ss.overlays) > 0 {
		return assignment{param: p}, fmt.Errorf("  missing: adapter %s %v (in %s)", p.Name, p.Shape,
			ss.overlays[len(ss.overlays)-1].where)
	}
	return ss.base(p)
}

// dtypeNames are the dtypes of safetensors that a parameter can be loaded from; files may mix them.
var dtypeNames = map[checkpoints.Dtype]torch.Dtype{"F32": torch.Float32, "F16": torch.Float16, "BF16": torch.BFloat16,
	"F64": torch.Float64}

func checkTensor(p *nn.Param, info checkpoints.Info, where string) error {
	if _, ok := dtypeNames[info.Dtype]; !ok {
		return fmt.Errorf("  dtype: %s is %s; weights are F32, F16, BF16 or F64 (in %s)", info.Name, info.Dtype, where)
	}
	if !slices.Equal(p.Shape, info.Shape) {
		return fmt.Errorf("  shape: %s is %v, the model needs %v (in %s)", info.Name, info.Shape, p.Shape, where)
	}
	return nil
}

// belongs says whether a tensor in the source's files belongs to its part: the folder of a whole LLaVA holds all
// three parts.
func (s *source) belongs(name string) bool {
	switch s.part {
	case recipes.PartProjector:
		return isProjector(name) && !textBranch.MatchString(name) || s.bare
	case recipes.PartVision:
		return strings.HasPrefix(name, s.prefix())
	default:
		return !isProjector(name) && !isTower(name)
	}
}

// leftOver reports the tensors of a source that belong to its part but were taken by no parameter.
func (s *source) leftOver(taken map[string]bool, tied bool) (problems []error) {
	for _, name := range s.weights.Names() {
		if taken[name] || !s.belongs(name) || unused.MatchString(strings.TrimPrefix(name, s.prefix())) ||
			tied && name == s.spelled.of("lm_head.weight") {
			continue
		}
		problems = append(problems, fmt.Errorf("  extra: %s (in %s)", name, s.where))
	}
	return problems
}

func (a assignment) load(seed uint64) error {
	if a.weights == nil {
		return torch.Do(func(s *torch.Scope) { a.param.Initialise(s, seed) })
	}
	tensor, err := a.tensor()
	if err != nil {
		return err
	}
	dtype := dtypeNames[tensor.Dtype]
	defer a.weights.Release(a.info.Name)
	return torch.Do(func(s *torch.Scope) { a.param.Load(s, tensor.Data, dtype) })
}

// fingerprints identify each part's files by their tensors' names, dtypes, shapes and first and last bytes, not by
// path.
func (ss *sources) fingerprints() (prints map[string]string, err error) {
	prints = map[string]string{}
	for _, part := range []string{recipes.PartVision, recipes.PartProjector, recipes.PartLanguage} {
		prints[part] = "random"
		if s := ss.parts[part]; s != nil {
			if prints[part], err = fingerprint(s.weights); err != nil {
				return nil, err
			}
			if part == recipes.PartLanguage && ss.adapters != nil {
				adapters, err := fingerprint(ss.adapters.file)
				if err != nil {
					return nil, err
				}
				prints[part] += "+" + adapters
			}
		}
	}
	if ss.second != nil {
		second, err := fingerprint(ss.second.weights)
		if err != nil {
			return nil, err
		}
		prints[recipes.PartVision] += "+" + second
	}
	return prints, nil
}

func fingerprint(w *checkpoints.Weights) (string, error) {
	const sample = 256
	h := sha256.New()
	err := failure.ReadMapped(func() error {
		for _, name := range w.Names() {
			t, err := w.Tensor(name)
			if err != nil {
				return err
			}
			fmt.Fprintln(h, name, t.Dtype, t.Shape)
			h.Write(t.Data[:min(sample, len(t.Data))])
			h.Write(t.Data[max(0, len(t.Data)-sample):])
		}
		return nil
	})
	return hex.EncodeToString(h.Sum(nil)[:16]), err
}

// ProjectorFile is the path of a finished stage's projector.
func ProjectorFile(exportDir string) string {
	return filepath.Join(exportDir, "mm_projector.safetensors")
}
