package nn

import (
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/model/torch/torchtest"
)

func do(t *testing.T, f func(s *torch.Scope)) {
	t.Helper()
	if err := torch.Do(f); err != nil {
		t.Fatal(err)
	}
}

// toy declares a little of everything in two parts.
func toy() *Params {
	ps := NewParams()
	language := ps.Root("language", "model.")
	NewEmbedding(language.Sub("embed"), 4, 3, Init{"normal", 0.5})
	for i := range 2 {
		layer := language.Layer("layers", i)
		NewRMSNorm(layer.Sub("norm"), 3, 1e-5)
		NewLinear(layer.Sub("fc"), 3, 2, true, LinearInit(3))
	}
	NewLayerNorm(ps.Root("projector", "").Sub("norm"), 2, 1e-5)
	NewLinear(ps.Root("projector", ""), 2, 3, false, Init{"normal", 0.1})
	return ps
}

// place selects, allocates and later frees.
func place(t *testing.T, ps *Params, dtype torch.Dtype, trains func(p *Param) bool) {
	t.Helper()
	torchtest.NoLeaks(t)
	ps.Select(trains)
	if err := ps.Place(torch.CPU, dtype, Layout{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ps.Free)
}

func all(*Param) bool { return true }

func names(list []*Param) (names []string) {
	for _, p := range list {
		names = append(names, p.Name)
	}
	return names
}

func get(t *testing.T, ps *Params, name string) *Param {
	t.Helper()
	p, ok := ps.Get(name)
	if !ok {
		t.Fatalf("no parameter %s among %v", name, names(ps.All()))
	}
	return p
}

// words is fp32 values as little-endian bytes.
func words(values ...float32) (data []byte) {
	for _, x := range values {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(x))
	}
	return data
}

func value(s *torch.Scope, p *Param) []float32 {
	return torch.Read[float32](torch.To(s, p.Value(s), torch.Float32))
}

func TestParamsKeepTheOrderOfTheirDeclaration(t *testing.T) {
	want := []string{"model.embed.weight",
		"model.layers.0.norm.weight", "model.layers.0.fc.weight", "model.layers.0.fc.bias",
		"model.layers.1.norm.weight", "model.layers.1.fc.weight", "model.layers.1.fc.bias",
		"norm.weight", "norm.bias", "weight"}
	ps := toy()
	if diff := cmp.Diff(want, names(ps.All())); diff != "" {
		t.Error(diff)
	}
	for _, p := range ps.All() {
		if found, ok := ps.Get(p.Name); !ok || found != p {
			t.Errorf("Get(%q) finds another parameter", p.Name)
		}
	}
	if _, ok := ps.Get("model.embed"); ok {
		t.Error("Get finds what was not declared")
	}
}

func TestANameIsDeclaredOnce(t *testing.T) {
	defer func() {
		if text, _ := recover().(string); !strings.Contains(text, "declared twice: model.embed.weight") {
			t.Errorf("a second declaration: %q", text)
		}
	}()
	p := NewParams().Root("language", "model.")
	p.Sub("embed").Param("weight", Init{}, 2)
	p.Param("embed.weight", Init{}, 3)
}

func TestPathsDoNotShareTheirNames(t *testing.T) {
	ps := NewParams()
	deep := ps.Root("language", "").Layer("layers", 0).Sub("attention")
	for _, name := range []string{"q", "k", "v"} {
		defer deep.Sub(name).Param("weight", Init{}, 1) // all made before any is used
	}
	q, k := deep.Sub("q"), deep.Sub("k")
	if a, b := q.Param("bias", Init{}, 1), k.Param("bias", Init{}, 1); a.Name != "layers.0.attention.q.bias" ||
		b.Name != "layers.0.attention.k.bias" {
		t.Errorf("names %q and %q", a.Name, b.Name)
	}
}

// The rule of the original's LLaVATrainer.create_optimizer.
func TestDecayIsOffForNormsAndBiases(t *testing.T) {
	ps := toy()
	ps.Select(func(p *Param) bool { return p.Part == "projector" })
	var decays, trains []string
	for _, p := range ps.All() {
		if p.Decay {
			decays = append(decays, p.Name)
		}
		if p.Trainable {
			trains = append(trains, p.Name)
		}
	}
	if diff := cmp.Diff([]string{"model.embed.weight", "model.layers.0.fc.weight", "model.layers.1.fc.weight",
		"weight"}, decays); diff != "" {
		t.Errorf("decay:\n%s", diff)
	}
	if diff := cmp.Diff([]string{"norm.weight", "norm.bias", "weight"}, trains); diff != "" {
		t.Errorf("train:\n%s", diff)
	}
}

func TestPlaceGroupsByPartAndDecay(t *testing.T) {
	ps := toy()
	place(t, ps, torch.Float32, func(p *Param) bool { return !strings.Contains(p.Name, "layers.1") })
	type group struct {
		Part  string
		Decay bool
		Names []string
	}
	var got []group
	for _, g := range ps.Groups() {
		got = append(got, group{g.Part, g.Decay, names(g.Params)})
		if n := g.Elements(); g.Data.Elements() != n || g.Grad.Elements() != n || g.Remainder != nil {
			t.Errorf("group %v: buffers of %v and %v for %d values", g.Part, g.Data.Shape(), g.Grad.Shape(), n)
		}
	}
	if diff := cmp.Diff([]group{
		{"language", true, []string{"model.embed.weight", "model.layers.0.fc.weight"}},
		{"language", false, []string{"model.layers.0.norm.weight", "model.layers.0.fc.bias"}},
		{"projector", false, []string{"norm.weight", "norm.bias"}},
		{"projector", true, []string{"weight"}},
	}, got); diff != "" {
		t.Error(diff)
	}
	if ps.Device() != torch.CPU || ps.Dtype() != torch.Float32 {
		t.Errorf("placed on %v in %v", ps.Device(), ps.Dtype())
	}
}

func TestTrainableParametersAreViewsOfTheFlatBuffer(t *testing.T) {
	ps := toy()
	place(t, ps, torch.Float32, all)
	do(t, func(s *torch.Scope) {
		group := ps.Groups()[0] // embed [4,3], fc [2,3], fc [2,3]
		fc := get(t, ps, "model.layers.0.fc.weight")
		fc.Load(s, words(1, 2, 3, 4, 5, 6), torch.Float32)
		flat := torch.Read[float32](group.Data)
		if !slices.Equal(flat[12:18], []float32{1, 2, 3, 4, 5, 6}) || !slices.Equal(flat[18:], make([]float32, 6)) {
			t.Errorf("the flat buffer holds %v", flat)
		}
		group.Data.Copy(torch.Ones(s, []int64{24}, torch.Float32, torch.CPU))
		if got := value(s, fc); !slices.Equal(got, []float32{1, 1, 1, 1, 1, 1}) {
			t.Errorf("writing the buffer leaves %v in the parameter", got)
		}
		group.Grad.Copy(torch.From(s, []float32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19,
			20, 21, 22, 23}, []int64{24}, torch.CPU))
		if got := torch.Read[float32](fc.Gradient(s)); !slices.Equal(got, []float32{12, 13, 14, 15, 16, 17}) {
			t.Errorf("the gradient's view holds %v", got)
		}
	})
}

func TestGradientsAddUpInTheFlatBuffer(t *testing.T) {
	for _, dtype := range []torch.Dtype{torch.Float32, torch.BFloat16} {
		t.Run(dtype.String(), func(t *testing.T) {
			ps := NewParams()
			frozen := NewLinear(ps.Root("projector", "frozen."), 2, 2, true, Init{Kind: "ones"})
			linear := NewLinear(ps.Root("language", "trained."), 2, 2, true, Init{Kind: "ones"})
			place(t, ps, dtype, func(p *Param) bool { return p.Part == "language" })
			do(t, func(s *torch.Scope) {
				for _, p := range ps.All() {
					p.Initialise(s, 1)
				}
				x := torch.To(s, torch.From(s, []float32{1, 2}, []int64{1, 2}, torch.CPU), dtype)
				for range 2 {
					y := linear.Forward(s, frozen.Forward(s, x, DropoutKeys{}), DropoutKeys{}) // frozen gives 3, 3
					torch.Backward(y, torch.To(s, torch.From(s, []float32{1, 10}, []int64{1, 2}, torch.CPU), dtype))
				}
				for name, want := range map[string][]float32{"trained.weight": {6, 6, 60, 60},
					"trained.bias": {2, 20}} {
					got := torch.Read[float32](torch.To(s, get(t, ps, name).Gradient(s), torch.Float32))
					if !slices.Equal(got, want) {
						t.Errorf("gradient of %s is %v, want %v", name, got, want)
					}
				}
				if len(ps.Groups()) != 2 {
					t.Errorf("%d groups, want those of the trained part", len(ps.Groups()))
				}
				for _, p := range []*Param{get(t, ps, "frozen.weight"), get(t, ps, "frozen.bias")} {
					if p.Gradient(s) != nil || torch.Grad(s, p.Tensor()) != nil || p.Tensor().RequiresGrad() {
						t.Errorf("%s is frozen and has a gradient", p.Name)
					}
				}
			})
		})
	}
}

func TestATrainableBF16ParameterKeepsFP32Exactly(t *testing.T) {
	ps := toy()
	place(t, ps, torch.BFloat16, func(p *Param) bool { return p.Part == "projector" })
	values := []float32{0.1, -1.0 / 3, 1 + 0x1p-23, 1e-40, -math.MaxFloat32, 0x1.008p0}
	do(t, func(s *torch.Scope) {
		trained, frozen := get(t, ps, "weight"), get(t, ps, "model.layers.0.fc.weight")
		trained.Load(s, words(values...), torch.Float32)
		frozen.Load(s, words(values...), torch.Float32)
		if v := trained.Value(s); v.Dtype() != torch.Float32 || !slices.Equal(torch.Read[float32](v), values) {
			t.Errorf("the value is %v, want %v", torch.Read[float32](v), values)
		}
		if v := frozen.Value(s); v.Dtype() != torch.BFloat16 || slices.Equal(value(s, frozen), values) {
			t.Errorf("a frozen parameter is stored in %v", v.Dtype())
		}
		if trained.Tensor().Dtype() != torch.BFloat16 {
			t.Errorf("layers compute with %v", trained.Tensor().Dtype())
		}
		again := trained.Value(s).Bytes() // Load takes back what Value gives
		trained.Tensor().Zero()
		trained.Load(s, again, torch.Float32)
		if got := value(s, trained); !slices.Equal(got, values) {
			t.Errorf("after another round %v", got)
		}
		if g := trained.group; g.Remainder.Dtype() != torch.Int16 || g.Remainder.Elements() != g.Elements() {
			t.Errorf("remainders: %v %v", g.Remainder.Dtype(), g.Remainder.Shape())
		}
	})
}

func TestLoadConvertsOtherDtypes(t *testing.T) {
	for _, dtype := range []torch.Dtype{torch.Float32, torch.BFloat16} {
		ps := toy()
		place(t, ps, dtype, func(p *Param) bool { return p.Part == "projector" })
		do(t, func(s *torch.Scope) {
			for _, name := range []string{"norm.bias", "model.layers.0.fc.bias"} { // trained and frozen
				p := get(t, ps, name)
				for _, source := range []torch.Dtype{torch.Float64, torch.Float32, torch.Float16, torch.BFloat16} {
					stored := torch.To(s, torch.From(s, []float32{1.5, -0.25}, []int64{2}, torch.CPU), source)
					p.Load(s, stored.Bytes(), source)
					if got := value(s, p); !slices.Equal(got, []float32{1.5, -0.25}) {
						t.Errorf("%v in %v: %v", source, dtype, got)
					}
				}
			}
		})
	}
}

func TestInitialValuesDependOnSeedAndNameAlone(t *testing.T) {
	fill := func(ps *Params, seed uint64, dtype torch.Dtype, trains func(*Param) bool) map[string][]float32 {
		place(t, ps, dtype, trains)
		values := map[string][]float32{}
		do(t, func(s *torch.Scope) {
			for _, p := range ps.All() {
				p.Initialise(s, seed)
				values[p.Name] = value(s, p)
			}
		})
		return values
	}
	first := fill(toy(), 3, torch.Float32, all)
	alone := NewParams() // the same name among others, later
	NewLinear(alone.Root("language", "model.layers.1.").Sub("fc"), 3, 2, true, LinearInit(3))
	for what, second := range map[string]map[string][]float32{
		"again":        fill(toy(), 3, torch.Float32, all),
		"frozen":       fill(toy(), 3, torch.Float32, func(*Param) bool { return false }),
		"bf16 masters": fill(toy(), 3, torch.BFloat16, all), "alone": fill(alone, 3, torch.Float32, all),
	} {
		for name, values := range second {
			if !slices.Equal(values, first[name]) {
				t.Errorf("%s: %s is %v, was %v", what, name, values, first[name])
			}
		}
	}
	other := fill(toy(), 4, torch.Float32, all)
	if slices.Equal(other["weight"], first["weight"]) {
		t.Error("another seed gives the same values")
	}
}

func TestTwoNamesHaveDifferentValues(t *testing.T) {
	for _, init := range []Init{{"normal", 1}, {"uniform", 1}} {
		ps := NewParams()
		first, second := ps.Root("language", "").Param("first", init, 5),
			ps.Root("language", "").Param("second", init, 5)
		place(t, ps, torch.Float32, all)
		do(t, func(s *torch.Scope) {
			first.Initialise(s, 1)
			second.Initialise(s, 1)
			if slices.Equal(value(s, first), value(s, second)) {
				t.Errorf("%s: both are %v", init.Kind, value(s, first))
			}
		})
	}
}

func TestInitialValuesFollowTheirKind(t *testing.T) {
	ps := NewParams()
	p := ps.Root("language", "")
	NewLinear(p.Sub("uniform"), 64, 64, true, LinearInit(64))
	NewLinear(p.Sub("normal"), 64, 64, true, Init{"normal", 0.02})
	NewRMSNorm(p.Sub("rms"), 4, 1e-5)
	NewLayerNorm(p.Sub("layer"), 4, 1e-5)
	place(t, ps, torch.Float32, all)
	do(t, func(s *torch.Scope) {
		statistics := func(name string) (deviation, largest float64) {
			p := get(t, ps, name)
			p.Initialise(s, 1)
			for _, x := range value(s, p) {
				deviation += float64(x) * float64(x) / float64(p.Elements())
				largest = max(largest, math.Abs(float64(x)))
			}
			return math.Sqrt(deviation), largest
		}
		for name, want := range map[string][2]float64{ // deviation, largest
			"uniform.weight": {0.125 / math.Sqrt(3), 0.125}, "uniform.bias": {0.125 / math.Sqrt(3), 0.125},
			"normal.weight": {0.02, 0.1}, "normal.bias": {0, 0},
			"rms.weight": {1, 1}, "layer.weight": {1, 1}, "layer.bias": {0, 0},
		} {
			deviation, largest := statistics(name)
			if math.Abs(deviation-want[0]) > 0.15*want[0] || largest > want[1] {
				t.Errorf("%s: deviation %v and largest %v, want %v", name, deviation, largest, want)
			}
		}
	})
}
