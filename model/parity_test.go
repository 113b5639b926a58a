package model

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/loss"
	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/model/torch/torchtest"
	"github.com/llavatrain/llavatrain/recipes"
)

// The numbers in ../../shared/parity were computed by the original's own code; its README says how. Tolerances are
// that README's.
const (
	forwardTolerance = 1e-4 // absolute
	lossTolerance    = 1e-5 // relative
	normTolerance    = 1e-4 // relative
)

type parity struct {
	dir     string
	forward *checkpoints.Weights
	facts   struct {
		Indices        []int              `json:"indices"`
		LossMicroMean  float64            `json:"loss_micro_mean"`
		LossSum        []float64          `json:"loss_sum"`
		LossCount      []int              `json:"loss_count"`
		Stage2GradNorm map[string]float64 `json:"stage2_grad_norm"`
		SequenceLength []int              `json:"sequence_length"`
		Linear         struct {
			LossMicroMean float64 `json:"loss_micro_mean"`
		} `json:"linear"`
	}
}

func openParity(t *testing.T) *parity {
	t.Helper()
	p := &parity{dir: torchtest.Shared(t, "../../shared/parity")}
	forward, err := checkpoints.Open(filepath.Join(p.dir, "forward.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { forward.Close() })
	p.forward = forward
	text, err := os.ReadFile(filepath.Join(p.dir, "forward.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &p.facts); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *parity) open(t *testing.T, projector string, trains func(part, name string) bool) *LLaVA {
	t.Helper()
	torchtest.NoLeaks(t)
	m, err := Open(recipes.Model{
		Vision: recipes.Vision{Weights: filepath.Join(p.dir, "clip"), SelectLayer: -2, SelectFeature: "patch"},
		Projector: recipes.Projector{Type: map[string]string{"mlp2x": "mlp2x_gelu", "linear": "linear"}[projector],
			Weights: filepath.Join(p.dir, "projector-"+projector+".safetensors")},
		Language: recipes.Language{Weights: filepath.Join(p.dir, "llm")},
	}, OpenOptions{Device: torch.CPU, Dtype: torch.Float32, Trains: trains, Normalization: clipTable()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Free)
	return m
}

// clipTable is the normalised value of each level of each channel, in the reference processor's arithmetic.
func clipTable() []float32 {
	mean := [3]float32{0.48145466, 0.4578275, 0.40821073}
	std := [3]float32{0.26862954, 0.26130258, 0.27577711}
	table := make([]float32, 3*256)
	for c := range 3 {
		for v := range 256 {
			table[c*256+v] = (float32(float64(v)*(1.0/255)) - mean[c]) / std[c]
		}
	}
	return table
}

func (p *parity) floats(t *testing.T, name string) []float32 {
	t.Helper()
	tensor, err := p.forward.Tensor(name)
	if err != nil {
		t.Fatal(err)
	}
	values, err := tensor.Float32s()
	if err != nil {
		t.Fatal(err)
	}
	return values
}

func (p *parity) ints(t *testing.T, name string) []int64 {
	t.Helper()
	tensor, err := p.forward.Tensor(name)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]int64, len(tensor.Data)/8)
	for i := range out {
		for b := range 8 {
			out[i] |= int64(tensor.Data[8*i+b]) << (8 * b)
		}
	}
	return out
}

// patchesOf is how many features the recorded tower gives an image.
func patchesOf(t *testing.T, dir string) int {
	t.Helper()
	vision := recipes.Vision{Weights: filepath.Join(dir, "clip"), SelectLayer: -2, SelectFeature: "patch"}
	tower, err := DescribeTower(vision)
	if err != nil {
		t.Fatal(err)
	}
	return int(tower.Tokens)
}

// batch is the recorded padded batch in the flat layout: at[k] maps flat positions of sample k to columns of the
// padded one.
type batch struct {
	input  Input
	labels []int64  // [T], shifted, -100 where not supervised
	cells  [][2]int // [T] (sample, column) in the padded batch
}

func (p *parity) batch(t *testing.T) batch {
	t.Helper()
	patches := patchesOf(t, p.dir)
	ids, mask := p.ints(t, "input_ids"), p.maskOf(t, "attention_mask")
	spliced, width := p.ints(t, "spliced_labels"), p.width(t, "spliced_labels")
	columns := p.width(t, "input_ids")
	var b batch
	pictures := 0
	for k := range p.facts.Indices {
		b.input.Starts = append(b.input.Starts, int64(len(b.input.IDs)))
		column := 0
		place := func(id int64) {
			b.input.IDs = append(b.input.IDs, id)
			b.input.Positions = append(b.input.Positions, int64(column))
			b.cells = append(b.cells, [2]int{k, column})
			label := int64(-100)
			if column+1 < width {
				label = spliced[k*width+column+1]
			}
			b.labels = append(b.labels, label)
			column++
		}
		hasImage := false
		for c := range columns {
			id := ids[k*columns+c]
			switch {
			case !mask[k*columns+c]:
			case id == -200:
				hasImage = true
				for r := range patches {
					b.input.Slots = append(b.input.Slots, int64(len(b.input.IDs)))
					b.input.Rows = append(b.input.Rows, int64(pictures*patches+r))
					place(0)
				}
			default:
				place(id)
			}
		}
		b.labels[len(b.labels)-1] = -100
		if hasImage {
			b.input.Pixels = append(b.input.Pixels, p.levels(t, k)...)
			pictures++
		}
		if column != p.facts.SequenceLength[k] {
			t.Fatalf("sample %d has %d positions, want %d", k, column, p.facts.SequenceLength[k])
		}
	}
	b.input.Starts = append(b.input.Starts, int64(len(b.input.IDs)))
	return b
}

// levels is the pixel levels of a recorded picture of the batch.
func (p *parity) levels(t *testing.T, sample int) []uint8 {
	images := p.floats(t, "images")
	n := len(images) / len(p.facts.Indices)
	return levels(t, images[sample*n:(sample+1)*n])
}

// levels turns normalised pixels [3,S,S] back into the levels they came from, which must exist exactly.
func levels(t *testing.T, pixels []float32) []uint8 {
	t.Helper()
	table := clipTable()
	back := [3]map[float32]uint8{}
	for c := range back {
		back[c] = map[float32]uint8{}
		for v := range 256 {
			back[c][table[c*256+v]] = uint8(v)
		}
	}
	out := make([]uint8, len(pixels))
	for i, x := range pixels {
		level, ok := back[i/(len(pixels)/3)][x]
		if !ok {
			t.Fatalf("pixel value %v of channel %d is not in the table", x, i/(len(pixels)/3))
		}
		out[i] = level
	}
	return out
}

func (p *parity) maskOf(t *testing.T, name string) []bool {
	tensor, err := p.forward.Tensor(name)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]bool, len(tensor.Data))
	for i, b := range tensor.Data {
		out[i] = b != 0
	}
	return out
}

func (p *parity) width(t *testing.T, name string) int {
	info, ok := p.forward.Info(name)
	if !ok {
		t.Fatalf("no tensor %s", name)
	}
	return int(info.Shape[1])
}

// comparePadded checks flat rows [T,D] against a padded recording [B,L,D].
func (p *parity) comparePadded(t *testing.T, what string, b batch, got []float32, name string) {
	t.Helper()
	want, d, width := p.floats(t, name), len(got)/len(b.cells), p.width(t, name)
	worst := 0.0
	for row, cell := range b.cells {
		for i := range d {
			worst = math.Max(worst, math.Abs(float64(got[row*d+i]-want[(cell[0]*width+cell[1])*d+i])))
		}
	}
	if t.Logf("%s: largest difference %.3g", what, worst); worst > forwardTolerance {
		t.Errorf("%s differs by %g, more than %g", what, worst, forwardTolerance)
	}
}

func compare(t *testing.T, what string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s has %d values, want %d", what, len(got), len(want))
	}
	worst := 0.0
	for i := range got {
		worst = math.Max(worst, math.Abs(float64(got[i]-want[i])))
	}
	if t.Logf("%s: largest difference %.3g", what, worst); !(worst <= forwardTolerance) {
		t.Errorf("%s differs by %g, more than %g", what, worst, forwardTolerance)
	}
}

func relative(got, want float64) float64 { return math.Abs(got-want) / math.Abs(want) }

func do(t *testing.T, f func(s *torch.Scope)) {
	t.Helper()
	if err := torch.Do(f); err != nil {
		t.Fatal(err)
	}
}

func TestTowerAndProjectorMatchTheOriginal(t *testing.T) {
	p := openParity(t)
	for _, projector := range []string{"mlp2x", "linear"} {
		t.Run(projector, func(t *testing.T) {
			m := p.open(t, projector, nil)
			var pixels []uint8
			for k := range p.facts.Indices {
				if k != 2 { // the text-only row, recorded with an all-zero picture that no pixel level gives
					pixels = append(pixels, p.levels(t, k)...)
				}
			}
			withPhoto := func(name string) []float32 {
				all := p.floats(t, name)
				n := len(all) / len(p.facts.Indices)
				return append(append([]float32{}, all[:2*n]...), all[3*n:]...)
			}
			do(t, func(s *torch.Scope) {
				none := nn.DropoutKeys{}
				features := m.Features(s, pixels, none)
				compare(t, "tower features", torch.Read[float32](features), withPhoto("tower_features"))
				name := map[string]string{"mlp2x": "projector_out", "linear": "linear.projector_out"}[projector]
				projected := m.Projector.Forward(s, features, none)
				compare(t, "projector output", torch.Read[float32](projected), withPhoto(name))
			})
		})
	}
}

func TestForwardMatchesTheOriginal(t *testing.T) {
	p := openParity(t)
	m := p.open(t, "mlp2x", nil)
	b := p.batch(t)
	b.input.Recompute = nn.RecomputeLayers // so that the tape keeps each layer's input
	do(t, func(s *torch.Scope) {
		ids := torch.From(s, b.input.IDs, []int64{int64(len(b.input.IDs))}, torch.CPU)
		p.comparePadded(t, "spliced embeddings", b, torch.Read[float32](m.embed(s, ids, b.input)), "inputs_embeds")
		pass := m.Forward(s, b.input)
		p.comparePadded(t, "hidden 1", b, torch.Read[float32](pass.tape.Inputs[1]), "hidden_1")
		p.comparePadded(t, "hidden 2", b, torch.Read[float32](pass.tape.Inputs[2]), "hidden_2")
		p.comparePadded(t, "final hidden", b, torch.Read[float32](pass.Hidden), "final_hidden")
		logits := torch.Read[float32](m.Logits(s, pass.Hidden))
		p.compareLogits(t, b, logits)
	})
}

func (p *parity) compareLogits(t *testing.T, b batch, logits []float32) {
	t.Helper()
	columns, vocabulary := p.ints(t, "logits_cols"), len(logits)/len(b.cells)
	some := make([]float32, 0, len(b.cells)*len(columns))
	sums := make([]float32, 0, len(b.cells))
	for row := range b.cells {
		line := logits[row*vocabulary : (row+1)*vocabulary]
		for _, c := range columns {
			some = append(some, line[c])
		}
		total := 0.0
		for _, x := range line {
			total += math.Exp(float64(x))
		}
		sums = append(sums, float32(math.Log(total)))
	}
	p.comparePadded(t, "logits", b, some, "logits")
	p.comparePadded(t, "logsumexp", b, sums, "logsumexp")
}

// gradients runs one forward and backward of the recorded loss.
func (p *parity) gradients(t *testing.T, m *LLaVA, b batch, recompute bool) (mean float64, each []float32) {
	t.Helper()
	b.input.Recompute = layersAgain[recompute]
	var labels []int64
	b.input.Wanted = nil
	for i, label := range b.labels {
		if label >= 0 {
			b.input.Wanted = append(b.input.Wanted, int64(i))
			labels = append(labels, label)
		}
	}
	do(t, func(s *torch.Scope) {
		pass := m.Forward(s, b.input)
		target := torch.From(s, labels, []int64{int64(len(labels))}, torch.CPU)
		sum, terms := loss.CrossEntropy(s, pass.Hidden, m.Language.Head().Tensor(), target)
		scaled := torch.Scale(s, sum, 1/float64(len(labels)))
		mean, each = float64(torch.Read[float32](scaled)[0]), torch.Read[float32](terms)
		pass.Backward(s, scaled)
	})
	return mean, each
}

func (m *LLaVA) gradientOf(t *testing.T, name string) []float32 {
	t.Helper()
	param, ok := m.Params.Get(name)
	if !ok {
		t.Fatalf("no parameter %s", name)
	}
	var values []float32
	do(t, func(s *torch.Scope) { values = torch.Read[float32](param.Gradient(s)) })
	return values
}

func TestGradientsMatchTheOriginal(t *testing.T) {
	p := openParity(t)
	for _, c := range []struct {
		name, projector, prefix string
		trains                  func(part, name string) bool
	}{
		{"stage 1", "mlp2x", "stage1.grad.", func(part, _ string) bool { return part == recipes.PartProjector }},
		{"stage 2", "mlp2x", "stage2.grad.", func(part, _ string) bool { return part != recipes.PartVision }},
		{"stage 2, linear", "linear", "linear.stage2.grad.",
			func(part, _ string) bool { return part != recipes.PartVision }},
	} {
		for _, recompute := range []bool{false, true} {
			t.Run(c.name, func(t *testing.T) {
				m := p.open(t, c.projector, c.trains)
				mean, each := p.gradients(t, m, p.batch(t), recompute)
				want := p.facts.LossMicroMean
				if c.projector == "linear" {
					want = p.facts.Linear.LossMicroMean
				}
				if relative(mean, want) > lossTolerance {
					t.Errorf("loss %v, want %v", mean, want)
				}
				if n := sumInts(p.facts.LossCount); len(each) != n {
					t.Errorf("%d supervised tokens, want %d", len(each), n)
				}
				p.compareGradients(t, m, c.prefix)
			})
		}
	}
}

func sumInts(list []int) (sum int) {
	for _, x := range list {
		sum += x
	}
	return sum
}

func (p *parity) compareGradients(t *testing.T, m *LLaVA, prefix string) {
	t.Helper()
	compared := 0
	for _, name := range p.forward.Names() {
		if len(name) <= len(prefix) || name[:len(prefix)] != prefix {
			continue
		}
		rest := name[len(prefix):]
		switch {
		case filepath.Ext(rest) == ".rows":
			param := rest[:len(rest)-len(".rows")]
			rows, values := p.ints(t, name), p.floats(t, prefix+param+".values")
			compare(t, param+" (rows)", takeRows(m.gradientOf(t, param), rows, len(values)/len(rows)), values)
		case filepath.Ext(rest) == ".values":
			continue
		default:
			compare(t, rest, m.gradientOf(t, rest), p.floats(t, name))
		}
		compared++
	}
	if compared == 0 {
		t.Fatalf("no recorded gradients under %s", prefix)
	}
	if prefix == "stage2.grad." {
		p.compareNorms(t, m)
	}
}

func takeRows(values []float32, rows []int64, width int) []float32 {
	var out []float32
	for _, r := range rows {
		out = append(out, values[int(r)*width:(int(r)+1)*width]...)
	}
	return out
}

func (p *parity) compareNorms(t *testing.T, m *LLaVA) {
	t.Helper()
	for name, want := range p.facts.Stage2GradNorm {
		if _, ok := m.Params.Get(name); !ok {
			continue // the norm over all of them
		}
		sum := 0.0
		for _, x := range m.gradientOf(t, name) {
			sum += float64(x) * float64(x)
		}
		if got := math.Sqrt(sum); relative(got, want) > normTolerance {
			t.Errorf("gradient norm of %s is %v, want %v", name, got, want)
		}
	}
}

func TestRecomputationGivesTheSameBits(t *testing.T) {
	p := openParity(t)
	var kept [2]map[string][]float32
	for i, recompute := range []bool{false, true} {
		t.Run(map[bool]string{false: "kept", true: "recomputed"}[recompute], func(t *testing.T) {
			m := p.open(t, "mlp2x", func(part, _ string) bool { return part != recipes.PartVision })
			p.gradients(t, m, p.batch(t), recompute)
			kept[i] = map[string][]float32{}
			for _, param := range m.Trainable() {
				kept[i][param.Name] = m.gradientOf(t, param.Name)
			}
		})
	}
	for name, want := range kept[0] {
		for i, x := range kept[1][name] {
			if math.Float32bits(x) != math.Float32bits(want[i]) {
				t.Fatalf("gradient of %s differs at %d: %v and %v", name, i, x, want[i])
			}
		}
	}
}
