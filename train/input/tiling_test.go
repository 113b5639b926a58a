package input

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/recipes"
)

// No image takes more positions than the largest one, whatever its size.
func TestLargest(t *testing.T) {
	for _, merge := range []picture.Merge{picture.MergeFlat, picture.MergeSpatial, picture.MergeSpatialUnpad} {
		pinpoints, err := picture.PairPinpoints([][]int{{56, 28}, {28, 56}, {56, 56}, {84, 28}, {28, 84}}, 28)
		if err != nil {
			t.Fatal(err)
		}
		p := &Preprocessor{Tiling: &picture.Tiling{Edge: 28, Side: 4, Features: 16, Pinpoints: pinpoints, Merge: merge}}
		positions := func(width, height int) int {
			layout, err := p.Tiling.Of(false, func() (int, int, error) { return width, height, nil })
			if err != nil {
				t.Fatal(err)
			}
			return layout.Positions()
		}
		most := positions(p.Largest(recipes.AnyResolution))
		rapid.Check(t, func(t *rapid.T) {
			width, height := rapid.IntRange(1, 300).Draw(t, "width"), rapid.IntRange(1, 300).Draw(t, "height")
			if got := positions(width, height); got > most {
				t.Fatalf("%s: %d x %d takes %d positions, and the largest %d", merge, width, height, got, most)
			}
		})
	}
}
