package model

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
)

// joinedGoldens are the pairs of towers of testdata/joined, made by joined_make.py.
var joinedGoldens = map[string]struct {
	sides, layers [2]int
	means, stds   [2][3]float64
	want          TowerShape
}{
	"siglip_dinov2": {sides: [2]int{18, 16}, layers: [2]int{-2, -3},
		means: [2][3]float64{{0.5, 0.5, 0.5}, {0.485, 0.456, 0.406}},
		stds:  [2][3]float64{{0.5, 0.5, 0.5}, {0.229, 0.224, 0.225}},
		want: TowerShape{HiddenSize: 28, ImageSize: 18, PatchSize: 4, Tokens: 16, Rows: 16, Layers: 2,
			IntermediateSize: 24, Processor: "siglip", Second: &TowerShape{HiddenSize: 12, ImageSize: 16, PatchSize: 4,
				Tokens: 16, Rows: 17, Layers: 1, IntermediateSize: 24, LayerScales: 2, Processor: "dinov2",
				Resizes: true}}},
	"clip_registers": {sides: [2]int{15, 20}, layers: [2]int{-1, -2},
		means: [2][3]float64{{0.48145466, 0.4578275, 0.40821073}, {0.485, 0.456, 0.406}},
		stds:  [2][3]float64{{0.26862954, 0.26130258, 0.27577711}, {0.229, 0.224, 0.225}},
		want: TowerShape{HiddenSize: 24, ImageSize: 15, PatchSize: 3, Tokens: 25, Rows: 26, Layers: 3,
			IntermediateSize: 20, Processor: "clip", Second: &TowerShape{HiddenSize: 16, ImageSize: 20, PatchSize: 4,
				Tokens: 25, Rows: 29, Layers: 2, IntermediateSize: 32, LayerScales: 2, Processor: "dinov2",
				Resizes: true}}},
}

func openJoined(t *testing.T, name string) golden {
	t.Helper()
	g := golden{dir: filepath.Join("testdata/joined", name)}
	var err error
	if g.values, err = checkpoints.Open(filepath.Join(g.dir, "golden.safetensors")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.values.Close() })
	return g
}

// joinedVision is the recorded pair in a recipe.
func joinedVision(name string) recipes.Vision {
	c := joinedGoldens[name]
	tower := func(i int) recipes.Vision {
		return recipes.Vision{Weights: filepath.Join("testdata/joined", name, fmt.Sprint(i)),
			SelectLayer: c.layers[i], SelectFeature: "patch"}
	}
	first, second := tower(0), tower(1)
	second.ImageSize = c.sides[1]
	first.Second = &second
	return first
}

// joinedTable is the normalisation of the recorded pair, [2*3*256].
func joinedTable(name string) (table []float32) {
	c := joinedGoldens[name]
	for i := range c.means {
		for channel := range 3 {
			for level := range 256 {
				value := float32(float64(level)/255) - float32(c.means[i][channel])
				table = append(table, value/float32(c.stds[i][channel]))
			}
		}
	}
	return table
}

// joined opens the recorded pair beside a random language model.
func joined(t *testing.T, name string, trains func(part, name string) bool) *LLaVA {
	t.Helper()
	r := tinyRecipe(t, tinyLanguage, tinyVision)
	r.Vision = joinedVision(name)
	return openModel(t, r, OpenOptions{Trains: trains, Normalization: joinedTable(name)})
}

// joinedPixels are the recorded pictures as a batch has them, [2,3*S1*S1+3*S2*S2].
func (g golden) joinedPixels(t *testing.T) (pixels []uint8) {
	t.Helper()
	var each [2][]uint8
	for i := range each {
		levels, err := g.values.Tensor(fmt.Sprintf("levels.%d", i))
		if err != nil {
			t.Fatal(err)
		}
		each[i] = levels.Data
	}
	for n := range 2 {
		for _, levels := range each {
			size := len(levels) / 2
			pixels = append(pixels, levels[n*size:][:size]...)
		}
	}
	return pixels
}

func allVision(part, _ string) bool { return part == recipes.PartVision }

func TestJoinedTowersMatchTransformers(t *testing.T) {
	for name, c := range joinedGoldens {
		t.Run(name, func(t *testing.T) {
			g, m := openJoined(t, name), joined(t, name, allVision)
			if shape := m.Tower.Describe(); !equalShapes(shape, c.want) {
				t.Errorf("described as %+v and %+v, want %+v and %+v", shape, shape.Second, c.want, c.want.Second)
			}
			do(t, func(s *torch.Scope) {
				x := m.Features(s, g.joinedPixels(t), nn.DropoutKeys{}) // [2*P,Dv1+Dv2]
				within(t, "features", torch.Read[float32](x), g.floats(t, "features"), familyTolerance.states)
				torch.Backward(x, torch.From(s, g.floats(t, "weights"), x.Shape(), torch.CPU))
			})
			g.compareJoinedGradients(t, m)
		})
	}
}

func equalShapes(a, b TowerShape) bool {
	first, second := a.Second, b.Second
	a.Second, b.Second = nil, nil
	return a == b && (first == nil) == (second == nil) && (first == nil || *first == *second)
}

// compareJoinedGradients compares every recorded gradient of both towers.
func (g golden) compareJoinedGradients(t *testing.T, m *LLaVA) {
	t.Helper()
	names := g.values.Names()
	names = slices.DeleteFunc(names, func(name string) bool { return len(name) < 7 || name[:5] != "grad." })
	for _, name := range names {
		tower, param := int(name[5]-'0'), name[7:]
		want := g.floats(t, name)
		within(t, "gradient of "+name, m.gradientOf(t, towerPrefix(tower)+param), want,
			familyTolerance.gradients*max(1, largest(want)))
	}
	if len(names) != len(m.Trainable()) {
		t.Errorf("%d recorded gradients, %d parameters", len(names), len(m.Trainable()))
	}
}
