package model

import (
	"fmt"
	"slices"
	"testing"

	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
)

// dinov2Goldens are the recorded towers: the side of their images, and what they have.
var dinov2Goldens = map[string]struct {
	size      int
	patches   int64
	registers int64
	inner     int64
}{
	"dinov2":                        {20, 25, 0, 32},
	"dinov2_swiglu":                 {28, 49, 0, 36},
	"dinov2_smaller":                {12, 9, 0, 48},
	"dinov2_with_registers":         {20, 25, 3, 32},
	"dinov2_with_registers_smaller": {12, 9, 2, 32},
	"dinov2_with_registers_larger":  {28, 49, 2, 36},
}

// tower opens the recorded tower beside a random language model.
func (g golden) tower(t *testing.T, v recipes.Vision) *LLaVA {
	t.Helper()
	r := tinyRecipe(t, tinyLanguage, tinyVision)
	r.Vision = v
	r.Vision.Weights = g.dir
	return openModel(t, r, OpenOptions{Trains: func(part, _ string) bool { return part == recipes.PartVision }})
}

// features are the rows of a recorded hidden state [2,1+R+P,16] that the selected feature keeps.
func features(state []float32, rows, registers int64, feature string) (kept []float32) {
	const width = 16
	for picture := range slices.Chunk(state, int(rows*width)) {
		if feature == "cls_patch" {
			kept = append(kept, picture[:width]...)
		}
		kept = append(kept, picture[(1+registers)*width:]...)
	}
	return kept
}

func TestDINOv2MatchesTransformers(t *testing.T) {
	for name, c := range dinov2Goldens {
		g := openGolden(t, name)
		recorded, rows := g.floats(t, "hidden_states"), 1+c.registers+c.patches // [4,2,1+R+P,16]
		size := 2 * int(rows) * 16
		for layer, state := range map[int]int{-4: 0, 0: 0, 1: 1, -2: 2, -1: 3, 3: 3} {
			for _, feature := range []string{"patch", "cls_patch"} {
				m := g.tower(t, recipes.Vision{SelectLayer: layer, SelectFeature: feature, ImageSize: c.size})
				do(t, func(s *torch.Scope) {
					x := m.Tower.Forward(s, g.pixels(t, s), nn.DropoutKeys{})
					within(t, fmt.Sprintf("%s, layer %d, %s", name, layer, feature), torch.Read[float32](x),
						features(recorded[state*size:][:size], rows, c.registers, feature), familyTolerance.states)
				})
				want := TowerShape{HiddenSize: 16, ImageSize: int64(c.size), PatchSize: 4, Tokens: c.patches, Rows: rows,
					Layers: int64(state), IntermediateSize: c.inner, LayerScales: 2, Processor: "dinov2", Resizes: true}
				if feature == "cls_patch" {
					want.Tokens++
				}
				if shape := m.Tower.Describe(); shape != want {
					t.Errorf("%s described as %+v, want %+v", name, shape, want)
				}
			}
		}
	}
}

// The gradients are those of all rows; the features leave out the class token's and the registers'.
func TestGradientsOfDINOv2MatchTransformers(t *testing.T) {
	for name, c := range dinov2Goldens {
		t.Run(name, func(t *testing.T) {
			g := openGolden(t, name)
			m := g.tower(t, recipes.Vision{SelectLayer: -2, SelectFeature: "patch", ImageSize: c.size})
			tower := m.Tower.(*dinov2)
			do(t, func(s *torch.Scope) {
				x := tower.hidden(s, g.pixels(t, s), nn.DropoutKeys{})
				torch.Backward(x, torch.From(s, g.floats(t, "weights"), x.Shape(), torch.CPU))
			})
			g.compareGradients(t, m, visionPrefix)
		})
	}
}
