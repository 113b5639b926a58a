package model

import (
	"errors"
	"regexp"
	"strings"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// Contents is a model whose tensors are still in their files: the headers have been read and every parameter matched
// with its tensor, but no values have been read or memory allocated. It is for converting models without running
// them.
type Contents struct {
	model   *LLaVA // declared, not placed
	recipe  recipes.Model
	sources *sources
	seed    uint64
	list    []content
}

// content is one tensor under the name that the original gives it.
type content struct {
	name string
	assignment
}

// afterSelectedLayer matches the tensors of published towers after the selected layer: not needed to run, but
// expected by other programs.
var afterSelectedLayer = regexp.MustCompile(`^((encoder\.layers?|post_layernorm|layernorm|head)\.|` +
	`embeddings\.mask_token$)`)

// Inspect opens a model's files as Open does, but stops before loading them. The caller must call Close.
func Inspect(m recipes.Model, o OpenOptions) (*Contents, error) {
	configs, err := readGrown(m, o.NewTokens)
	if err != nil {
		return nil, err
	}
	c := &Contents{model: &LLaVA{Params: nn.NewParams(), configs: configs}, recipe: m, seed: o.Seed,
		sources: &sources{}}
	if err := c.open(o); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (c *Contents) open(o OpenOptions) error {
	if err := c.model.declare(c.recipe, torch.CPU); err != nil {
		return err
	}
	if err := c.model.adapt(o.LoRA); err != nil {
		return err
	}
	var err error
	if c.sources, err = c.model.openSources(c.recipe, o); err != nil {
		return err
	}
	plan, err := c.sources.match(c.model.Params)
	if err != nil {
		return err
	}
	for _, a := range plan {
		c.list = append(c.list, content{a.param.Name, a})
	}
	if err := c.sources.checkProjector(c.model.Params, o.AnyProjector); err != nil {
		return err
	}
	behind, problems := c.sources.behindTower(c.model.Params)
	c.list = append(c.list, behind...)
	return errors.Join(problems...)
}

// behindTower lists the tensors of the towers' files that the model does not run, with what adapters change of them.
func (ss *sources) behindTower(ps *nn.Params) (list []content, problems []error) {
	for _, s := range []*source{ss.parts[recipes.PartVision], ss.second} {
		if s != nil {
			more, wrong := ss.behind(s, ps)
			list, problems = append(list, more...), append(problems, wrong...)
		}
	}
	return list, problems
}

// behind is behindTower for the files of one tower.
func (ss *sources) behind(s *source, ps *nn.Params) (list []content, problems []error) {
	for _, stored := range s.weights.Names() {
		rest, inTower := strings.CutPrefix(stored, s.prefix())
		name := s.root() + rest
		if _, declared := ps.Get(name); !inTower || declared || !afterSelectedLayer.MatchString(rest) {
			continue
		}
		info, _ := s.weights.Info(stored)
		a := assignment{info: info, weights: s.weights}
		if ss.adapters != nil {
			if trained, ok := ss.adapters.whole(s.part, name); ok {
				a = trained
			}
			var err error
			if a.change, err = ss.adapters.change(s.part, name, info.Shape); err != nil {
				problems = append(problems, err)
			}
		}
		list = append(list, content{name, a})
	}
	return list, problems
}

// Close closes the files.
func (c *Contents) Close() {
	c.sources.close()
	c.model.Free()
}

// Language describes the language model, whose vocabulary the tokenizer must fit.
func (c *Contents) Language() LanguageShape { return c.model.Language.Describe() }

// Dtype is the dtype of the language model's weights in their files. If they have several, or no file gives them, it
// is F32, which holds the values of all others.
func (c *Contents) Dtype() (dtype checkpoints.Dtype) {
	for _, t := range c.list {
		if t.param == nil || t.param.Part != recipes.PartLanguage || t.param.Adapter {
			continue
		}
		if t.weights == nil || dtype != "" && dtype != t.info.Dtype {
			return checkpoints.F32
		}
		dtype = t.info.Dtype
	}
	if _, known := torchDtypes[dtype]; !known {
		return checkpoints.F32
	}
	return dtype
}

// has says whether there is a tensor with the given name.
func (c *Contents) has(name string) bool {
	for _, t := range c.list {
		if t.name == name {
			return true
		}
	}
	return false
}

// shape is the tensor's shape.
func (t content) shape() []int64 {
	if t.param != nil {
		return t.param.Shape
	}
	return t.info.Shape
}

// values are the tensor's values, read from its file or generated from the seed.
func (t content) values(seed uint64) (tensor checkpoints.Tensor, err error) {
	if t.weights != nil {
		return t.tensor()
	}
	tensor.Info = checkpoints.Info{Name: t.name, Dtype: checkpoints.F32, Shape: t.param.Shape}
	err = torch.Do(func(s *torch.Scope) { tensor.Data = t.param.Initial(s, seed).Bytes() })
	return tensor, err
}

// convert returns a tensor's values in the given dtype.
func convert(tensor checkpoints.Tensor, dtype checkpoints.Dtype) (data []byte, err error) {
	if tensor.Dtype == dtype {
		return tensor.Data, nil
	}
	from, ok := dtypeNames[tensor.Dtype]
	if !ok {
		return nil, failure.Inputf("tensor %s has dtype %s; weights are F32, F16, BF16 or F64", tensor.Name,
			tensor.Dtype)
	}
	err = torch.Do(func(s *torch.Scope) {
		x := torch.Empty(s, tensor.Shape, dtypeNames[dtype], torch.CPU)
		x.SetBytes(tensor.Data, from, tensor.Shape)
		data = x.Bytes()
	})
	return data, err
}
