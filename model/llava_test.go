package model

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/llavatrain/llavatrain/loss"
	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
)

// declared is the names (less a prefix) and shapes of a part's parameters, sorted.
func declared(m *LLaVA, part, prefix string) string {
	var list []string
	for _, p := range m.Params.All() {
		if p.Part == part {
			list = append(list, fmt.Sprint(strings.TrimPrefix(p.Name, prefix), " ", p.Shape))
		}
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

func hidden(t *testing.T, m *LLaVA, in Input) (x []float32) {
	t.Helper()
	do(t, func(s *torch.Scope) { x = torch.Read[float32](m.Forward(s, in).Hidden) })
	return x
}

func largestDifference(a, b []float32) (largest float64) {
	for i := range a {
		largest = max(largest, math.Abs(float64(a[i]-b[i])))
	}
	return largest
}

// untouchable stands where a tower must not be run.
type untouchable struct{ Tower }

func (untouchable) Forward(*torch.Scope, *torch.Tensor, nn.DropoutKeys) *torch.Tensor {
	panic("the tower ran")
}

func TestTextAloneNeverTouchesTheTower(t *testing.T) {
	m := openModel(t, tinyRecipe(t, tinyLanguage, tinyVision), OpenOptions{Seed: 1, Trains: everything})
	m.Tower = untouchable{m.Tower}
	train(t, m, flat([]int64{1, 2, 3}, []int64{4, 5}), false)
	for _, p := range m.Params.All() {
		do(t, func(s *torch.Scope) {
			moved := slices.ContainsFunc(torch.Read[float32](p.Gradient(s)), func(x float32) bool { return x != 0 })
			if moved != (p.Part == recipes.PartLanguage) {
				t.Errorf("%s has a gradient: %v", p.Name, moved)
			}
		})
	}
	if err := m.Generate(flat([]int64{1, 2, 3}), Sampling{MaxTokens: 2}, func(int32) bool { return true }); err != nil {
		t.Error(err)
	}
}

// train runs forward and backward with every position but the last of each sample predicting its successor.
func train(t *testing.T, m *LLaVA, in Input, recompute bool) (sum float32) {
	t.Helper()
	in.Recompute = layersAgain[recompute]
	var labels []int64
	for k := range len(in.Starts) - 1 {
		for i := in.Starts[k]; i < in.Starts[k+1]-1; i++ {
			in.Wanted = append(in.Wanted, i)
			labels = append(labels, in.IDs[i+1])
		}
	}
	do(t, func(s *torch.Scope) {
		pass := m.Forward(s, in)
		total, _ := loss.CrossEntropy(s, pass.Hidden, m.Language.Head().Tensor(),
			torch.From(s, labels, []int64{int64(len(labels))}, torch.CPU))
		sum = torch.Read[float32](total)[0]
		pass.Backward(s, total)
	})
	return sum
}

// gradients of all trainable parameters, by name.
func gradients(t *testing.T, m *LLaVA) map[string][]float32 {
	t.Helper()
	out := map[string][]float32{}
	for _, p := range m.Trainable() {
		out[p.Name] = m.gradientOf(t, p.Name)
	}
	return out
}

func TestSamplesDoNotSeeEachOther(t *testing.T) {
	m := openModel(t, tinyRecipe(t, tinyLanguage, tinyVision), OpenOptions{Seed: 1})
	for name, samples := range map[string][2][]int64{
		"unequal lengths": {{1, -1, 2, 3}, {4, 5, 6}},
		"equal lengths":   {{1, -1, 2}, {3, 4, -1}},
		"text alone":      {{1, 2, 3}, {4, 5, 6, 7}},
	} {
		alone := append(hidden(t, m, flat(samples[0])), hidden(t, m, flat(samples[1]))...)
		near(t, name, hidden(t, m, flat(samples[0], samples[1])), alone, 1e-5)
	}
	if a, b := hidden(t, m, flat([]int64{1, 2, 3})),
		hidden(t, m, flat([]int64{1, 2, 9})); !slices.Equal(a[:16], b[:16]) || slices.Equal(a[16:], b[16:]) {
		t.Error("a position sees its successors, or not itself")
	}
}

// A summed loss has the same gradient however its samples are cut into micro-batches.
func TestGradientsDoNotDependOnTheMicroBatch(t *testing.T) {
	samples := [][]int64{{1, -1, 2, 3}, {4, 5, 6}, {7, -1, 8}}
	open := func() *LLaVA {
		return openModel(t, tinyRecipe(t, tinyLanguage, tinyVision), OpenOptions{Seed: 1, Trains: everything})
	}
	together, apart := open(), open()
	whole := train(t, together, flat(samples...), false)
	parts := float32(0)
	for i, sample := range samples {
		parts += train(t, apart, flat(sample), i%2 == 0)
	}
	near(t, "loss", []float32{parts}, []float32{whole}, 1e-5)
	want, got := gradients(t, together), gradients(t, apart)
	for name := range want {
		near(t, "gradient of "+name, got[name], want[name], 1e-4)
	}
}

func TestOnlyWhatTrainsHasAGradient(t *testing.T) {
	for _, part := range []string{recipes.PartVision, recipes.PartProjector, recipes.PartLanguage} {
		for _, recompute := range []bool{false, true} {
			m := openModel(t, tinyRecipe(t, tinyLanguage, tinyVision),
				OpenOptions{Seed: 1, Trains: func(p, _ string) bool { return p == part }})
			train(t, m, flat([]int64{1, -1, 2, 3}), recompute)
			var still []string
			for name, grad := range gradients(t, m) {
				// softmax ignores a shift of all keys
				if !slices.ContainsFunc(grad, func(x float32) bool { return x != 0 }) &&
					!strings.HasSuffix(name, "k_proj.bias") {
					still = append(still, name)
				}
			}
			if len(still) > 0 {
				t.Errorf("%s, recompute %v: no gradient reached %v", part, recompute, still)
			}
			for _, p := range m.Params.All() {
				if p.Trainable != (p.Part == part) || p.Tensor().RequiresGrad() != p.Trainable {
					t.Errorf("%s trains alone, and %s: trainable %v, has a gradient %v", part, p.Name, p.Trainable,
						p.Tensor().RequiresGrad())
				}
			}
		}
	}
}

// While only the projector trains, a micro-batch of text alone has nothing to learn from; it must not fail.
func TestTextAloneWhileOnlyTheProjectorTrains(t *testing.T) {
	for _, recompute := range []bool{false, true} {
		m := openModel(t, tinyRecipe(t, tinyLanguage, tinyVision),
			OpenOptions{Seed: 1, Trains: func(part, _ string) bool { return part == recipes.PartProjector }})
		train(t, m, flat([]int64{1, 2, 3}), recompute)
		for name, grad := range gradients(t, m) {
			if slices.ContainsFunc(grad, func(x float32) bool { return x != 0 }) {
				t.Errorf("recompute %v: %s learns from text", recompute, name)
			}
		}
	}
}

// Pictures may give any of their rows, in any order and number, to positions anywhere: rows go with slots.
func TestFeaturesGoToTheirSlots(t *testing.T) {
	m := openModel(t, tinyRecipe(t, tinyLanguage, tinyVision), OpenOptions{Seed: 1})
	rapid.Check(t, func(r *rapid.T) {
		in := Input{Pixels: rapid.SliceOfN(rapid.Byte(), 3*tinyPixels, 3*tinyPixels).Draw(r, "pixels")}
		for picture := range int64(3) {
			patches := rapid.SliceOfN(rapid.Int64Range(0, tinyPatches-1), 0, 6)
			for _, patch := range patches.Draw(r, "rows of a picture") {
				in.Rows = append(in.Rows, picture*tinyPatches+patch)
			}
		}
		in.IDs = rapid.SliceOfN(rapid.Int64Range(0, 9), len(in.Rows)+1, len(in.Rows)+9).Draw(r, "ids")
		for position := range in.IDs {
			in.Slots = append(in.Slots, int64(position))
		}
		in.Slots = rapid.Permutation(in.Slots).Draw(r, "slots")[:len(in.Rows)]
		do(t, func(s *torch.Scope) {
			ids := torch.From(s, in.IDs, []int64{int64(len(in.IDs))}, torch.CPU)
			none := nn.DropoutKeys{}
			features := torch.Read[float32](m.Projector.Forward(s, m.Features(s, in.Pixels, none), none))
			want := torch.Read[float32](m.Language.Embed(s, ids))
			for i, slot := range in.Slots {
				copy(want[slot*8:(slot+1)*8], features[in.Rows[i]*8:(in.Rows[i]+1)*8])
			}
			near(t, "embeddings", torch.Read[float32](m.embed(s, ids, in)), want, 0)
		})
	})
}

func TestWantedPositionsAreThoseRows(t *testing.T) {
	m := openModel(t, tinyRecipe(t, tinyLanguage, tinyVision), OpenOptions{Seed: 1})
	in := flat([]int64{1, 2, 3, 4})
	all := hidden(t, m, in)
	in.Wanted = []int64{3, 1}
	// The last layer computes these rows alone; products over fewer rows may sum in another order.
	near(t, "rows 3 and 1", hidden(t, m, in), append(slices.Clone(all[24:]), all[8:16]...), 1e-6)
}

func TestBF16IsCloseToFP32(t *testing.T) {
	in := flat([]int64{1, -1, 2, 3}, []int64{4, 5, 6})
	var losses []float32
	for _, dtype := range []torch.Dtype{torch.Float32, torch.BFloat16} {
		m := openModel(t, tinyRecipe(t, tinyLanguage, tinyVision),
			OpenOptions{Seed: 1, Dtype: dtype, Trains: everything})
		losses = append(losses, train(t, m, in, true))
	}
	if d := relative(float64(losses[1]), float64(losses[0])); d > 0.02 || d == 0 {
		t.Errorf("loss %v in fp32 and %v in bf16", losses[0], losses[1])
	}
}

// A stopwatch is called after the forward work of each part: a text passes no tower and no projector.
func TestLapsOfAForwardPass(t *testing.T) {
	m := openModel(t, tinyRecipe(t, tinyLanguage, tinyVision), OpenOptions{})
	text := Input{IDs: []int64{1, 2, 3}, Positions: []int64{0, 1, 2}, Starts: []int64{0, 3}}
	image := text
	image.Pixels, image.Slots, image.Rows = make([]byte, 3*tinyPixels), []int64{1}, []int64{0}
	for _, c := range []struct {
		in   Input
		want []string
	}{
		{text, []string{recipes.PartLanguage}},
		{image, []string{recipes.PartVision, recipes.PartProjector, recipes.PartLanguage}},
	} {
		var laps []string
		c.in.Lap = func(part string) { laps = append(laps, part) }
		do(t, func(s *torch.Scope) { m.Forward(s, c.in) })
		if !slices.Equal(laps, c.want) {
			t.Errorf("laps %v, want %v", laps, c.want)
		}
	}
}
