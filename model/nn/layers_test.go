package nn

import (
	"math"
	"slices"
	"testing"

	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/model/torch/torchtest"
)

func TestLayersComputeWithTheirParameters(t *testing.T) {
	ps := NewParams()
	root := ps.Root("language", "")
	embedding := NewEmbedding(root.Sub("embedding"), 3, 2, Init{})
	linear := NewLinear(root.Sub("linear"), 2, 1, true, Init{})
	plain := NewLinear(root.Sub("plain"), 2, 1, false, Init{})
	rms := NewRMSNorm(root.Sub("rms"), 2, 0)
	layer := NewLayerNorm(root.Sub("layer"), 2, 0)
	place(t, ps, torch.Float32, func(*Param) bool { return false })
	do(t, func(s *torch.Scope) {
		for name, values := range map[string][]float32{
			"embedding.weight": {1, 2, 3, 4, 5, 12}, "linear.weight": {2, 3}, "linear.bias": {10},
			"plain.weight": {2, 3},
			"rms.weight":   {13, 26}, "layer.weight": {2, 3}, "layer.bias": {10, 20},
		} {
			get(t, ps, name).Load(s, words(values...), torch.Float32)
		}
		x := embedding.Forward(s, torch.From(s, []int64{2, 0}, []int64{2}, torch.CPU)) // 5 12 / 1 2
		root := func(square float64) float32 { return float32(math.Sqrt(square)) }
		for name, c := range map[string]struct {
			y    *torch.Tensor
			want []float32
		}{
			"embedding": {x, []float32{5, 12, 1, 2}},
			"linear":    {linear.Forward(s, x, DropoutKeys{}), []float32{56, 18}},
			"plain":     {plain.Forward(s, x, DropoutKeys{}), []float32{46, 8}},
			// rms 13/sqrt(2), sqrt(2.5)
			"rms":   {rms.Forward(s, x), []float32{5 * root(2), 24 * root(2), 13 / root(2.5), 52 / root(2.5)}},
			"layer": {layer.Forward(s, x), []float32{8, 23, 8, 23}},
		} {
			got := torch.Read[float32](c.y)
			for i := range c.want {
				if len(got) != len(c.want) || math.Abs(float64(got[i]-c.want[i])) > 1e-4 {
					t.Fatalf("%s gives %v, want %v", name, got, c.want)
				}
			}
		}
	})
	if linear.Weight() != get(t, ps, "linear.weight") || embedding.Weight() != get(t, ps, "embedding.weight") {
		t.Error("Weight is another parameter")
	}
}

func TestRotaryTableHoldsTheAnglesOfEachPosition(t *testing.T) {
	torchtest.NoLeaks(t)
	const positions, d, theta = 50, 8, 500.0
	r, err := NewRotary(positions, Frequencies(d, theta), torch.CPU)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Free)
	rows := []int64{49, 0, 7, 7}
	do(t, func(s *torch.Scope) {
		cos, sin := r.At(s, torch.From(s, rows, []int64{4}, torch.CPU), torch.Float32)
		if want := []int64{4, 1, d}; !slices.Equal(cos.Shape(), want) || !slices.Equal(sin.Shape(), want) {
			t.Fatalf("shapes %v and %v, want %v", cos.Shape(), sin.Shape(), want)
		}
		gotCos, gotSin := torch.Read[float32](cos), torch.Read[float32](sin)
		for i := range gotCos {
			angle := float64(rows[i/d]) * math.Pow(theta, -2*float64(i%d%(d/2))/d)
			if math.Abs(float64(gotCos[i])-math.Cos(angle)) > 1e-5 ||
				math.Abs(float64(gotSin[i])-math.Sin(angle)) > 1e-5 {
				t.Fatalf("position %d, column %d: %v, %v; want %v, %v", rows[i/d], i%d, gotCos[i], gotSin[i],
					math.Cos(angle), math.Sin(angle))
			}
		}
		if c, _ := r.At(s, torch.From(s, rows, []int64{4}, torch.CPU), torch.BFloat16); c.Dtype() != torch.BFloat16 {
			t.Errorf("asked for bf16, got %v", c.Dtype())
		}
	})
	if err := torch.Do(func(s *torch.Scope) {
		r.At(s, torch.From(s, []int64{positions}, []int64{1}, torch.CPU), torch.Float32)
	}); err == nil {
		t.Error("a position behind the table has no error")
	}
}

// The values are those of torch 2.11: 1.0 / (10000.0 ** (torch.arange(0, 64, 2, dtype=torch.int64).float() / 64)).
func TestFrequenciesAreTorchsToTheBit(t *testing.T) {
	want := []float32{1, 0.749894202, 0.562341332, 0.421696514, 0.316227764, 0.237137362, 0.177827939, 0.133352146,
		0.100000001, 0.0749894157,
		0.0562341288, 0.0421696492, 0.0316227786, 0.0237137359, 0.0177827943, 0.0133352149, 0.00999999978,
		0.00749894232, 0.00562341325,
		0.00421696482, 0.00316227786, 0.00237137382, 0.00177827943, 0.00133352145, 0.00100000005, 0.000749894185,
		0.000562341302,
		0.000421696488, 0.000316227786, 0.000237137385, 0.00017782794, 0.00013335215}
	for i, got := range Frequencies(64, 10000) {
		if got != want[i] {
			t.Errorf("frequency %d is %.9g, want %.9g", i, got, want[i])
		}
	}
}
