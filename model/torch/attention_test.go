package torch_test

import (
	"math"
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/model/torch/torchtest"
)

// softmaxAttention is attention as the paper writes it (Vaswani et al. 2017), a loop over samples, heads and positions.
// q [T,H,d]; k, v [T,G,d].
func softmaxAttention(q, k, v []float64, heads, groups, d int, starts []int64, causal bool) []float64 {
	out := make([]float64, len(q))
	for sample := range len(starts) - 1 {
		first, end := int(starts[sample]), int(starts[sample+1])
		for t := first; t < end; t++ {
			for h := range heads {
				at := func(x []float64, t int) []float64 { g := (t*groups + h*groups/heads) * d; return x[g : g+d] }
				query, sum := q[(t*heads+h)*d:(t*heads+h+1)*d], 0.0
				weights := make([]float64, end)
				for u := first; u < end && (!causal || u <= t); u++ {
					weights[u] = math.Exp(dot(query, at(k, u)) / math.Sqrt(float64(d)))
					sum += weights[u]
				}
				for u := first; u < end; u++ {
					for i, x := range at(v, u) {
						out[(t*heads+h)*d+i] += weights[u] / sum * x
					}
				}
			}
		}
	}
	return out
}

func TestAttentionIsSoftmaxWithinEachSample(t *testing.T) {
	const positions, d = 6, 4
	var list []operation
	for _, c := range []struct {
		name          string
		heads, groups int
		starts        []int64
		causal        bool
	}{
		{"one sample, causal", 2, 2, []int64{0, 6}, true},
		{"one sample, all see all", 2, 2, []int64{0, 6}, false},
		{"equal lengths, causal", 2, 2, []int64{0, 3, 6}, true},
		{"equal lengths, all see all", 2, 2, []int64{0, 3, 6}, false},
		{"unequal lengths, causal", 2, 2, []int64{0, 1, 4, 6}, true},
		{"unequal lengths, all see all", 2, 2, []int64{0, 1, 4, 6}, false},
		{"grouped queries, equal lengths", 4, 2, []int64{0, 2, 4, 6}, true},
		{"grouped queries, unequal lengths", 4, 2, []int64{0, 4, 6}, true},
		{"one key for all queries", 4, 1, []int64{0, 4, 6}, false},
	} {
		h, g := int64(c.heads), int64(c.groups)
		list = append(list, operation{c.name, [][]int64{{positions, h, d}, {positions, g, d}, {positions, g, d}},
			func(s *torch.Scope, x []*torch.Tensor) *torch.Tensor {
				return torch.Attention(s, x[0], x[1], x[2], c.starts, c.causal)
			},
			func(x [][]float64) []float64 {
				return softmaxAttention(x[0], x[1], x[2], c.heads, c.groups, d, c.starts, c.causal)
			}})
	}
	checkOperations(t, list)
}

func TestAttentionWantsAllPositionsInSamples(t *testing.T) {
	torchtest.NoLeaks(t)
	for _, starts := range [][]int64{{0, 3}, {0, 2, 3}, {0, 5}} {
		e := fault(t, func(s *torch.Scope) {
			torch.Attention(s, ones(s, 4, 1, 4), ones(s, 4, 1, 4), ones(s, 4, 1, 4), starts, true)
		})
		if e.Op != "attention" || !strings.Contains(e.Msg, "of 4 positions") {
			t.Errorf("%v: %v", starts, e)
		}
	}
}
