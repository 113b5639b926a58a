package model

import (
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
)

// The recorded hidden states are those of the first picture, from behind the first norm (0) to the last layer's
// output (4).
func TestSelectedLayersMatchTheOriginal(t *testing.T) {
	p := openParity(t)
	recorded := p.floats(t, "tower_hidden_states_sample0") // [5,P+1,Dv]
	const states, width = 5, 64
	size := len(recorded) / states
	for layer, state := range map[int]int{-5: 0, 0: 0, 1: 1, 2: 2, -2: 3, 3: 3, -1: 4, 4: 4} {
		for _, feature := range []string{"patch", "cls_patch"} {
			t.Run(fmt.Sprintf("layer %d, %s", layer, feature), func(t *testing.T) {
				m := openModel(t, recipes.Model{
					Vision: recipes.Vision{Weights: filepath.Join(p.dir, "clip"), SelectLayer: layer,
						SelectFeature: feature},
					Projector: recipes.Projector{Type: "linear"},
					Language:  recipes.Language{Weights: filepath.Join(p.dir, "llm")},
				}, OpenOptions{})
				want := recorded[state*size : (state+1)*size]
				if feature == "patch" {
					want = want[width:] // without the class row
				}
				do(t, func(s *torch.Scope) {
					x := m.Features(s, p.levels(t, 0), nn.DropoutKeys{})
					compare(t, "features", torch.Read[float32](x), want)
					if shape := m.Tower.Describe(); x.Size(0) != shape.Tokens || x.Size(1) != shape.HiddenSize ||
						shape.ImageSize != 56 {
						t.Errorf("features %v, described as %+v", x.Shape(), shape)
					}
				})
			})
		}
	}
}

// What lies behind the selected layer is neither needed nor loaded.
func TestLayersBehindTheSelectedAreNotDeclared(t *testing.T) {
	for layer, want := range map[int]int{-1: 3, -2: 2, 0: 0, 1: 1} {
		r := tinyRecipe(t, tinyLanguage, tinyVision)
		r.Vision.SelectLayer = layer
		m := openModel(t, r, OpenOptions{})
		found := 0
		for i := range 4 {
			if _, ok := m.Params.Get(fmt.Sprintf("%sencoder.layers.%d.mlp.fc1.weight", visionPrefix, i)); ok {
				found++
			}
		}
		if found != want {
			t.Errorf("select_layer %d: %d layers, want %d", layer, found, want)
		}
	}
}

func TestEachPictureIsSeenAlone(t *testing.T) {
	m := openModel(t, tinyRecipe(t, tinyLanguage, tinyVision), OpenOptions{Seed: 1})
	first, second := make([]uint8, tinyPixels), make([]uint8, tinyPixels)
	for i := range tinyPixels {
		first[i], second[i] = uint8(5*i), uint8(255-3*i)
	}
	do(t, func(s *torch.Scope) {
		features := func(pixels []uint8) []float32 {
			return torch.Read[float32](m.Features(s, pixels, nn.DropoutKeys{}))
		}
		together := features(append(append([]uint8{}, first...), second...))
		near(t, "two pictures", together, append(features(first), features(second)...), 1e-6)
	})
}

func TestTheTowersActivationIsTheConfigured(t *testing.T) {
	features := func(change object) (x []float32) {
		m := openModel(t, tinyRecipe(t, tinyLanguage, tinyVision.with(change)), OpenOptions{Seed: 1})
		for _, p := range m.Params.All() { // large enough that the activations differ
			do(t, func(s *torch.Scope) {
				if !p.Norm {
					p.Tensor().Copy(torch.Scale(s, p.Tensor(), 40))
				}
			})
		}
		do(t, func(s *torch.Scope) {
			x = torch.Read[float32](m.Features(s, make([]uint8, tinyPixels), nn.DropoutKeys{}))
		})
		return x
	}
	quick := features(nil)
	near(t, "quick_gelu is the default", features(object{"hidden_act": "quick_gelu"}), quick, 0)
	if d := largestDifference(features(object{"hidden_act": "gelu"}), quick); d < 1e-4 {
		t.Errorf("gelu and quick_gelu differ by %g only", d)
	}
}

// A tower without weights starts as transformers 5.17 starts it: standard deviations of CLIPVisionModel,
// SiglipVisionModel and Dinov2WithRegistersModel made from these configurations, after torch.manual_seed(0).
func TestTowersStartAsInTransformers(t *testing.T) {
	shape := object{"hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 8, "num_attention_heads": 4,
		"image_size": 32, "patch_size": 4}
	for kind, want := range map[string]map[string]float64{
		"clip_vision_model": {"embeddings.class_embedding": 0.2404, "embeddings.patch_embedding.weight": 0.1007,
			"embeddings.position_embedding.weight": 0.1001,
			"self_attn.q_proj.weight":              0.0622, "self_attn.k_proj.weight": 0.0626,
			"self_attn.v_proj.weight":   0.0623,
			"self_attn.out_proj.weight": 0.2488,
			"mlp.fc1.weight":            0.1791, "mlp.fc2.weight": 0.0627, "mlp.fc2.bias": 0},
		"siglip_vision_model": {"embeddings.patch_embedding.weight": 0.1628, "embeddings.patch_embedding.bias": 0,
			"embeddings.position_embedding.weight": 0.1237,
			"self_attn.q_proj.weight":              0.1236, "self_attn.k_proj.weight": 0.1245,
			"self_attn.v_proj.weight":   0.1249,
			"self_attn.out_proj.weight": 0.1227,
			"self_attn.q_proj.bias":     0, "mlp.fc1.weight": 0.0946, "mlp.fc2.weight": 0.0946},
		"dinov2_with_registers": {"embeddings.cls_token": 0.0562, "embeddings.register_tokens": 0,
			"embeddings.position_embeddings":                0.0497,
			"embeddings.patch_embeddings.projection.weight": 0.0506, "embeddings.patch_embeddings.projection.bias": 0,
			"attention.attention.query.weight": 0.0501, "attention.output.dense.weight": 0.0501,
			"layer_scale1.lambda1": 0.7, "mlp.fc1.weight": 0.0498, "mlp.fc2.weight": 0.05, "mlp.fc2.bias": 0},
	} {
		vision := shape.with(object{"model_type": kind})
		if kind == "clip_vision_model" {
			vision = vision.with(object{"initializer_range": 0.05, "initializer_factor": 2})
		}
		list := "encoder.layers.0."
		if kind == "dinov2_with_registers" {
			vision, list = vision.with(object{"initializer_range": 0.05, "layerscale_value": 0.7}), "encoder.layer.0."
		}
		m := openModel(t, tinyRecipe(t, tinyLanguage, vision), OpenOptions{Seed: 1})
		for name, deviation := range want {
			if !strings.HasPrefix(name, "embeddings.") {
				name = list + name
			}
			param, ok := m.Params.Get(visionPrefix + name)
			if !ok {
				t.Fatalf("%s: no %s", kind, name)
			}
			do(t, func(s *torch.Scope) {
				values, sum := torch.Read[float32](param.Tensor()), 0.0
				for _, v := range values {
					sum += float64(v) * float64(v)
				}
				// A sample of n values strays from its deviation by 1/sqrt(2n) of it; five of those, for both samples.
				if got, stray := math.Sqrt(sum/float64(len(values))),
					5/math.Sqrt(float64(len(values))); math.Abs(got-deviation) > stray*deviation {
					t.Errorf("%s: %s has the deviation %.4f, want %.4f", kind, name, got, deviation)
				}
			})
		}
	}
}
