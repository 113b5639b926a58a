package model

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// A folder of adapters (LoRA) beside a language model's own folder is read as the model that both make: every weight W
// becomes W + alpha/r B A when it is loaded. Such folders are those of PEFT, of the original (scripts/v1_5/
// finetune_lora.sh), which adds what else it trained in non_lora_trainables.bin, and our own exports.

// peftAdapters are the opened files of a folder of adapters.
type peftAdapters struct {
	where  string
	config adapterConfig
	file   *checkpoints.Weights   // adapters, and weights that were trained whole
	others []*checkpoints.Weights // what else was trained: the projector, for one
	used   map[string]bool        // names of file
}

// HoldsAdapters says whether a folder, or the cached repository of an id, holds adapters of PEFT.
func HoldsAdapters(weights string) bool {
	dir, err := Resolve(weights)
	return err == nil && checkpoints.Exists(filepath.Join(dir, AdapterConfig))
}

// LanguageFolder is the folder that has the language model's own files; adapters is the folder of adapters on top of
// it, "" if there is none.
func LanguageFolder(l recipes.Language) (dir, adapters string, err error) {
	defer failure.MarkInput(&err)
	if dir, err = Resolve(l.Weights); err != nil || !HoldsAdapters(dir) {
		return dir, "", err
	}
	config, err := readAdapterConfig(dir)
	if err != nil {
		return "", "", err
	}
	base := cmp.Or(l.Base, config.Base)
	beside := filepath.Join(dir, base)
	if info, err := os.Stat(beside); l.Base == "" && !filepath.IsAbs(base) && err == nil && info.IsDir() {
		base = beside
	}
	folder, err := Resolve(base)
	if err != nil {
		return "", "", fmt.Errorf("%q holds adapters for the language model %q: %w; name its folder with --base "+
			"(in a recipe: model.language.base)", dir, base, err)
	}
	return folder, dir, nil
}

// The names of the files of a folder of adapters, in the order in which they are looked for.
var (
	adapterFiles = []string{AdapterFile, "adapter_model.bin"}
	otherFiles   = []string{OthersFile, "non_lora_trainables.bin", "mm_projector.safetensors", "mm_projector.bin"}
)

func (ss *sources) openAdapters(dir string) (*peftAdapters, error) {
	a := &peftAdapters{where: dir, used: map[string]bool{}}
	var err error
	if a.config, err = readAdapterConfig(dir); err != nil {
		return nil, err
	}
	for _, name := range adapterFiles {
		if path := filepath.Join(dir, name); a.file == nil && checkpoints.Exists(path) {
			if a.file, err = ss.open(path); err != nil {
				return nil, err
			}
		}
	}
	if a.file == nil {
		return nil, fmt.Errorf("%q has %s but none of %s", dir, AdapterConfig, strings.Join(adapterFiles, ", "))
	}
	for _, name := range otherFiles {
		if path := filepath.Join(dir, name); checkpoints.Exists(path) {
			w, err := ss.open(path)
			if err != nil {
				return nil, err
			}
			a.others = append(a.others, w)
		}
	}
	return a, nil
}

// whole finds a parameter that was trained as it is, not by adapters.
func (a *peftAdapters) whole(p *nn.Param) (assignment, bool) {
	for _, w := range append([]*checkpoints.Weights{a.file}, a.others...) {
		for _, name := range []string{peftPrefix + p.Name, p.Name} {
			if info, ok := w.Info(name); ok {
				a.used[name] = true
				return assignment{param: p, info: info, weights: w}, true
			}
		}
	}
	return assignment{}, false
}

// change finds the adapter of a weight, nil if it has none.
func (a *peftAdapters) change(p *nn.Param) (*weightChange, error) {
	module, isWeight := strings.CutSuffix(p.Name, ".weight")
	if !isWeight || len(p.Shape) != 2 {
		return nil, nil
	}
	var c weightChange
	c.file = a.file
	for _, half := range []struct {
		letter string
		info   *checkpoints.Info
	}{{"A", &c.a}, {"B", &c.b}} {
		for _, name := range []string{".lora_" + half.letter + ".weight", ".lora_" + half.letter + ".default.weight"} {
			if info, ok := a.file.Info(peftPrefix + module + name); ok {
				*half.info, a.used[info.Name] = info, true
			}
		}
	}
	if c.a.Name == "" && c.b.Name == "" {
		return nil, nil
	}
	rank := int64(0)
	if len(c.a.Shape) == 2 {
		rank = c.a.Shape[0]
	}
	if !slices.Equal(c.a.Shape, []int64{rank, p.Shape[1]}) || !slices.Equal(c.b.Shape, []int64{p.Shape[0], rank}) {
		return nil, fmt.Errorf("  shape: adapter of %s is %v and %v, the weight is %v (in %s)", p.Name, c.a.Shape,
			c.b.Shape, p.Shape, a.where)
	}
	for _, info := range []checkpoints.Info{c.a, c.b} {
		if _, ok := dtypeNames[info.Dtype]; !ok {
			return nil, fmt.Errorf("  dtype: %s is %s; weights are F32, F16, BF16 or F64 (in %s)",
				info.Name, info.Dtype, a.where)
		}
	}
	c.scale = a.config.Alphas.of(module, a.config.Alpha) / float64(rank)
	if a.config.RSLoRA {
		c.scale = a.config.Alphas.of(module, a.config.Alpha) / math.Sqrt(float64(rank))
	}
	return &c, nil
}

// leftOver reports adapters of which the model has no weight.
func (a *peftAdapters) leftOver() (problems []error) {
	for _, name := range a.file.Names() {
		if !a.used[name] {
			problems = append(
				problems,
				fmt.Errorf("  extra: %s, for which the model has no weight (in %s)", name, a.where),
			)
		}
	}
	return problems
}

// weightChange is what adapters add to a weight W, [out,in]: scale B A.
type weightChange struct {
	file  *checkpoints.Weights
	a, b  checkpoints.Info // [r,in], [out,r]
	scale float64
}

// load reads A and B.
func (c *weightChange) load() (a, b checkpoints.Tensor, err error) {
	a, errA := c.file.Load(c.a.Name)
	b, errB := c.file.Load(c.b.Name)
	return a, b, errors.Join(errA, errB)
}

// addTo returns W + scale B A in fp32.
func (c *weightChange) addTo(w checkpoints.Tensor) (sum checkpoints.Tensor, err error) {
	a, b, err := c.load()
	if err != nil {
		return w, err
	}
	sum.Info = checkpoints.Info{Name: w.Name, Dtype: checkpoints.F32, Shape: w.Shape}
	err = torch.Do(func(s *torch.Scope) {
		torch.NoGrad(func() {
			change := torch.MatMul(s, float32s(s, b), float32s(s, a)) // [out,in]
			sum.Data = torch.Add(s, float32s(s, w), torch.Scale(s, change, c.scale)).Bytes()
		})
	})
	return sum, err
}

// at is the element of scale B A in a row and a column.
func (c *weightChange) at(row, column int64) (float32, error) {
	a, b, err := c.load()
	if err != nil {
		return 0, err
	}
	down, errA := a.Float32s()
	up, errB := b.Float32s()
	if err := errors.Join(errA, errB); err != nil {
		return 0, err
	}
	rank, width := c.a.Shape[0], c.a.Shape[1]
	sum := 0.
	for k := range rank {
		sum += float64(up[row*rank+k]) * float64(down[k*width+column])
	}
	return float32(c.scale * sum), nil
}

// float32s copies a tensor's values into fp32 on the CPU.
func float32s(s *torch.Scope, t checkpoints.Tensor) *torch.Tensor {
	x := torch.Empty(s, t.Shape, torch.Float32, torch.CPU)
	x.SetBytes(t.Data, dtypeNames[t.Dtype], t.Shape)
	return x
}
