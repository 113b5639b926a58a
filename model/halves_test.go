package model

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/model/torch/torchtest"
	"github.com/llavatrain/llavatrain/recipes"
)

// What backward computes again is what was there: gradients are equal bit for bit. Over single operations they differ
// by rounding alone.
func TestHalvesGiveTheSameBitsAgain(t *testing.T) {
	m := openModel(t, tinyRecipe(t, tinyLanguage, tinyVision),
		OpenOptions{Seed: 1, Trains: func(part, _ string) bool { return part != recipes.PartVision }})
	// from the first positions on, later ones, in any order, none of a sample
	for _, wanted := range [][]int64{{0, 2, 4, 5}, {2, 3, 5}, {5, 3}, {2}} {
		t.Run(fmt.Sprint(wanted), func(t *testing.T) { sameBitsAgain(t, m, wanted) })
	}
}

func sameBitsAgain(t *testing.T, m *LLaVA, wanted []int64) {
	run := func(recompute nn.Recompute) map[string][]float32 {
		in := flat([]int64{1, -1, 2, 3}, []int64{4, 5, 6})
		in.Wanted = wanted
		in.Recompute = recompute
		do(t, func(s *torch.Scope) {
			pass := m.Forward(s, in)
			weights := torch.Empty(s, pass.Hidden.Shape(), torch.Float32, torch.CPU)
			weights.FillNormal(1, 3)
			product := torch.Mul(s, pass.Hidden, weights)
			ones := torch.Ones(s, []int64{product.Elements(), 1}, torch.Float32, torch.CPU)
			pass.Backward(s, torch.MatMul(s, torch.Reshape(s, product, 1, -1), ones))
		})
		all := gradients(t, m)
		do(t, func(s *torch.Scope) {
			for _, p := range m.Trainable() {
				p.Gradient(s).Zero()
			}
		})
		return all
	}
	want := run(nn.RecomputeNothing)
	for _, recompute := range []nn.Recompute{nn.RecomputeSelective, nn.RecomputeLayers} {
		if diff := cmp.Diff(want, run(recompute)); diff != "" {
			t.Errorf("%s:\n%s", recompute, diff)
		}
	}
	defer torchtest.SetFused(torchtest.SetFused(false))
	for name, values := range run(nn.RecomputeNothing) {
		within(t, name, values, want[name], 1e-4*largestDifference(want[name], make([]float32, len(values))))
	}
}

// Each obstacle has a case in which it alone holds, and then a layer does not run as two nodes.
func TestObstacles(t *testing.T) {
	every := func(string) bool { return true }
	except := func(name string) func(string) bool {
		return func(other string) bool { return !strings.HasSuffix(other, name) }
	}
	adapters := map[string]recipes.LoRA{recipes.PartLanguage: {R: 2, Alpha: 2, Targets: "v_proj"}}
	behind := map[string]recipes.LoRA{recipes.PartLanguage: {R: 2, Alpha: 2, Targets: "down_proj"}}
	mistral := object{"model_type": "mistral", "sliding_window": 5}
	seen := map[string]bool{}
	for _, c := range []struct {
		reason   string // "" for none
		whole    bool   // backward can compute no norms and SwiGLU alone again
		language object
		trains   func(name string) bool // of the language model
		lora     map[string]recipes.LoRA
		dtype    torch.Dtype
		longest  int64
		cached   bool
	}{
		{reason: ""},
		{reason: "", language: object{"model_type": "qwen2"}}, // biases of q, k and v
		{reason: "", language: object{"model_type": "phi3"}},
		{reason: "", trains: except("o_proj.weight")},
		{reason: "", language: mistral, longest: 5},
		{reason: "a sample is longer than the sliding window", language: mistral, longest: 6},
		{reason: "it generates", cached: true},
		{reason: "each head of q and k is normalised", whole: true,
			language: object{"model_type": "qwen3", "head_dim": 2}},
		{reason: "there are adapters (LoRA)", whole: true, lora: adapters},
		{reason: "there are adapters (LoRA)", whole: true, lora: behind},
		{reason: "there are biases after attention", whole: true, language: object{"attention_bias": true}},
		{reason: "there are biases after attention", whole: true, language: object{"mlp_bias": true}},
		{reason: "only some of q, k and v train", trains: except("q_proj.weight")},
		{reason: "only some of q, k and v train", language: object{"model_type": "qwen2"},
			trains: except("v_proj.bias")},
		{reason: "only one of gate and up trains", trains: except("up_proj.weight")},
		{reason: "the nodes support only fp32 on a CPU and 16 bits on a GPU", dtype: torch.BFloat16},
	} {
		if c.trains == nil {
			c.trains = every
		}
		m := openModel(t, tinyRecipe(t, tinyLanguage.with(c.language), tinyVision),
			OpenOptions{Dtype: c.dtype, LoRA: c.lora,
				Trains: func(part, name string) bool { return part == recipes.PartLanguage && c.trains(name) }})
		layer, in := m.Language.(*llama).layers[1], LanguageInput{Starts: []int64{0, 2, 2 + max(3, c.longest)}}
		if c.cached {
			in.Generation = &inArena{}
		}
		var want []string
		if c.reason != "" {
			want = []string{c.reason}
		}
		if diff := cmp.Diff(want, layer.obstacles(whenCalled, in)); diff != "" {
			t.Errorf("%+v: obstacles\n%s", c, diff)
		}
		if _, fused := layer.halves(in, nil, nil); fused != (c.reason == "") {
			t.Errorf("%+v: the layer runs as two nodes: %v", c, fused)
		}
		if selective := m.Language.Describe().Selective; selective == c.whole {
			t.Errorf("%+v: selective recomputation: %v", c, selective)
		}
		seen[c.reason] = true
	}
	for _, o := range obstacles {
		if !seen[o.reason] {
			t.Errorf("%q has no case", o.reason)
		}
	}
}

func TestLayerPath(t *testing.T) {
	first := func(_, name string) bool { return strings.Contains(name, "layers.0.self_attn.q_proj") }
	qwen3 := object{"model_type": "qwen3", "head_dim": 2}
	windows := object{"model_type": "qwen2", "use_sliding_window": true, "sliding_window": 5, "max_window_layers": 1}
	for _, c := range []struct {
		language object
		options  OpenOptions
		longest  int64
		want     string
	}{
		{nil, OpenOptions{}, 9, "fused (two nodes each)"},
		{qwen3, OpenOptions{}, 9, "single operations, because each head of q and k is normalised"},
		{qwen3, OpenOptions{Dtype: torch.BFloat16}, 9,
			"single operations, because each head of q and k is normalised, " +
				"and because the nodes support only fp32 on a CPU and 16 bits on a GPU"},
		{nil, OpenOptions{Trains: first}, 9,
			"1 of 2 single operations, because only some of q, k and v train; 1 of 2 fused (two nodes each)"},
		{windows, OpenOptions{}, 5, "fused (two nodes each)"},
		{windows, OpenOptions{}, 6, "1 of 2 fused (two nodes each); " +
			"1 of 2 fused (two nodes each), but single operations when a sample is longer than the sliding window"},
	} {
		m := openModel(t, tinyRecipe(t, tinyLanguage.with(c.language), tinyVision), c.options)
		if got := m.Language.LayerPath(c.longest); got != c.want {
			t.Errorf("%v: %q, want %q", c.language, got, c.want)
		}
	}
}

func TestQueryBorders(t *testing.T) {
	starts := []int64{0, 4, 7, 12}
	for _, c := range []struct{ wanted, borders, rows []int64 }{
		{[]int64{0, 5, 7, 9}, []int64{0, 4, 6, 11}, []int64{0, 4, 6, 8}},
		{[]int64{2, 3, 11}, []int64{0, 2, 3, 4}, []int64{0, 1, 3}},
		{[]int64{10, 6, 5}, []int64{0, 1, 3, 5}, []int64{3, 2, 1}},
		{[]int64{}, []int64{0, 1, 2, 3}, []int64{}},
	} {
		borders := QueryBorders(starts, c.wanted)
		if rows := rowsAmong(starts, borders, c.wanted); !slices.Equal(borders, c.borders) ||
			!slices.Equal(rows, c.rows) {
			t.Errorf("%v: borders %v, rows %v; want %v, %v", c.wanted, borders, rows, c.borders, c.rows)
		}
	}
}
