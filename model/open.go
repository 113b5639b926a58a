package model

import (
	"fmt"

	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// OpenOptions says where a model is placed and where its values come from.
type OpenOptions struct {
	Device        torch.Device
	Dtype         torch.Dtype
	Seed          uint64                       // for initialising parameters that are in no file
	Trains        func(part, name string) bool // nil: nothing trains
	LoRA          map[string]recipes.LoRA      // adapters by part; in a part that has them, nothing else trains
	Layout        nn.Layout                    // how the processes that train together divide the parameters
	Overlay       []string                     // files whose tensors replace any others, by name
	Normalization []float32                    // [towers*3*256] normalised value of each pixel level of each channel
	Progress      func(loaded, total int64)    // in bytes; nil for none

	// NewTokens are the ids that the recipe adds to the tokenizer. The embedding and the head get a row for each, the
	// mean of the rows before the first.
	NewTokens []int32

	// Projector is the file or folder with model.mm_projector.*; if "", the recipe's, else the language model's
	// folder if it has them, else random values.
	Projector string
	// NeedProjector refuses a model without a projector's weights, which would be random.
	NeedProjector bool
	// AnyProjector takes a projector whose file names another language model or tower, such as a sister model's.
	AnyProjector bool
}

// Open builds the model that a recipe describes, with every value loaded or initialised.
func Open(m recipes.Model, o OpenOptions) (*LLaVA, error) {
	configs, err := readGrown(m, o.NewTokens)
	if err != nil {
		return nil, err
	}
	llava := &LLaVA{Params: nn.NewParams(), configs: configs, Fingerprints: map[string]string{}}
	if err := llava.open(m, o); err != nil {
		llava.Free()
		return nil, err
	}
	return llava, nil
}

// Rehearse declares the model that Open builds and finds a tensor for every parameter, by the headers of the files: no
// value is loaded and no parameter placed. What it returns has shapes and nothing to compute with; the caller frees it.
// Of several files that are missing the error names each.
func Rehearse(m recipes.Model, o OpenOptions) (*LLaVA, error) {
	configs, err := readGrown(m, o.NewTokens)
	if err != nil {
		projector := sources{parts: map[string]*source{}}
		defer projector.close()
		return nil, failure.Join(err, projector.openProjector(o, m))
	}
	llava := &LLaVA{Params: nn.NewParams(), configs: configs, Fingerprints: map[string]string{}}
	if err := llava.rehearse(m, o); err != nil {
		llava.Free()
		return nil, err
	}
	return llava, nil
}

func (m *LLaVA) rehearse(recipe recipes.Model, o OpenOptions) error {
	if err := m.declare(recipe, torch.CPU); err != nil {
		return err
	}
	if err := m.adapt(o.LoRA); err != nil {
		return err
	}
	m.choose(o)
	sources, err := m.openSources(recipe, o)
	defer sources.close()
	if err != nil {
		return err
	}
	plan, err := sources.match(m.Params)
	if err != nil {
		return err
	}
	m.noteNewline(plan, sources)
	if err := sources.checkProjector(m.Params, o.AnyProjector); err != nil {
		return err
	}
	if m.Fingerprints, err = sources.fingerprints(); err != nil {
		return err
	}
	m.Settings, err = m.settings(sources)
	return err
}

// choose selects the parameters that train.
func (m *LLaVA) choose(o OpenOptions) {
	m.Params.Select(func(p *nn.Param) bool {
		_, adapted := o.LoRA[p.Part]
		return o.Trains != nil && p.Adapter == adapted && o.Trains(p.Part, p.Name)
	})
	for _, p := range m.Params.All() {
		m.trainsTower = m.trainsTower || p.Trainable && p.Part == recipes.PartVision
	}
}

func (m *LLaVA) open(recipe recipes.Model, o OpenOptions) error {
	if err := m.declare(recipe, o.Device); err != nil {
		return err
	}
	if err := m.adapt(o.LoRA); err != nil {
		return err
	}
	m.choose(o)
	if err := m.Params.Place(o.Device, o.Dtype, o.Layout); err != nil {
		return err
	}
	if err := m.fill(recipe, o); err != nil {
		return err
	}
	if o.Normalization == nil {
		return nil
	}
	return m.SetNormalization(o.Normalization)
}

// declare builds the three parts from their configurations.
func (m *LLaVA) declare(recipe recipes.Model, device torch.Device) (err error) {
	defer failure.MarkInput(&err)
	if m.Language, err = newLanguage(m.configs.language, m.Params, device); err != nil {
		return fmt.Errorf("model.language: %w", err)
	}
	if m.Tower, err = newTowers(recipe.Vision, m.configs.towers, m.Params); err != nil {
		return err
	}
	if m.ProjectorShape, err = DescribeProjector(recipe.Projector, m.Tower.Describe()); err != nil {
		return err
	}
	if m.Projector, err = newProjector(m.Params, m.projectorBuild(recipe.Projector)); err != nil {
		return fmt.Errorf("model.projector: %w", err)
	}
	m.declareNewline()
	return nil
}

func newLanguage(config []byte, ps *nn.Params, device torch.Device) (Language, error) {
	kind, err := languageType(config)
	if err != nil {
		return nil, err
	}
	family, err := failure.LookUp("model_type", kind, languages)
	if err != nil {
		return nil, err
	}
	return family.build(config, ps, device)
}

// fill gives every parameter its value.
func (m *LLaVA) fill(recipe recipes.Model, o OpenOptions) error {
	sources, err := m.openSources(recipe, o)
	defer sources.close()
	if err != nil {
		return err
	}
	plan, err := sources.match(m.Params)
	if err != nil {
		return err
	}
	m.noteNewline(plan, sources)
	if err := sources.checkProjector(m.Params, o.AnyProjector); err != nil {
		return err
	}
	if m.identities, err = sources.identities(m.Params); err != nil {
		return err
	}
	if m.Fingerprints, err = sources.fingerprints(); err != nil {
		return err
	}
	if m.Settings, err = m.settings(sources); err != nil {
		return err
	}
	return m.load(plan, o)
}

// load copies the planned tensors and initialises parameters that are in no file.
func (m *LLaVA) load(plan []assignment, o OpenOptions) error {
	var done, total int64
	for _, a := range plan {
		total += a.info.Bytes()
	}
	for _, a := range plan {
		if err := a.load(o.Seed); err != nil {
			return err
		}
		done += a.info.Bytes()
		if o.Progress != nil {
			o.Progress(done, total)
		}
	}
	return nil
}

// Trainable lists the parameters that train, in the order of their declaration.
func (m *LLaVA) Trainable() []*nn.Param {
	var list []*nn.Param
	for _, p := range m.Params.All() {
		if p.Trainable {
			list = append(list, p)
		}
	}
	return list
}

// DescribeTower reads the sizes of a model's tower, or of its two, from the configuration, without the weights.
func DescribeTower(v recipes.Vision) (_ TowerShape, err error) {
	defer failure.MarkInput(&err)
	files, err := readTowers(v)
	if err != nil {
		return TowerShape{}, err
	}
	tower, err := newTowers(v, files, nn.NewParams())
	if err != nil {
		return TowerShape{}, err
	}
	return tower.Describe(), nil
}
