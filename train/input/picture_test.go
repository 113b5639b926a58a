package input

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/recipes"
)

// Each tile has the bytes of the first tower, then those of the second, which are what each tower gets alone.
func TestPicturesForTwoTowers(t *testing.T) {
	first, second := picture.CLIPProcessor(28), picture.DINOv2Processor(24)
	tiling := func(edge int, pinpoints ...picture.Pinpoint) *picture.Tiling {
		return &picture.Tiling{Edge: edge, Side: 4, Features: 16, Merge: picture.MergeSpatialUnpad,
			Pinpoints: pinpoints}
	}
	tiles := tiling(28, picture.Pinpoint{Width: 28, Height: 56}, picture.Pinpoint{Width: 84, Height: 28})
	random := rand.New(rand.NewPCG(1, 2))
	for _, size := range [][2]int{{90, 31}, {30, 57}, {50, 50}} {
		decoded := &picture.RGB{W: size[0], H: size[1], Pix: make([]uint8, 3*size[0]*size[1])}
		for i := range decoded.Pix {
			decoded.Pix[i] = uint8(random.Uint32())
		}
		l := tiles.Layout(size[0], size[1])
		for _, aspect := range []string{"square", "pad", recipes.AnyResolution} {
			both := &Preprocessor{Processors: []*picture.Processor{first, second}, Tiling: tiles}
			alone := [2]*Preprocessor{
				{Processors: []*picture.Processor{first}, Tiling: tiles},
				{Processors: []*picture.Processor{second},
					Tiling: tiling(24, picture.Pinpoint{Width: 24 * l.Columns, Height: 24 * l.Rows})},
			}
			for _, several := range []bool{false, true} {
				var want []uint8
				var each [2][]uint8
				for i, p := range alone {
					each[i] = p.Picture(decoded, aspect, several).Pixels
				}
				for tile := range len(each[0]) / (3 * 28 * 28) {
					want = append(want, each[0][tile*3*28*28:][:3*28*28]...)
					want = append(want, each[1][tile*3*24*24:][:3*24*24]...)
				}
				got := both.Picture(decoded, aspect, several)
				if !bytes.Equal(got.Pixels, want) || got.Width != size[0] || got.Height != size[1] {
					t.Errorf("%v, %s, one of several %v: %d bytes of an image of %dx%d, want %d", size, aspect, several,
						len(got.Pixels), got.Width, got.Height, len(want))
				}
			}
		}
	}
}

// A patch of the second tower is of the same part of the picture as that of the first.
func TestTwoTowersSeeTheSame(t *testing.T) {
	dir := t.TempDir()
	config := func(text string) recipes.Vision {
		path := filepath.Join(dir, fmt.Sprint(len(text))+".json")
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		return recipes.Vision{Config: path, SelectLayer: -1, SelectFeature: "patch"}
	}
	dino := config(`{"model_type": "dinov2", "hidden_size": 12, "image_size": 56, "patch_size": 14}`)
	siglip := config(`{"model_type": "siglip_vision_model", "hidden_size": 12, "image_size": 64, "patch_size": 16}`)
	clip := config(`{"model_type": "clip_vision_model", "hidden_size": 12, "image_size": 48, "patch_size": 12}`)
	for name, c := range map[string]struct {
		first, second recipes.Vision
		edge          [2]int
	}{
		"squeezed": {siglip, dino, [2]int{0, 0}}, "the centre": {clip, dino, [2]int{48, 56}},
		"seven eighths": {dino, clip, [2]int{64, 55}},
	} {
		v := c.first
		v.Second = &c.second
		tower, err := model.DescribeTower(v)
		if err != nil {
			t.Fatal(err)
		}
		list, err := openProcessors(v, tower)
		if err != nil || len(list) != 2 {
			t.Fatal(err, len(list))
		}
		if got := [2]int{list[0].Edge, list[1].Edge}; got != c.edge {
			t.Errorf("%s: shorter sides of %v, want %v", name, got, c.edge)
		}
		alone, err := openProcessors(c.second, *tower.Second)
		if err != nil {
			t.Fatal(err)
		}
		if own := *alone[0]; own.Mean != list[1].Mean || own.Std != list[1].Std || own.Size != list[1].Size {
			t.Errorf("%s: prepared as %+v, alone as %+v", name, *list[1], own)
		}
	}
}

func TestNormalizationOfTwoTowers(t *testing.T) {
	p := &Preprocessor{Processors: []*picture.Processor{picture.CLIPProcessor(28), picture.SigLIPProcessor(24)}}
	first, second := p.Processors[0].Table(), p.Processors[1].Table()
	table := p.Normalization()
	if len(table) != 2*768 || [768]float32(table[:768]) != first || [768]float32(table[768:]) != second {
		t.Errorf("%d values, which are not those of both", len(table))
	}
}
