package model

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
)

// The recorded hidden states are those of the first picture, from behind the first norm (0) to the last layer's output (4).
func TestSelectedLayersMatchTheOriginal(t *testing.T) {
	p := openParity(t)
	recorded := p.floats(t, "tower_hidden_states_sample0") // [5,P+1,Dv]
	const states, width = 5, 64
	size := len(recorded) / states
	for layer, state := range map[int]int{-5: 0, 0: 0, 1: 1, 2: 2, -2: 3, 3: 3, -1: 4, 4: 4} {
		for _, feature := range []string{"patch", "cls_patch"} {
			t.Run(fmt.Sprintf("layer %d, %s", layer, feature), func(t *testing.T) {
				m := openModel(t, recipes.Model{
					Vision:    recipes.Vision{Weights: filepath.Join(p.dir, "clip"), SelectLayer: layer, SelectFeature: feature},
					Projector: recipes.Projector{Type: "linear"}, Language: recipes.Language{Weights: filepath.Join(p.dir, "llm")},
				}, OpenOptions{})
				want := recorded[state*size : (state+1)*size]
				if feature == "patch" {
					want = want[width:] // without the class row
				}
				do(t, func(s *torch.Scope) {
					x := m.Features(s, p.levels(t, 0))
					compare(t, "features", torch.Read[float32](x), want)
					if shape := m.Tower.Describe(); x.Size(0) != shape.Tokens || x.Size(1) != shape.HiddenSize || shape.ImageSize != 56 {
						t.Errorf("features %v, described as %+v", x.Shape(), shape)
					}
				})
			})
		}
	}
}

// What lies behind the selected layer is neither needed nor loaded.
func TestLayersBehindTheSelectedAreNotDeclared(t *testing.T) {
	for layer, want := range map[int]int{-1: 3, -2: 2, 0: 0, 1: 1} {
		r := tinyRecipe(t, tinyLanguage, tinyVision)
		r.Vision.SelectLayer = layer
		m := openModel(t, r, OpenOptions{})
		found := 0
		for i := range 4 {
			if _, ok := m.Params.Get(fmt.Sprintf("%sencoder.layers.%d.mlp.fc1.weight", visionPrefix, i)); ok {
				found++
			}
		}
		if found != want {
			t.Errorf("select_layer %d: %d layers, want %d", layer, found, want)
		}
	}
}

func TestEachPictureIsSeenAlone(t *testing.T) {
	m := openModel(t, tinyRecipe(t, tinyLanguage, tinyVision), OpenOptions{Seed: 1})
	first, second := make([]uint8, tinyPixels), make([]uint8, tinyPixels)
	for i := range tinyPixels {
		first[i], second[i] = uint8(5*i), uint8(255-3*i)
	}
	do(t, func(s *torch.Scope) {
		alone := append(torch.Read[float32](m.Features(s, first)), torch.Read[float32](m.Features(s, second))...)
		near(t, "two pictures", torch.Read[float32](m.Features(s, append(append([]uint8{}, first...), second...))), alone, 1e-6)
	})
}

func TestTheTowersActivationIsTheConfigured(t *testing.T) {
	features := func(change object) (x []float32) {
		m := openModel(t, tinyRecipe(t, tinyLanguage, tinyVision.with(change)), OpenOptions{Seed: 1})
		for _, p := range m.Params.All() { // large enough that the activations differ
			do(t, func(s *torch.Scope) {
				if !p.Norm {
					p.Tensor().Copy(torch.Scale(s, p.Tensor(), 40))
				}
			})
		}
		do(t, func(s *torch.Scope) { x = torch.Read[float32](m.Features(s, make([]uint8, tinyPixels))) })
		return x
	}
	quick := features(nil)
	near(t, "quick_gelu is the default", features(object{"hidden_act": "quick_gelu"}), quick, 0)
	if d := largestDifference(features(object{"hidden_act": "gelu"}), quick); d < 1e-4 {
		t.Errorf("gelu and quick_gelu differ by %g only", d)
	}
}
