package model

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/loss"
	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/model/torch/torchtest"
	"github.com/llavatrain/llavatrain/recipes"
)

// Largest differences from transformers' fp32 values, absolute; the values themselves reach a few units. Gradients of
// summed losses reach tens, so that theirs is of the tensor's largest value where that is above 1.
var familyTolerance = struct{ states, logits, loss, gradients float64 }{states: 1e-5, logits: 2e-5, loss: 1e-5,
	gradients: 1e-5}

// golden is a model of testdata/families, made by families_make.py.
type golden struct {
	dir    string
	values *checkpoints.Weights
}

func openGolden(t *testing.T, name string) golden {
	t.Helper()
	g := golden{dir: filepath.Join("testdata/families", name)}
	var err error
	if g.values, err = checkpoints.Open(filepath.Join(g.dir, "golden.safetensors")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.values.Close() })
	return g
}

func (g golden) floats(t *testing.T, name string) []float32 {
	t.Helper()
	return floatsOf(t, filepath.Join(g.dir, "golden.safetensors"), name)
}

func (g golden) ints(t *testing.T, name string) (list []int64) {
	t.Helper()
	tensor, err := g.values.Tensor(name)
	if err != nil {
		t.Fatal(err)
	}
	for raw := tensor.Data; len(raw) > 0; raw = raw[8:] {
		list = append(list, int64(binary.LittleEndian.Uint64(raw)))
	}
	return list
}

// within compares values absolutely.
func within(t *testing.T, what string, got, want []float32, tolerance float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s has %d values, want %d", what, len(got), len(want))
	}
	d := largestDifference(got, want)
	if t.Logf("%s: largest difference %.3g", what, d); !(d <= tolerance) {
		t.Errorf("%s differs by %g, more than %g", what, d, tolerance)
	}
}

// languageGoldens are the recorded language models.
func languageGoldens(t *testing.T) (names []string) {
	t.Helper()
	entries, err := os.ReadDir("testdata/families")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if openGolden(t, entry.Name()).isLanguage() {
			names = append(names, entry.Name())
		}
	}
	return names
}

func (g golden) isLanguage() bool {
	_, is := g.values.Info("input_ids")
	return is
}

// model opens the recorded language model; its tower is random.
func (g golden) model(t *testing.T, trains func(part, name string) bool) *LLaVA {
	t.Helper()
	r := tinyRecipe(t, tinyLanguage, tinyVision)
	r.Language = recipes.Language{Weights: g.dir}
	return openModel(t, r, OpenOptions{Trains: trains})
}

func (g golden) samples(t *testing.T) Input {
	t.Helper()
	ids, starts := g.ints(t, "input_ids"), g.ints(t, "starts")
	var samples [][]int64
	for i, first := range starts[:len(starts)-1] {
		samples = append(samples, ids[first:starts[i+1]])
	}
	return flat(samples...)
}

func TestEachFamilyHasAGolden(t *testing.T) {
	var recorded []string
	for _, name := range languageGoldens(t) {
		family, _, _ := strings.Cut(name, "_")
		recorded = append(recorded, family)
	}
	for family := range maps.Keys(languages) {
		if !slices.Contains(recorded, family) {
			t.Errorf("no recorded model of %s", family)
		}
	}
}

func TestFamiliesMatchTransformers(t *testing.T) {
	for _, name := range languageGoldens(t) {
		for way, run := range map[string]func(t *testing.T) nn.Recompute{
			"":                        func(*testing.T) nn.Recompute { return nn.RecomputeNothing },
			", norms computed again":  func(*testing.T) nn.Recompute { return nn.RecomputeSelective },
			", layers computed again": func(*testing.T) nn.Recompute { return nn.RecomputeLayers },
			", libtorch's operations": func(t *testing.T) nn.Recompute {
				was := torchtest.SetFused(false)
				t.Cleanup(func() { torchtest.SetFused(was) })
				return nn.RecomputeNothing
			},
			", a card's kernels emulated": func(t *testing.T) nn.Recompute {
				torchtest.Emulate(t)
				return nn.RecomputeSelective
			},
		} {
			t.Run(name+way, func(t *testing.T) {
				recompute := run(t)
				g := openGolden(t, name)
				m := g.model(t, func(part, _ string) bool { return part == recipes.PartLanguage })
				g.compareForward(t, m, recompute)
				g.compareGradients(t, m, "")
			})
		}
	}
}

// compareForward runs the recorded samples forward and backward.
func (g golden) compareForward(t *testing.T, m *LLaVA, recompute nn.Recompute) {
	t.Helper()
	in := g.samples(t)
	in.Recompute = recompute
	var labels []int64
	rows := []int64{}
	for i := range len(in.IDs) - 1 {
		if in.Positions[i+1] > 0 { // the sample goes on
			rows, labels = append(rows, int64(i)), append(labels, in.IDs[i+1])
		}
	}
	do(t, func(s *torch.Scope) {
		pass := m.Forward(s, in)
		states := g.floats(t, "hidden_states")
		size := len(states) / (int(m.Language.Describe().Layers) + 1)
		for i, x := range pass.tape.Inputs { // with recomputation only
			within(t, "a layer's input", torch.Read[float32](x), states[i*size:(i+1)*size], familyTolerance.states)
		}
		within(t, "the last hidden state", torch.Read[float32](pass.Hidden), states[len(states)-size:],
			familyTolerance.states)
		within(t, "logits", torch.Read[float32](m.Logits(s, pass.Hidden)), g.floats(t, "logits"),
			familyTolerance.logits)

		wanted := torch.IndexSelect(s, pass.Hidden, 0, m.indices(s, rows))
		sum, _ := loss.CrossEntropy(s, wanted, m.Language.Head().Tensor(), m.indices(s, labels))
		near(t, "loss", torch.Read[float32](sum), g.floats(t, "loss"), familyTolerance.loss)
		pass.Backward(s, sum)
	})
}

// compareGradients compares every recorded gradient; our names have prefix before the recorded ones.
func (g golden) compareGradients(t *testing.T, m *LLaVA, prefix string) {
	t.Helper()
	compared := 0
	for _, name := range g.values.Names() {
		param, is := strings.CutPrefix(name, "grad.")
		if !is {
			continue
		}
		compared++
		want, largest := g.floats(t, name), 1.
		for _, x := range want {
			largest = max(largest, math.Abs(float64(x)))
		}
		within(t, "gradient of "+param, m.gradientOf(t, prefix+param), want, familyTolerance.gradients*largest)
	}
	if compared != len(m.Trainable()) {
		t.Errorf("%d recorded gradients, %d parameters", compared, len(m.Trainable()))
	}
}

func TestFamiliesGenerateAsTransformers(t *testing.T) {
	for _, name := range languageGoldens(t) {
		t.Run(name, func(t *testing.T) {
			g := openGolden(t, name)
			starts, ids := g.ints(t, "starts"), g.ints(t, "input_ids")
			prompt := flat(ids[starts[len(starts)-2]:]) // the last sample
			var want []int32
			for _, id := range g.ints(t, "generated") {
				want = append(want, int32(id))
			}
			if got := answer(t, g.model(t, nil), prompt, Sampling{MaxTokens: len(want)}); !slices.Equal(got, want) {
				t.Errorf("tokens %v, want %v", got, want)
			}
		})
	}
}

// sigLIP opens the recorded tower beside a random language model.
func (g golden) sigLIP(t *testing.T, selectLayer int) *LLaVA {
	t.Helper()
	return g.tower(t, recipes.Vision{SelectLayer: selectLayer, SelectFeature: "patch"})
}

// pixels are the recorded pictures, normalised as SigLIP's are.
func (g golden) pixels(t *testing.T, s *torch.Scope) *torch.Tensor {
	t.Helper()
	levels, err := g.values.Tensor("levels")
	if err != nil {
		t.Fatal(err)
	}
	table := make([]float32, 3*256)
	for i := range table {
		table[i] = (float32(float64(i%256)/255) - 0.5) / 0.5
	}
	return torch.Normalize(s, torch.From(s, levels.Data, levels.Shape, torch.CPU),
		torch.From(s, table, []int64{3, 256}, torch.CPU), torch.Float32)
}

func TestSigLIPMatchesTransformers(t *testing.T) {
	g := openGolden(t, "siglip")
	// [4,2,16,16]: from before the first layer (0) to the last one's output (3)
	recorded := g.floats(t, "hidden_states")
	const size = 2 * 16 * 16
	for layer, state := range map[int]int{-4: 0, 0: 0, 1: 1, -2: 2, -1: 3, 3: 3} {
		m := g.sigLIP(t, layer)
		do(t, func(s *torch.Scope) {
			x := m.Tower.Forward(s, g.pixels(t, s), nn.DropoutKeys{})
			within(t, fmt.Sprintf("layer %d", layer), torch.Read[float32](x), recorded[state*size:][:size],
				familyTolerance.states)
			want := TowerShape{HiddenSize: 16, ImageSize: 18, PatchSize: 4, Tokens: 16, Rows: 16, Layers: int64(state),
				IntermediateSize: 24, Processor: "siglip"}
			if shape := m.Tower.Describe(); shape != want {
				t.Errorf("described as %+v, want %+v", shape, want)
			}
		})
	}
	m := g.sigLIP(t, -2)
	do(t, func(s *torch.Scope) {
		x := m.Tower.Forward(s, g.pixels(t, s), nn.DropoutKeys{})
		torch.Backward(x, torch.From(s, g.floats(t, "weights"), x.Shape(), torch.CPU))
	})
	g.compareGradients(t, m, visionPrefix)
}

func TestAWholeFolderWithSigLIPReadsBack(t *testing.T) {
	g := openGolden(t, "siglip")
	m := g.sigLIP(t, -2)
	text, err := m.Config(recipes.Model{Vision: recipes.Vision{Weights: g.dir}}, ExportNotes{}, checkpoints.F32)
	if err != nil {
		t.Fatal(err)
	}
	var config object
	if err := json.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	dir := writeFolder(t, config, tensors(t, m, ""))
	r := recipes.Model{Projector: recipes.Projector{Type: "mlp2x_gelu"}, Language: recipes.Language{Weights: dir}}
	r.Vision = recipes.Vision{Weights: dir, SelectLayer: -2, SelectFeature: "patch"}
	if diff := cmp.Diff(values(t, m), values(t, openModel(t, r, OpenOptions{}))); diff != "" {
		t.Error(diff)
	}
}

// A whole LLaVA is written under the names that the original, or LLaVA-NeXT for what the original lacks, gives its
// family, and read back.
func TestWholeFoldersOfEachFamilyReadBack(t *testing.T) {
	names := map[string][2]string{
		"llama":   {"llava_llama", "LlavaLlamaForCausalLM"},
		"mistral": {"llava_mistral", "LlavaMistralForCausalLM"},
		"phi3":    {"llava_phi3", "LlavaPhi3ForCausalLM"},
		"qwen2":   {"llava_qwen", "LlavaQwenForCausalLM"},
		"qwen3":   {"llava_qwen3", "LlavaQwen3ForCausalLM"},
	}
	for _, name := range languageGoldens(t) {
		t.Run(name, func(t *testing.T) {
			g := openGolden(t, name)
			m := g.model(t, nil)
			r := tinyRecipe(t, tinyLanguage, tinyVision)
			text, err := m.Config(r, ExportNotes{}, checkpoints.F32)
			if err != nil {
				t.Fatal(err)
			}
			var config object
			if err := json.Unmarshal(text, &config); err != nil {
				t.Fatal(err)
			}
			family, _, _ := strings.Cut(name, "_")
			if class := config["architectures"].([]any)[0]; names[family] != [2]string{config["model_type"].(string),
				class.(string)} {
				t.Errorf("written as %v, %v; want %v", config["model_type"], class, names[family])
			}
			for _, spelled := range []string{names[family][0], "llava_" + family} {
				dir := writeFolder(t, config.with(object{"model_type": spelled}), tensors(t, m, ""))
				r.Vision, r.Language = recipes.Vision{Weights: dir, SelectLayer: -2, SelectFeature: "patch"},
					recipes.Language{Weights: dir}
				again := openModel(t, r, OpenOptions{})
				near(t, spelled, hidden(t, again, g.samples(t)), hidden(t, m, g.samples(t)), 0)
			}
		})
	}
}
