package model

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// peftAdapters are the opened files of a folder of adapters.
type peftAdapters struct {
	where     string
	config    adapterConfig
	file      *checkpoints.Weights   // adapters, and weights that were trained whole
	opened    []*checkpoints.Weights // file, and those of what else was trained: the projector, for one
	names     []string               // of all tensors, as peftName gives them, in order
	tensors   map[string]*peftTensor // by these names
	spellings map[string][]spelling  // of the model that was trained, by part
}

// peftTensor is a tensor in one of the files.
type peftTensor struct {
	weights *checkpoints.Weights
	info    checkpoints.Info
	used    bool
}

// The names of the files of a folder of adapters, in the order in which they are looked for.
var (
	adapterFiles = []string{AdapterFile, "adapter_model.bin"}
	otherFiles   = []string{OthersFile, "non_lora_trainables.bin", "mm_projector.safetensors", "mm_projector.bin"}
)

func (ss *sources) openAdapters(dir string) (*peftAdapters, error) {
	a := &peftAdapters{where: dir, tensors: map[string]*peftTensor{}, spellings: map[string][]spelling{}}
	var err error
	if a.config, err = readAdapterConfig(dir); err != nil {
		return nil, err
	}
	for _, name := range slices.Concat(adapterFiles, otherFiles) {
		path := filepath.Join(dir, name)
		if !checkpoints.Exists(path) || a.file != nil && slices.Contains(adapterFiles, name) {
			continue
		}
		w, err := ss.open(path)
		if err != nil {
			return nil, err
		}
		if slices.Contains(adapterFiles, name) {
			a.file = w
		}
		if a.file == nil {
			break
		}
		if err := a.add(w, name); err != nil {
			return nil, err
		}
	}
	if a.file == nil {
		return nil, fmt.Errorf("%q has %s but none of %s", dir, AdapterConfig, strings.Join(adapterFiles, ", "))
	}
	for _, part := range parts {
		for _, l := range layouts {
			if l[part] != nil {
				a.spellings[part] = append(a.spellings[part], l[part])
			}
		}
		a.spellings[part] = append(a.spellings[part], found(part, a.names)...)
	}
	return a, nil
}

// What PEFT adds to the names of a model's tensors: the name of the adapter, which is default if none was given, and
// of the modules that it wraps.
var (
	adapterHalf = regexp.MustCompile(`\.(lora_[AB])\.[^.]+\.weight$`)
	savedModule = regexp.MustCompile(`\.modules_to_save\.[^.]+\.`)
)

// peftName is a name without what PEFT adds to it.
func peftName(name string) string {
	if _, rest, ok := strings.Cut(name, peftPrefix); ok {
		name = rest
	}
	name = adapterHalf.ReplaceAllString(name, ".$1.weight")
	name = savedModule.ReplaceAllString(name, ".")
	return strings.ReplaceAll(name, ".base_layer.", ".") // the weight beside the adapter
}

// add takes the tensors of a file. The same tensor may be in two files.
func (a *peftAdapters) add(w *checkpoints.Weights, file string) error {
	a.opened = append(a.opened, w)
	for _, stored := range w.Names() {
		name := peftName(stored)
		if strings.Contains(stored, ".original_module.") { // as it was before training
			continue
		}
		info, _ := w.Info(stored)
		t := &peftTensor{weights: w, info: info}
		if other := a.tensors[name]; other != nil {
			same, err := other.equals(t)
			if err != nil {
				return err
			}
			if !same {
				return fmt.Errorf("%q holds two tensors for %s: %s and, in %s, %s; remove one of them", a.where, name,
					other.info.Name, file, stored)
			}
			continue
		}
		a.names, a.tensors[name] = append(a.names, name), t
	}
	return nil
}

func (t *peftTensor) equals(other *peftTensor) (equal bool, err error) {
	if t.info.Dtype != other.info.Dtype || !slices.Equal(t.info.Shape, other.info.Shape) {
		return false, nil
	}
	err = failure.ReadMapped(func() error {
		x, errX := t.weights.Tensor(t.info.Name)
		y, errY := other.weights.Tensor(other.info.Name)
		equal = bytes.Equal(x.Data, y.Data)
		return errors.Join(errX, errY)
	})
	return equal, err
}

// find is the tensor of one of our names, nil without; spelled is its name in the model that was trained.
func (a *peftAdapters) find(part, name string) (t *peftTensor, spelled string) {
	for _, sp := range a.spellings[part] {
		if spelled = sp.of(name); a.tensors[spelled] != nil {
			return a.tensors[spelled], spelled
		}
	}
	return nil, ""
}

// whole finds a tensor that was trained as it is, not by adapters.
func (a *peftAdapters) whole(part, name string) (assignment, bool) {
	t, _ := a.find(part, name)
	if t == nil {
		return assignment{}, false
	}
	t.used = true
	return assignment{info: t.info, weights: t.weights}, true
}

// holds says whether a tensor of the part was trained as it is.
func (a *peftAdapters) holds(part string, ps *nn.Params) bool {
	return slices.ContainsFunc(ps.All(), func(p *nn.Param) bool {
		t, _ := a.find(part, p.Name)
		return p.Part == part && t != nil
	})
}

// change finds the adapter of a weight, nil if it has none.
func (a *peftAdapters) change(part, name string, shape []int64) (*weightChange, error) {
	module, isWeight := strings.CutSuffix(name, ".weight")
	if !isWeight || len(shape) != 2 {
		return nil, nil
	}
	down, theirs := a.find(part, module+".lora_A.weight")
	up, alsoTheirs := a.find(part, module+".lora_B.weight")
	if down == nil && up == nil {
		return nil, nil
	}
	c := weightChange{a: orDefault(down, &peftTensor{}), b: orDefault(up, &peftTensor{})}
	c.a.used, c.b.used = true, true
	rank := int64(0)
	if len(c.a.info.Shape) == 2 {
		rank = c.a.info.Shape[0]
	}
	if !slices.Equal(c.a.info.Shape, []int64{rank, shape[1]}) ||
		!slices.Equal(c.b.info.Shape, []int64{shape[0], rank}) {
		return nil, fmt.Errorf("  shape: adapter of %s is %v and %v, the weight is %v (in %s)", name, c.a.info.Shape,
			c.b.info.Shape, shape, a.where)
	}
	for _, info := range []checkpoints.Info{c.a.info, c.b.info} {
		if _, ok := dtypeNames[info.Dtype]; !ok {
			return nil, fmt.Errorf("  dtype: %s is %s; weights are F32, F16, BF16 or F64 (in %s)",
				info.Name, info.Dtype, a.where)
		}
	}
	theirs = strings.TrimSuffix(orDefault(theirs, alsoTheirs), ".lora_A.weight")
	c.scale = a.config.Alphas.of(theirs, a.config.Alpha) / float64(rank)
	if a.config.RSLoRA {
		c.scale *= math.Sqrt(float64(rank))
	}
	return &c, nil
}

// forgetProjector leaves out what was trained of the projector, because another one is named.
func (a *peftAdapters) forgetProjector() {
	a.names = slices.DeleteFunc(a.names, isProjector)
	for name := range a.tensors {
		if isProjector(name) {
			delete(a.tensors, name)
		}
	}
}

// checkHead reports what adapters do to the head of a model whose configuration ties it to the embedding. PEFT then
// gives an embedding that was trained as it is a head of its own, unless ensure_weight_tying is set.
func (a *peftAdapters) checkHead() error {
	head, _ := a.find(recipes.PartLanguage, "lm_head.weight")
	embedding, _ := a.find(recipes.PartLanguage, "model.embed_tokens.weight")
	switch {
	case embedding == nil:
	case head != nil:
		equal, err := embedding.equals(head)
		head.used = equal
		return err
	case embedding.weights == a.file && !a.config.TieHead:
		return fmt.Errorf("  tie: config.json has tie_word_embeddings, but %s was trained apart from the head: %s "+
			"(in %s)", embedding.info.Name, mergeWithPEFT, a.where)
	}
	return nil
}

// leftOver reports tensors of which the model has no weight.
func (a *peftAdapters) leftOver(tied bool) (problems []error) {
	for _, name := range a.names {
		t := a.tensors[name]
		if t.used || strings.HasSuffix(name, "rotary_emb.inv_freq") || strings.HasSuffix(name, "position_ids") {
			continue
		}
		cause := "for which the model has no weight"
		switch {
		case strings.Contains(name, ".lora_embedding_"):
			cause = "an adapter of the embedding, which is not supported: " + mergeWithPEFT
		case strings.HasPrefix(name, "lm_head.") && tied:
			cause = "which has no weight of its own, because config.json ties the head to the embedding: " +
				mergeWithPEFT
		}
		problems = append(problems, fmt.Errorf("  extra: %s, %s (in %s)", t.info.Name, cause, a.where))
	}
	return problems
}
