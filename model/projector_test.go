package model

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
)

// smallProjectors are one of each type, for a tower of 6 wide features on a 4 x 4 grid and a language model of width 8.
var smallProjectors = map[string]recipes.Projector{
	"linear":             {Type: "linear"},
	"mlp2x_gelu":         {Type: "mlp2x_gelu"},
	"mlp1x_res2x_gelu":   {Type: "mlp1x_res2x_gelu"},
	"qformer":            tinyQFormer,
	"flamingo":           tinyResampler,
	"flamingo, then":     tinyPerceiver,
	"idefics":            tinyIDEFICS,
	"idefics2":           tinyIdefics2,
	"pixel shuffle":      {Type: recipes.PixelShuffle, Ratio: 2, Then: "linear"},
	"pixel shuffle, mlp": {Type: recipes.PixelShuffle, Ratio: 4, Then: "mlp"},
	"average":            {Type: recipes.Pool, Mode: "average", Stride: 2, Place: "before", Then: "mlp2x_gelu"},
	"max, odd":           {Type: recipes.Pool, Mode: "max", Stride: 3, Place: "behind", Then: "linear"},
	"bilinear, odd":      {Type: recipes.Pool, Mode: "bilinear", Stride: 3, Place: "behind", Then: "mlp1x_gelu"},
	"conv":               {Type: recipes.Pool, Mode: "conv", Stride: 2, Place: "before", Then: "mlp2x_gelu"},
	"conv, behind":       {Type: recipes.Pool, Mode: "conv", Stride: 3, Place: "behind", Then: "linear"},
	"pooler":             {Type: "pooler"},
}

// smallRecipe is a model with one of smallProjectors.
func smallRecipe(t *testing.T, p recipes.Projector) recipes.Model {
	t.Helper()
	r := tinyRecipe(t, tinyLanguage, tinyVision.with(object{"image_size": 8}))
	r.Projector = p
	return r
}

func TestProjectorShapes(t *testing.T) {
	tokens := map[string][2]int64{ // and the side of their grid
		"linear": {16, 4}, "mlp2x_gelu": {16, 4}, "mlp1x_res2x_gelu": {16, 4}, "qformer": {3, 0}, "flamingo": {3, 0},
		"flamingo, then": {3, 0}, "idefics": {3, 0}, "idefics2": {3, 0}, "pixel shuffle": {4, 2},
		"pixel shuffle, mlp": {1, 1}, "average": {4, 2}, "max, odd": {1, 1}, "bilinear, odd": {4, 2}, "conv": {4, 2},
		"conv, behind": {1, 1}, "pooler": {4, 2},
	}
	for name, p := range smallProjectors {
		m := openModel(t, smallRecipe(t, p), OpenOptions{Seed: 1})
		shape, err := DescribeProjector(p, m.Tower.Describe())
		want := ProjectorShape{Tokens: tokens[name][0], Side: tokens[name][1]}
		if err != nil || shape != want || shape != m.ProjectorShape {
			t.Errorf("%s: %+v and %+v, want %+v (%v)", name, shape, m.ProjectorShape, want, err)
		}
		do(t, func(s *torch.Scope) {
			x := torch.Empty(s, []int64{3 * 16, 6}, torch.Float32, torch.CPU)
			x.FillNormal(1, 1)
			got := m.Projector.Forward(s, x, nn.DropoutKeys{}).Shape()
			if !slices.Equal(got, []int64{3 * shape.Tokens, 8}) {
				t.Errorf("%s: the rows of 3 tiles are %v, want %d x 8", name, got, 3*shape.Tokens)
			}
		})
	}
}

// The published sizes: 27 patches a side of SigLIP at 384, 24 of CLIP at 336.
func TestProjectorShapesOfPublishedTowers(t *testing.T) {
	siglip := TowerShape{HiddenSize: 1152, ImageSize: 384, PatchSize: 14, Tokens: 729}
	clip := TowerShape{HiddenSize: 1024, ImageSize: 336, PatchSize: 14, Tokens: 576}
	for _, c := range []struct {
		p     recipes.Projector
		tower TowerShape
		want  ProjectorShape
	}{
		{smallProjectors["average"], siglip, ProjectorShape{Tokens: 169, Side: 13}},
		{recipes.Projector{Type: recipes.Pool, Mode: "bilinear", Stride: 2, Place: "behind", Then: "mlp2x_gelu"},
			siglip, ProjectorShape{Tokens: 196, Side: 14}},
		{recipes.Projector{Type: recipes.PixelShuffle, Ratio: 3, Then: "linear"}, siglip,
			ProjectorShape{Tokens: 81, Side: 9}},
		{recipes.Projector{Type: recipes.PixelShuffle, Ratio: 2, Then: "mlp"}, clip,
			ProjectorShape{Tokens: 144, Side: 12}},
		{recipes.Projector{Type: "pooler"}, siglip, ProjectorShape{Tokens: 169, Side: 13}},
	} {
		if got, err := DescribeProjector(c.p, c.tower); err != nil || got != c.want {
			t.Errorf("%+v: %+v, want %+v (%v)", c.p, got, c.want, err)
		}
	}
}

func TestProjectorsThatCannotBeSayWhatToSet(t *testing.T) {
	patches := TowerShape{HiddenSize: 6, ImageSize: 27, PatchSize: 1, Tokens: 729}
	withClass := TowerShape{HiddenSize: 6, ImageSize: 27, PatchSize: 1, Tokens: 730}
	change := func(p recipes.Projector, edit func(p *recipes.Projector)) recipes.Projector {
		edit(&p)
		return p
	}
	pool := smallProjectors["average"]
	const grid = " needs the grid of patches, and the tower's 730 rows have a class token: " +
		"set model.vision.select_feature: patch"
	for _, c := range []struct {
		p     recipes.Projector
		tower TowerShape
		want  string
	}{
		{smallProjectors["pixel shuffle"], patches, "ratio 2 does not divide the 27 patches a side of the tower's " +
			"grid: set model.projector.ratio to a divisor of 27"},
		{smallProjectors["pixel shuffle"], withClass, "a pixel_shuffle" + grid},
		{pool, withClass, "a pool" + grid},
		{recipes.Projector{Type: "pooler"}, withClass, "a pooler" + grid},
		{recipes.Projector{Type: "pooler"}, TowerShape{ImageSize: 1, PatchSize: 1, Tokens: 1}, "2 x 2 patches"},
		{change(pool, func(p *recipes.Projector) { p.Stride = 28 }), patches, "stride 28 is more than the 27 patches " +
			"a side of the tower's grid: set model.projector.stride to at most 27"},
		{change(pool, func(p *recipes.Projector) { p.Then = "qformer" }), patches,
			"then must be one of linear, mlpNx_gelu"},
		{change(pool, func(p *recipes.Projector) { p.Mode = "min" }), patches, "mode must be one of average, max"},
		{change(pool, func(p *recipes.Projector) { p.Place = "" }), patches, "place must be one of before, behind"},
		{recipes.Projector{Type: recipes.PixelShuffle, Ratio: 3, Then: "mlp2x_gelu"}, patches,
			`then must be one of linear, mlp, not "mlp2x_gelu"`},
		{change(tinyQFormer, func(p *recipes.Projector) { p.Heads = 3 }), patches,
			"width 8 is not a multiple of heads 3: set model.projector.heads to a divisor of 8"},
		{change(tinyIdefics2, func(p *recipes.Projector) { p.KVHeads = 3 }), patches,
			"kv_heads 3 do not divide heads 4: set model.projector.kv_heads to a divisor of 4"},
		{change(tinyResampler, func(p *recipes.Projector) { p.Style = "blip" }), patches,
			"style must be one of flamingo"},
		{change(tinyPerceiver, func(p *recipes.Projector) { p.Then = "pool" }), patches, "then must be one of linear"},
	} {
		_, err := DescribeProjector(c.p, c.tower)
		if message := fmt.Sprint(err); !strings.HasPrefix(message, "model.projector: ") ||
			!strings.Contains(message, c.want) {
			t.Errorf("error %v does not say %q", err, c.want)
		}
	}
	for _, depth := range []string{"mlp0x_res1x_gelu", "mlp2x_res17x_gelu"} {
		message := openFails(t, smallRecipe(t, recipes.Projector{Type: depth}), OpenOptions{})
		if !strings.Contains(message, "the depth must be 1 to 16") {
			t.Errorf("%s: %s", depth, message)
		}
	}
}

// Rows of a tile depend on that tile alone, whatever stands beside it.
func TestProjectorsKeepTilesApart(t *testing.T) {
	for name, p := range smallProjectors {
		m := openModel(t, smallRecipe(t, p), OpenOptions{Seed: 1})
		do(t, func(s *torch.Scope) {
			x := torch.Empty(s, []int64{4 * 16, 6}, torch.Float32, torch.CPU)
			x.FillNormal(1, 1)
			together := m.Projector.Forward(s, x, nn.DropoutKeys{})
			n := m.ProjectorShape.Tokens
			for i := range int64(4) {
				alone := m.Projector.Forward(s, torch.Narrow(s, x, 0, 16*i, 16), nn.DropoutKeys{})
				near(t, fmt.Sprintf("%s, tile %d", name, i), torch.Read[float32](alone),
					torch.Read[float32](torch.Narrow(s, together, 0, n*i, n)), 1e-5)
			}
			// another first tile changes nothing of the others, in one batch of the same shape
			other := torch.Cat(s, 0, torch.Narrow(s, x, 0, 16, 16), torch.Narrow(s, x, 0, 16, 48))
			changed := torch.Read[float32](m.Projector.Forward(s, other, nn.DropoutKeys{}))
			before := torch.Read[float32](together)
			if !slices.Equal(changed[n*8:], before[n*8:]) || slices.Equal(changed[:n*8], before[:n*8]) {
				t.Errorf("%s: a tile changes others, or not itself", name)
			}
		})
	}
}

// Q-Formers start as BERT does, everything else as torch's layers do.
func TestInitialValuesOfConnectors(t *testing.T) {
	wide := tinyQFormer
	wide.Width, wide.MLP, wide.Queries = 64, 64, 64
	latents := tinyResampler
	latents.Queries, latents.Then = 256, "linear"
	ones := tinyIdefics2
	for _, c := range []struct {
		p         recipes.Projector
		name      string
		deviation float64 // from 0
	}{
		{wide, "query_tokens", 0.02}, {wide, "qformer.encoder.layer.0.attention.attention.query.weight", 0.02},
		{wide, "qformer.encoder.layer.1.output_query.dense.weight", 0.02}, {wide, "language_projection.weight", 0.02},
		{wide, "language_projection.bias", 0}, {wide, "qformer.layernorm.weight", 1}, {wide, "ln_vision.bias", 0},
		{latents, "perceiver.latents", 1}, {latents, "perceiver.layers.0.1.1.weight", 1 / math.Sqrt(3*6)},
		{tinyResampler, "linear.weight", 1 / math.Sqrt(3*6)}, {tinyResampler, "linear.bias", 1 / math.Sqrt(3*6)},
		{ones, "perceiver_resampler.latents", 1}, {ones, "perceiver_resampler.norm.weight", 1},
		{smallProjectors["pixel shuffle"], "modality_projection.proj.weight", 1 / math.Sqrt(3*24)},
		{smallProjectors["conv"], "pool.weight", 1 / math.Sqrt(3*24)},
		{smallProjectors["pooler"], "conv_pool.weight", 1 / math.Sqrt(3*24)},
	} {
		values := values(t, openModel(t, smallRecipe(t, c.p), OpenOptions{Seed: 3}))[projectorPrefix+c.name]
		sum := 0.
		for _, x := range values {
			sum += float64(x) * float64(x)
		}
		got := math.Sqrt(sum / float64(len(values)))
		if len(values) == 0 || math.Abs(got-c.deviation) > 0.25*c.deviation {
			t.Errorf("%s: %d values of deviation %v, want %v", c.name, len(values), got, c.deviation)
		}
	}
	for _, x := range values(t, openModel(t, smallRecipe(t, ones), OpenOptions{Seed: 3}))[projectorPrefix+
		"perceiver_resampler.latents"] {
		if x != 1 {
			t.Fatalf("latents of Idefics2 start as %v", x)
		}
	}
}

// Adapters stand on every linear map of a connector, and merging them keeps what the model computes.
func TestAdaptersOfConnectors(t *testing.T) {
	for name, want := range map[string]int{
		"linear": 1, "mlp1x_res2x_gelu": 5,
		"qformer":  3*(4+2) + 2*4 + 1, // attention and MLP of three layers, attention to the features in two
		"flamingo": 2*5 + 1, "flamingo, then": 2*5 + 2, "idefics": 2*6 + 1, "idefics2": 2*7 + 3,
		"pixel shuffle": 1, "pixel shuffle, mlp": 2, "average": 2, "conv": 2, "pooler": 1,
	} {
		m := openModel(t, smallRecipe(t, smallProjectors[name]), OpenOptions{Seed: 1, Trains: everything,
			LoRA: map[string]recipes.LoRA{recipes.PartProjector: {R: 2, Alpha: 4, Dropout: 0.1, Targets: "."}}})
		adapted := m.Adapted(recipes.PartProjector)
		if len(adapted) != want {
			t.Errorf("%s: %d adapters, want %d", name, len(adapted), want)
		}
		for _, linear := range adapted {
			if _, ok := m.Params.Get(linear.Name() + ".lora_B.weight"); !ok ||
				!strings.HasPrefix(linear.Name()+".", projectorPrefix) {
				t.Errorf("%s: no adapter of %s", name, linear.Name())
			}
		}
		do(t, func(s *torch.Scope) {
			for _, p := range m.Params.All() {
				if p.Adapter {
					p.Init = normal(0.1)
					p.Initialise(s, 5)
				}
			}
			x := torch.Empty(s, []int64{2 * 16, 6}, torch.Float32, torch.CPU)
			x.FillNormal(1, 1)
			m.Projector.Forward(s, x, nn.DropoutKeys{Keys: []uint64{1, 2}})
		})
		if moved, err := m.Merge(); err != nil {
			t.Errorf("%s: merging moves the logits by %v: %v", name, moved, err)
		}
	}
}

// In bf16 every type computes what it computes in fp32, up to bf16's three digits, and has gradients.
func TestProjectorsComputeInBF16(t *testing.T) {
	for name, p := range smallProjectors {
		r := smallRecipe(t, p)
		exact := openModel(t, r, OpenOptions{Seed: 1})
		m := openModel(t, r, OpenOptions{Seed: 1, Dtype: torch.BFloat16, Trains: everything})
		do(t, func(s *torch.Scope) {
			x := torch.Empty(s, []int64{2 * 16, 6}, torch.Float32, torch.CPU)
			x.FillNormal(1, 1)
			want := torch.Read[float32](exact.Projector.Forward(s, x, nn.DropoutKeys{}))
			out := m.Projector.Forward(s, torch.To(s, x, torch.BFloat16), nn.DropoutKeys{})
			got := torch.Read[float32](torch.To(s, out, torch.Float32))
			if d := largestDifference(got, want); !(d <= 0.04*max(1, largest(want))) {
				t.Errorf("%s: bf16 differs by %v, where values reach %v", name, d, largest(want))
			}
			torch.Backward(out, torch.Ones(s, out.Shape(), torch.BFloat16, torch.CPU))
			for _, g := range m.Params.Groups() {
				grad := torch.Read[float32](torch.To(s, g.Grad, torch.Float32))
				if g.Part == recipes.PartProjector && largestFinite(grad) == 0 {
					t.Errorf("%s: gradients are zero or not finite", name)
				}
			}
		})
	}
}

// largestFinite is the largest absolute value; 0 if one is not finite.
func largestFinite(values []float32) float64 {
	for _, x := range values {
		if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
			return 0
		}
	}
	return largest(values)
}
