package model

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/model/torch/torchtest"
	"github.com/llavatrain/llavatrain/recipes"
)

// The numbers in ../../shared/parity-connectors come from the code that each connector was published with; its README
// says how, and names the tolerances: outputs absolute, gradients relative to the largest of their tensor. The biases
// of keys have no true gradient.
const (
	connectorTolerance         = 1e-4
	connectorGradientTolerance = 1e-3
)

var keyBiases = regexp.MustCompile(`attention\.key\.bias$|k_layer_norm\.bias$`)

// connectorSet is the recorded connectors.
type connectorSet struct {
	dir    string
	values *checkpoints.Weights
	facts  struct {
		Cases map[string]struct {
			Config struct {
				Queries        int     `json:"queries"`
				Width          int     `json:"hidden_size"`
				Layers         int     `json:"num_hidden_layers"`
				Heads          int     `json:"num_attention_heads"`
				MLP            int     `json:"intermediate_size"`
				CrossEvery     int     `json:"cross_attention_frequency"`
				Latents        int     `json:"latents"`
				Depth          int     `json:"depth"`
				ResamplerHeads int     `json:"heads"`
				HeadWidth      int     `json:"head_dim"`
				KVHeads        int     `json:"kv"`
				ResamplerWidth int     `json:"width"`
				MLPRatio       int     `json:"mlp_ratio"`
				LanguageMLP    int64   `json:"projection_intermediate"`
				Ratio          int     `json:"ratio"`
				Stride         int     `json:"stride"`
				Side           int64   `json:"side"`
				Eps            float64 `json:"layer_norm_eps"`
			} `json:"config"`
			Shape      []int64 `json:"out_shape"`
			Parameters int64   `json:"parameters"`
			File       string  `json:"weights_file"`
		} `json:"cases"`
	}
}

func openConnectors(t *testing.T) *connectorSet {
	t.Helper()
	set := &connectorSet{dir: torchtest.Shared(t, "../../shared/parity-connectors")}
	var err error
	if set.values, err = checkpoints.Open(filepath.Join(set.dir, "connectors.safetensors")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { set.values.Close() })
	text, err := os.ReadFile(filepath.Join(set.dir, "connectors.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &set.facts); err != nil {
		t.Fatal(err)
	}
	return set
}

func (set *connectorSet) tensor(t *testing.T, name string) checkpoints.Tensor {
	t.Helper()
	tensor, err := set.values.Tensor(name)
	if err != nil {
		t.Fatal(err)
	}
	return tensor
}

func (set *connectorSet) floats(t *testing.T, name string) []float32 {
	t.Helper()
	values, err := set.tensor(t, name).Float32s()
	if err != nil {
		t.Fatal(err)
	}
	return values
}

// projector is the recipe's section for a recorded case.
func (set *connectorSet) projector(name string) recipes.Projector {
	c := set.facts.Cases[name].Config
	resampler := recipes.Projector{Type: recipes.ResamplerType, Style: "flamingo", Queries: c.Latents, Layers: c.Depth,
		Heads: c.ResamplerHeads, HeadWidth: c.HeadWidth, KVHeads: c.KVHeads, MLP: c.MLPRatio * c.ResamplerWidth}
	pool := recipes.Projector{Type: recipes.Pool, Mode: strings.TrimPrefix(name, "pool_"), Stride: c.Stride,
		Place: "before", Then: "mlp2x_gelu"}
	switch name {
	case "qformer":
		return recipes.Projector{Type: recipes.QFormer, Queries: c.Queries, Layers: c.Layers, Width: c.Width,
			Heads: c.Heads, MLP: c.MLP, CrossEvery: c.CrossEvery, LNVision: "false"}
	case "resampler_llavanext":
		resampler.Then = "mlp2x_gelu"
	case "resampler_idefics2":
		resampler.Style = "idefics2"
	case "pixel_shuffle_idefics3":
		return recipes.Projector{Type: recipes.PixelShuffle, Ratio: c.Ratio, Then: "linear"}
	case "pixel_shuffle_internvl":
		return recipes.Projector{Type: recipes.PixelShuffle, Ratio: c.Ratio, Then: "mlp"}
	case "pool_average", "pool_max", "pool_conv":
		return pool
	case "pool_bilinear":
		pool.Place = "behind"
		return pool
	case "pooler", "mlp2x_res2x_gelu":
		return recipes.Projector{Type: name}
	}
	return resampler
}

// published is what stands before the recorded names in the files that people publish.
var published = map[string]string{
	"resampler_tinyllava": "_connector.", "resampler_llavanext": "model.", "resampler_idefics2": "model.connector.",
	"pixel_shuffle_idefics3": "model.connector.", "pixel_shuffle_internvl": "multi_modal_projector.",
	"pool_bilinear": "multi_modal_projector.", "pooler": "model.mm_projector.",
	"mlp2x_res2x_gelu": "model.mm_projector.",
}

// file writes the recorded weights under their published names, and says which prefix these have.
func (set *connectorSet) file(t *testing.T, name string) (path, prefix string) {
	t.Helper()
	if file := set.facts.Cases[name].File; file != "" {
		return filepath.Join(set.dir, filepath.Dir(file)), ""
	}
	weights := map[string]checkpoints.Tensor{}
	for _, recorded := range set.values.Names() {
		if rest, ours := strings.CutPrefix(recorded, name+".weight."); ours {
			weights[published[name]+rest] = set.tensor(t, recorded)
		}
	}
	return writeFolder(t, nil, weights), published[name]
}

// recipe is a model around a recorded connector, whose parts have the widths that its inputs and outputs show.
func (set *connectorSet) recipe(t *testing.T, name string) recipes.Model {
	t.Helper()
	features, c := set.tensor(t, name+".in.features").Shape, set.facts.Cases[name]
	side := int64(math.Sqrt(float64(features[1])))
	language := tinyLanguage.with(object{"hidden_size": c.Shape[2],
		"intermediate_size": max(12, c.Config.LanguageMLP)})
	r := tinyRecipe(t, language, tinyVision.with(object{"hidden_size": features[2], "image_size": 2 * side}))
	if side*side != features[1] {
		r.Vision.SelectFeature = "cls_patch"
	}
	r.Projector = set.projector(name)
	return r
}

// connectorCases are the recorded connectors between tower and language model.
func (set *connectorSet) connectorCases() (names []string) {
	for _, name := range slices.Sorted(maps.Keys(set.facts.Cases)) {
		if !strings.HasPrefix(name, "cross_") {
			names = append(names, name)
		}
	}
	return names
}

func TestConnectorsMatchTheirOriginals(t *testing.T) {
	set := openConnectors(t)
	for _, name := range set.connectorCases() {
		t.Run(name, func(t *testing.T) {
			path, prefix := set.file(t, name)
			r := set.recipe(t, name)
			r.Projector.Weights = path
			m := openModel(t, r, OpenOptions{
				Trains: func(part, _ string) bool { return part == recipes.PartProjector }})
			set.compareConnector(t, m, name)
			set.compareConnectorGradients(t, m, name, path, prefix)
		})
	}
}

// The resampler of IDEFICS is recorded in front of gated cross-attention. A projector has its weights and a map of its
// own, which is random.
func TestTheResamplerOfIDEFICSMatches(t *testing.T) {
	set := openConnectors(t)
	var facts struct {
		Perceiver struct {
			Latents   int  `json:"latents"`
			Depth     int  `json:"depth"`
			Heads     int  `json:"heads"`
			HeadWidth int  `json:"head_dim"`
			QKNorm    bool `json:"qk"`
		} `json:"perceiver"`
	}
	text, err := os.ReadFile(filepath.Join(set.dir, "gated.json"))
	if err == nil {
		err = json.Unmarshal(text, &facts)
	}
	recorded, openErr := checkpoints.Open(filepath.Join(set.dir, "gated.safetensors"))
	if err = errors.Join(err, openErr); err != nil {
		t.Fatal(err)
	}
	defer recorded.Close()
	read := func(name string) (values []float32, shape []int64) {
		tensor, err := recorded.Tensor(name)
		if err == nil {
			values, err = tensor.Float32s()
		}
		if err != nil {
			t.Fatal(err)
		}
		return values, tensor.Shape
	}
	_, shape := read("row0.features")
	p := facts.Perceiver
	r := tinyRecipe(t, tinyLanguage, tinyVision.with(object{"hidden_size": shape[2],
		"image_size": 2 * int64(math.Sqrt(float64(shape[1])))}))
	r.Projector = recipes.Projector{Type: recipes.ResamplerType, Style: "idefics", Queries: p.Latents, Layers: p.Depth,
		Heads: p.Heads, HeadWidth: p.HeadWidth, QKNorm: fmt.Sprint(p.QKNorm), Then: "linear",
		Weights: resamplerAlone(t, filepath.Join(set.dir, "gated-connector.safetensors"))}
	m := openModel(t, r, OpenOptions{Seed: 1})
	compared := 0
	for _, name := range recorded.Names() {
		row, media := strings.CutSuffix(name, ".media")
		if !media {
			continue
		}
		features, shape := read(strings.TrimPrefix(row, "previous.") + ".features")
		do(t, func(s *torch.Scope) {
			x := torch.From(s, features, []int64{shape[0] * shape[1], shape[2]}, torch.CPU)
			got := m.Projector.(*resamplerProjector).resampler.Forward(s, x, shape[0], nn.DropoutKeys{})
			want, _ := read(name)
			within(t, row, torch.Read[float32](got), want, connectorTolerance)
		})
		compared++
	}
	if compared == 0 {
		t.Error("nothing is recorded")
	}
}

// resamplerAlone is the resampler out of a file that has layers of gated cross-attention too.
func resamplerAlone(t *testing.T, path string) string {
	t.Helper()
	file, err := checkpoints.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var tensors []checkpoints.Tensor
	for _, name := range file.Names() {
		if tensor, err := file.Tensor(name); err != nil {
			t.Fatal(err)
		} else if strings.HasPrefix(name, "perceiver_resampler.") {
			tensors = append(tensors, tensor)
		}
	}
	alone := filepath.Join(t.TempDir(), "resampler.safetensors")
	if err := checkpoints.WriteSafetensors(alone, nil, tensors); err != nil {
		t.Fatal(err)
	}
	return alone
}

// compareConnector compares the output and the gradient of the features.
func (set *connectorSet) compareConnector(t *testing.T, m *LLaVA, name string) {
	t.Helper()
	features := set.tensor(t, name+".in.features")
	do(t, func(s *torch.Scope) {
		x := torch.From(s, set.floats(t, name+".in.features"), []int64{features.Shape[0] * features.Shape[1],
			features.Shape[2]}, torch.CPU)
		x = torch.Detach(s, x, true)
		out := m.Projector.Forward(s, x, nn.DropoutKeys{})
		within(t, "output", torch.Read[float32](out), set.floats(t, name+".out"), connectorTolerance)
		set.compareMiddle(t, s, m, name, x)
		torch.Backward(out, torch.From(s, set.floats(t, name+".cotangent"), out.Shape(), torch.CPU))
		want := set.floats(t, name+".grad_in.features")
		within(t, "gradient of the features", torch.Read[float32](torch.Grad(s, x)), want,
			connectorGradientTolerance*largest(want))
	})
}

// compareMiddle compares what is recorded behind each layer.
func (set *connectorSet) compareMiddle(t *testing.T, s *torch.Scope, m *LLaVA, name string, x *torch.Tensor) {
	t.Helper()
	q, ok := m.Projector.(*qformer)
	if !ok {
		return
	}
	n := x.Size(0) / q.tokens
	h := q.start(s, n)
	for i, layer := range q.layers {
		h = layer.forward(s, h, x, n, nn.DropoutKeys{})
		within(t, fmt.Sprint("layer ", i), torch.Read[float32](h), set.floats(t, fmt.Sprint(name, ".mid.layer", i)),
			connectorTolerance)
	}
}

func (set *connectorSet) compareConnectorGradients(t *testing.T, m *LLaVA, name, path, prefix string) {
	t.Helper()
	files, err := checkpoints.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer files.Close()
	found := &source{part: recipes.PartProjector, weights: files}
	found.findSpelling(m.Params)
	spelled := found.spelled
	elements, worst, around := int64(0), 0., 0.
	gradients := map[string][2][]float32{}
	for _, p := range m.Trainable() {
		elements += p.Elements()
		recorded := name + ".grad." + strings.TrimPrefix(spelled.of(p.Name), prefix)
		gradients[p.Name] = [2][]float32{m.gradientOf(t, p.Name), set.floats(t, recorded)}
		around = max(around, largest(gradients[p.Name][1]))
	}
	if want := set.facts.Cases[name].Parameters; elements != want {
		t.Errorf("%d values, want %d", elements, want)
	}
	for param, pair := range gradients {
		scale := largest(pair[1])
		if keyBiases.MatchString(param) {
			scale = around
		}
		d := largestDifference(pair[0], pair[1]) / scale
		if worst = max(worst, d); !(d <= connectorGradientTolerance) || len(pair[0]) != len(pair[1]) {
			t.Errorf("gradient of %s differs by %g of its largest value", param, d)
		}
	}
	t.Logf("gradients of %d parameters: largest difference %.3g of the tensor's largest value", len(gradients), worst)
}

// largest is the largest absolute value.
func largest(values []float32) (most float64) {
	for _, x := range values {
		most = max(most, abs(x))
	}
	return most
}
