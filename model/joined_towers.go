package model

import (
	"fmt"
	"strings"

	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
)

// joinedTowers are two towers that look at the same images, each at its own size and with its own normalisation. Their
// features stand side by side: row p of an image is patch p of the first tower, then patch p of the second (Prismatic
// VLMs, Karamcheti et al. 2024, prismatic/models/backbones/vision/dinosiglip_vit.py).
type joinedTowers struct{ towers [2]Tower }

// secondPrefix begins the names of the second tower's parameters, as visionPrefix those of the first.
const secondPrefix = "model.vision_tower_2.vision_tower.vision_model."

// towerPrefix begins the names of a tower's parameters.
func towerPrefix(tower int) string { return [...]string{visionPrefix, secondPrefix}[tower] }

// isSecond says whether a parameter belongs to the second tower.
func isSecond(name string) bool { return strings.HasPrefix(name, secondPrefix) }

// newTowers declares the towers of a recipe: one, or two as one.
func newTowers(v recipes.Vision, files []towerFiles, ps *nn.Params) (Tower, error) {
	var list []Tower
	for i, one := range v.Towers() {
		tower, err := newTower(files[i].config, ps.Root(recipes.PartVision, towerPrefix(i)), selectedBy(one, files[i]))
		if err == nil && v.Second != nil && one.SelectFeature != "patch" {
			err = fmt.Errorf("select_feature %s: of two towers both must select patch, because their features are "+
				"joined row by row and a class token is a row that the other may not have", one.SelectFeature)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", files[i].key, err)
		}
		list = append(list, tower)
	}
	if len(list) == 1 {
		return list[0], nil
	}
	m := &joinedTowers{[2]Tower(list)}
	return m, m.check()
}

// check refuses towers whose patches do not form equal grids.
func (m *joinedTowers) check() error {
	first, second := m.towers[0].Describe(), m.towers[1].Describe()
	a, b := first.grid(), second.grid()
	if a == b {
		return nil
	}
	remedy := "take towers with equal grids, or a DINOv2, whose image_size can be set"
	switch {
	case second.Resizes:
		remedy = fmt.Sprintf("set %s.image_size to %d", recipes.TowerKey(1, 2), a*second.PatchSize)
	case first.Resizes:
		remedy = fmt.Sprintf("set %s.image_size to %d", recipes.TowerKey(0, 2), b*first.PatchSize)
	}
	return fmt.Errorf("model.vision: the first tower makes %dx%d patches of an image (%d pixels a side, "+
		"patches of %d), the second %dx%d (%d pixels, patches of %d), and joined features need equal grids: %s",
		a, a, first.ImageSize, first.PatchSize, b, b, second.ImageSize, second.PatchSize, remedy)
}

// Describe implements Tower.
func (m *joinedTowers) Describe() TowerShape {
	shape, second := m.towers[0].Describe(), m.towers[1].Describe()
	shape.HiddenSize += second.HiddenSize
	shape.Second = &second
	return shape
}

// Forward runs both towers over n images, each at both sizes end to end: [n,3*S1*S1+3*S2*S2] -> [n*P,Dv1+Dv2].
func (m *joinedTowers) Forward(s *torch.Scope, pixels *torch.Tensor, keys nn.DropoutKeys) *torch.Tensor {
	var features []*torch.Tensor
	for i, tower := range m.towers {
		features = append(features, s.Sub(func(s *torch.Scope) *torch.Tensor { // without what the other tower made
			return tower.Forward(s, m.Describe().cut(s, pixels, i), keys) // [n*P,Dv]
		}))
	}
	return torch.Cat(s, 1, features...) // [n*P,Dv1+Dv2]
}

// towersOf lists the single towers of a tower.
func towersOf(t Tower) []Tower {
	if joined, ok := t.(*joinedTowers); ok {
		return joined.towers[:]
	}
	return []Tower{t}
}

// Each lists the shapes of the single towers.
func (t TowerShape) Each() []TowerShape {
	if t.Second == nil {
		return []TowerShape{t}
	}
	first := t
	first.HiddenSize, first.Second = t.HiddenSize-t.Second.HiddenSize, nil
	return []TowerShape{first, *t.Second}
}

// Pixels is how many values an image has: three channels for each tower, at its size.
func (t TowerShape) Pixels() (values int64) {
	for _, one := range t.Each() {
		values += 3 * one.ImageSize * one.ImageSize
	}
	return values
}

// cut takes the images of one tower, [n,3,S,S], out of those of both, [n,Pixels].
func (t TowerShape) cut(s *torch.Scope, images *torch.Tensor, tower int) *torch.Tensor {
	each, at := t.Each(), int64(0)
	for _, before := range each[:tower] {
		at += before.Pixels()
	}
	own := torch.Narrow(s, images, 1, at, each[tower].Pixels()) // [n,3*S*S]
	return torch.Reshape(s, own, images.Size(0), 3, each[tower].ImageSize, each[tower].ImageSize)
}

// TrainedTowers are the shapes of the single towers of which any weight trains.
func (m *LLaVA) TrainedTowers() (list []TowerShape) {
	for i, shape := range m.Tower.Describe().Each() {
		for _, p := range m.Trainable() {
			if p.Part == recipes.PartVision && isSecond(p.Name) == (i == 1) {
				list = append(list, shape)
				break
			}
		}
	}
	return list
}
