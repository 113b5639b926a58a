package train

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/runs"
)

// Losses are split by samples with and without an image; a step without one of them has no value for it.
func TestLossSums(t *testing.T) {
	mixed := data.Batch{Samples: []string{"a", "b"}, IDs: make([]int64, 9), Tiles: make([]data.Tile, 1), Images: 1,
		FromImage: []bool{true, false, false, false}}
	image := data.Batch{
		Samples:   []string{"c"},
		IDs:       make([]int64, 5),
		Tiles:     make([]data.Tile, 5), // of which one image may have several
		Images:    2,
		FromImage: []bool{true},
	}
	text := data.Batch{Samples: []string{"d"}, IDs: make([]int64, 3), FromImage: []bool{false}}
	type micro struct {
		batch data.Batch
		each  []float32
	}
	step := data.Step{Number: 4, Epoch: .5, Skipped: make([]data.Skip, 2)}
	for name, c := range map[string]struct {
		micros []micro
		want   runs.Metrics
	}{
		"both": {[]micro{{mixed, []float32{8, 1, 2, 3}}, {image, []float32{4}}}, runs.Metrics{
			Loss: 9, LossBy: map[string]runs.Number{"image": 6, "text": 2},
			SupervisedTokens: 5, Tokens: 14, Images: 3, Samples: 3,
		}},
		"an image": {[]micro{{image, []float32{4}}}, runs.Metrics{
			Loss: 2, LossBy: map[string]runs.Number{"image": 4}, SupervisedTokens: 1, Tokens: 5, Images: 2, Samples: 1,
		}},
		"text": {[]micro{{text, []float32{3}}}, runs.Metrics{
			Loss: 1.5, LossBy: map[string]runs.Number{"text": 3}, SupervisedTokens: 1, Tokens: 3, Samples: 1,
		}},
		"nothing": {nil, runs.Metrics{LossBy: map[string]runs.Number{}}},
	} {
		var sum lossSums
		for _, m := range c.micros {
			sum.add(m.batch, m.each, .5)
		}
		c.want.Step, c.want.Epoch, c.want.Skipped = 5, .5, 2
		if diff := cmp.Diff(c.want, sum.metrics(step)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// A micro-batch without supervised tokens counts for nothing.
func TestSupervised(t *testing.T) {
	sizes := []data.Size{{Supervised: 3}, {}, {Supervised: 2}, {Supervised: 1}}
	if tokens, micros := supervised(sizes); tokens != 6 || micros != 3 {
		t.Errorf("%d tokens in %d micro-batches, want 6 in 3", tokens, micros)
	}
}
