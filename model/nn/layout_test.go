package nn

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/model/torch/torchtest"
)

// layered declares layers of matrices and norms between an embedding and a head.
func layered(layers int, in, out int64) *Params {
	ps := NewParams()
	root := ps.Root("language", "model.")
	NewEmbedding(root.Sub("embed"), 40, in, Init{"normal", 0.5})
	for i := range layers {
		layer := root.Layer("layers", i)
		NewRMSNorm(layer.Sub("norm"), in, 1e-5)
		NewLinear(layer.Sub("up"), in, out, true, LinearInit(in))
		NewLinear(layer.Sub("down"), out, in, false, LinearInit(out))
	}
	NewLinear(root.Sub("head"), in, 40, false, Init{"normal", 0.1})
	return ps
}

// requireSlots wants that a layer's gradient lies elsewhere than that of the layer before, and all others in a place of
// their own.
func requireSlots(t *rapid.T, g *Group) {
	if g.GradientsSharded() != (g.Grad == nil) {
		t.Fatalf("gradients are sharded: %t, and have a buffer for all: %t", g.GradientsSharded(), g.Grad != nil)
	}
	users := map[int]int{}
	for i, b := range g.Buckets {
		if i > 0 && b.Slot == g.Buckets[i-1].Slot && g.Decay {
			t.Fatalf("buckets %d and %d share a slot", i-1, i)
		}
		if users[b.Slot]++; users[b.Slot] > 1 && b.Layer < 0 {
			t.Fatalf("bucket %d of %v shares its slot", i, g.Buckets)
		}
		if g.GradientsSharded() && (b.Slot >= len(g.Slots()) || len(g.Slots()) > 4) {
			t.Fatalf("bucket %d is in slot %d of %d", i, b.Slot, len(g.Slots()))
		}
	}
	for _, p := range g.Params { // a gradient lies in one piece
		at, place := g.gradientAt(p.offset)
		last, end := g.gradientAt(p.offset + p.Elements() - 1)
		if at != last || end-place != p.Elements()-1 {
			t.Fatalf("the gradient of %s is in pieces", p.Name)
		}
	}
}

// On any number of processes each element of a matrix is in one bucket, in one process's span and in one piece of its
// parameter; norms and biases are whole.
func TestSpansCoverTheParametersOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		world := rapid.IntRange(2, 9).Draw(rt, "world")
		zero := Zero(rapid.IntRange(1, 3).Draw(rt, "zero"))
		layers, in, out := rapid.IntRange(0, 4).Draw(rt, "layers"), rapid.Int64Range(1, 40).Draw(rt, "in"),
			rapid.Int64Range(1, 70).Draw(rt, "out")
		owners := map[string][]int{} // by parameter and element
		for rank := range world {
			ps := layered(layers, in, out)
			ps.Select(all)
			layout := Layout{Rank: rank, World: world, Zero: zero, Walked: "language"}
			if err := ps.Place(torch.CPU, torch.BFloat16, layout); err != nil {
				rt.Fatal(err)
			}
			for _, g := range ps.Groups() {
				requireSlots(rt, g)
				next := int64(0)
				for _, b := range g.Buckets {
					if b.First != next || b.Elements <= 0 || g.Decay && b.Elements%int64(spanUnit*world) != 0 {
						rt.Fatalf("buckets %v", g.Buckets)
					}
					next += b.Elements
				}
				whole := g.Data.Elements()
				if g.WeightsSharded() {
					whole *= int64(world)
				}
				if next != whole || g.Remainder.Elements() != g.Kept() || g.Sharded() != g.Decay {
					rt.Fatalf("buckets end at %d of %d; %d remainders of %d", next, whole,
						g.Remainder.Elements(), g.Kept())
				}
			}
			for _, p := range ps.All() {
				if owners[p.Name] == nil {
					owners[p.Name] = make([]int, p.Elements())
				}
				for _, piece := range p.Pieces() {
					for i := range piece.Elements {
						owners[p.Name][piece.First+i]++
					}
				}
			}
			ps.Free()
		}
		for name, counts := range owners {
			for i, n := range counts {
				want := 1
				if !decays(name) {
					want = world
				}
				if n != want {
					rt.Fatalf("element %d of %s has %d owners, want %d", i, name, n, want)
				}
			}
		}
	})
}

func decays(name string) bool {
	p, _ := layered(9, 1, 1).Get(name)
	return !p.Norm && p.Name[len(p.Name)-4:] != "bias"
}

// Buckets from CompleteFrom on hold nothing of an earlier layer or of the embedding, and those before hold something.
func TestCompleteFrom(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		world, layers := rapid.IntRange(2, 4).Draw(rt, "world"), rapid.IntRange(1, 5).Draw(rt, "layers")
		ps := layered(layers, 40, rapid.Int64Range(1, 90).Draw(rt, "out"))
		ps.Select(all)
		if err := ps.Place(torch.CPU, torch.Float32, Layout{World: world}); err != nil {
			rt.Fatal(err)
		}
		defer ps.Free()
		g := ps.Groups()[0] // embedding, matrices of layers, head
		for layer := range layers {
			first := get(t, ps, fmt.Sprintf("model.layers.%d.up.weight", layer)).offset
			for i, b := range g.Buckets {
				if complete := i >= g.CompleteFrom(layer); complete != (b.First >= first) {
					rt.Fatalf("layer %d from %d: bucket %v is complete: %t", layer, first, b, complete)
				}
			}
		}
		if n := g.CompleteFrom(layers); n != len(g.Buckets) {
			rt.Fatalf("of no layer, but from %d of %d", n, len(g.Buckets))
		}
	})
}

// A process alone has the buffers that it had before there were several.
func TestAloneNothingIsPadded(t *testing.T) {
	ps := layered(2, 3, 5)
	place(t, ps, torch.Float32, all)
	for _, g := range ps.Groups() {
		if g.Data.Elements() != g.Elements() || g.Buckets != nil || g.Sharded() ||
			!cmp.Equal(g.Spans(), []Span{{Elements: g.Elements()}}) {
			t.Errorf("%d elements for %d; buckets %v, spans %v", g.Data.Elements(), g.Elements(), g.Buckets, g.Spans())
		}
	}
}

// The pieces that processes keep of a bf16 parameter's fp32 value are the value that was loaded.
func TestPiecesKeepTheExactValue(t *testing.T) {
	torchtest.NoLeaks(t)
	const world = 3
	got := map[string][]float32{}
	var want map[string][]float32
	for rank := range world {
		ps := layered(2, 13, 31)
		ps.Select(all)
		if err := ps.Place(torch.CPU, torch.BFloat16, Layout{Rank: rank, World: world, Zero: States}); err != nil {
			t.Fatal(err)
		}
		want = map[string][]float32{}
		do(t, func(s *torch.Scope) {
			for _, p := range ps.All() {
				p.Initialise(s, 7)
				want[p.Name] = torch.Read[float32](p.Initial(s, 7))
				if got[p.Name] == nil {
					got[p.Name] = make([]float32, p.Elements())
				}
				for _, piece := range p.Pieces() {
					copy(got[p.Name][piece.First:], torch.Read[float32](p.PieceValue(s, piece)))
				}
			}
		})
		do(t, func(s *torch.Scope) { valuesFromMasters(t, s, ps) })
		ps.Free()
	}
	for name := range want {
		for i := range want[name] {
			if got[name][i] != want[name][i] {
				t.Fatalf("element %d of %s is %v, want %v", i, name, got[name][i], want[name][i])
			}
		}
	}
}

// valuesFromMasters checks that a parameter in pieces has its value from where all of it can be read.
func valuesFromMasters(t *testing.T, s *torch.Scope, ps *Params) {
	p := get(t, ps, "model.layers.1.up.weight")
	third := torch.Scale(s, torch.Ones(s, p.Shape, torch.Float32, torch.CPU), 1./3)
	ps.ReadMasters(func(name string) ([]byte, error) {
		if name != p.Name {
			return nil, fmt.Errorf("asked for %s", name)
		}
		return third.Bytes(), nil
	})
	if v := value(s, p)[0]; v != float32(1./3) {
		t.Errorf("value %v", v)
	}
	norm := get(t, ps, "model.layers.1.norm.weight")
	if v := value(s, norm)[0]; v != 1 {
		t.Errorf("a norm's value is %v", v)
	}
}

// Where weights are divided each process keeps its slices, and those of all together are the layer that layers see. Of
// layers there is memory for two, beside the slices; what does not train is divided too.
func TestWeightsAreGathered(t *testing.T) {
	torchtest.NoLeaks(t)
	const world, layers, in, out = 3, 5, 24, 40
	for _, dtype := range []torch.Dtype{torch.Float32, torch.BFloat16} {
		for _, trains := range []func(*Param) bool{all, func(p *Param) bool { return p.Name == "model.head.weight" }} {
			requireGathered(t, world, dtype, func() *Params {
				ps := layered(layers, in, out)
				ps.Select(trains)
				return ps
			})
		}
	}
}

func requireGathered(t *testing.T, world int, dtype torch.Dtype, declare func() *Params) {
	t.Helper()
	placed := func(layout Layout) *Params {
		ps := declare()
		if err := ps.Place(torch.CPU, dtype, layout); err != nil {
			t.Fatal(err)
		}
		return ps
	}
	alone := placed(Layout{})
	defer alone.Free()
	var list []*Params
	for rank := range world {
		ps := placed(Layout{rank, world, Weights, "language"})
		defer ps.Free()
		list = append(list, ps)
	}
	err := torch.Do(func(s *torch.Scope) {
		for _, ps := range append(list, alone) {
			for _, p := range ps.All() {
				p.Initialise(s, 7)
			}
		}
		for k, g := range list[0].Walked() {
			largest := int64(0)
			for _, b := range g.Buckets {
				largest = max(largest, b.Elements)
			}
			if all := g.gathered[0].Elements() + g.gathered[1].Elements(); all > 2*largest {
				t.Errorf("layers lie in %d elements, the largest has %d", all, largest)
			}
			for i, b := range g.Buckets {
				var parts []*torch.Tensor
				for _, ps := range list {
					other := ps.Walked()[k]
					parts = append(parts, other.OwnWeights(s, other.Spans()[i]))
				}
				g.Gathered(s, b).Copy(torch.Cat(s, 0, parts...))
				for _, p := range g.Params {
					if p.offset < b.First || p.offset >= b.First+b.Elements {
						continue
					}
					want, _ := alone.Get(p.Name)
					if !slices.Equal(p.Tensor().Bytes(), want.Tensor().Bytes()) {
						t.Errorf("%s, %v: not what was loaded", p.Name, dtype)
					}
				}
			}
		}
	})
	if err != nil {
		t.Error(err)
	}
}
