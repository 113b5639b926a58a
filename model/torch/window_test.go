package torch_test

import (
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/model/torch/torchtest"
)

// windowAttention is each position's attention over the run of positions that it sees, alone. q [T,H,d]; k, v [T,G,d].
func windowAttention(q, k, v []float64, heads, groups, d int, starts []int64, window int) (out []float64) {
	for sample := range len(starts) - 1 {
		for t := int(starts[sample]); t < int(starts[sample+1]); t++ {
			first := max(int(starts[sample]), t-window+1)
			part := func(x []float64, rows int) []float64 { return x[first*rows*d : (t+1)*rows*d] }
			seen := int64(t + 1 - first)
			alone := softmaxAttention(part(q, heads), part(k, groups), part(v, groups), heads, groups, d,
				[]int64{0, seen}, true)
			out = append(out, alone[len(alone)-heads*d:]...)
		}
	}
	return out
}

func TestWindowAttentionSeesTheLastPositions(t *testing.T) {
	const positions, d = 7, 4
	var list []operation
	for _, c := range []struct {
		name          string
		heads, groups int
		starts        []int64
		window        int
	}{
		{"one sample", 2, 2, []int64{0, 7}, 3},
		{"itself alone", 2, 2, []int64{0, 7}, 1},
		{"samples shorter and longer", 2, 2, []int64{0, 2, 7}, 3},
		{"grouped queries", 4, 2, []int64{0, 5, 7}, 2},
		{"as long as the window", 4, 2, []int64{0, 7}, 7},
		{"all but the first", 4, 2, []int64{0, 7}, 6},
	} {
		h, g := int64(c.heads), int64(c.groups)
		list = append(list, operation{c.name, [][]int64{{positions, h, d}, {positions, g, d}, {positions, g, d}},
			func(s *torch.Scope, x []*torch.Tensor) *torch.Tensor {
				return torch.WindowAttention(s, x[0], x[1], x[2], c.starts, int64(c.window))
			},
			func(x [][]float64) []float64 {
				return windowAttention(x[0], x[1], x[2], c.heads, c.groups, d, c.starts, c.window)
			}})
	}
	checkOperations(t, list)
}

func TestWindowAttentionWantsAllPositionsInSamples(t *testing.T) {
	torchtest.NoLeaks(t)
	for _, c := range []struct {
		starts []int64
		window int64
		want   string
	}{{[]int64{0, 3}, 2, "of 4 positions"}, {[]int64{0, 5}, 2, "of 4 positions"}, {[]int64{0, 4}, -1, "window of -1"}} {
		e := fault(t, func(s *torch.Scope) {
			torch.WindowAttention(s, ones(s, 4, 1, 4), ones(s, 4, 1, 4), ones(s, 4, 1, 4), c.starts, c.window)
		})
		if e.Op != "window attention" || !strings.Contains(e.Msg, c.want) {
			t.Errorf("%+v: %v", c, e)
		}
	}
}
