package train

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"testing"

	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/loss"
	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/model/torch/torchtest"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs"
)

// openTiny is a trainer of a tiny model with random weights, and samples for it.
func openTiny(t *testing.T, stage, samples int) (*trainer, []data.Sample) {
	t.Helper()
	torchtest.NoLeaks(t)
	b := Bench{Shape: "tiny", Stage: stage, Batch: samples, Steps: 1, Threads: 1, Device: "cpu", Dtype: "fp32"}
	tr, err := b.open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tr.close)
	rows, err := b.rows()
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(3, 3))
	var list []data.Sample
	for _, row := range rows[:samples] {
		list = append(list, b.sample(row, tr.model.Tower.Describe(), int32(tr.model.Language.Describe().VocabSize), random))
	}
	return tr, list
}

func collate(t *testing.T, tr *trainer, groups [][]data.Sample) []data.Batch {
	t.Helper()
	var batches []data.Batch
	for _, g := range groups {
		b, err := data.Collate(g, int(tr.model.Tower.Describe().Tokens), func(n int) []uint8 { return make([]uint8, n) })
		if err != nil {
			t.Fatal(err)
		}
		batches = append(batches, b)
	}
	return batches
}

// gradients are those of one optimizer step's samples, cut into the given micro-batches; the buffers are cleared afterwards.
func gradients(t *testing.T, tr *trainer, groups [][]data.Sample) [][]float32 {
	t.Helper()
	batches := collate(t, tr, groups)
	total, micros := supervised(batches)
	f := &flight{}
	defer f.free()
	var all [][]float32
	for _, b := range batches {
		if err := torch.Do(func(s *torch.Scope) {
			tr.microBatch(s, b, tr.plan.average.Weight(len(b.Supervised), total, micros), draws(1, 0, b.Places), f)
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := torch.Do(func(*torch.Scope) {
		for _, g := range tr.optimizer.groups {
			all = append(all, torch.Read[float32](g.Grad))
		}
		tr.optimizer.zero()
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// With token_mean, how a step is cut into micro-batches does not change its gradient.
func TestGradientDoesNotDependOnMicroBatches(t *testing.T) {
	const tolerance = 1e-5 // relative, over each flat buffer
	for _, stage := range []int{1, 2} {
		tr, samples := openTiny(t, stage, 8)
		want := gradients(t, tr, data.Split(samples, 8))
		for name, groups := range map[string][][]data.Sample{
			"4 x 2": data.Split(samples, 4), "1 x 8": data.Split(samples, 1), "256 positions": data.SplitTokens(samples, 256),
		} {
			for i, got := range gradients(t, tr, groups) {
				if difference := distance(got, want[i]); difference > tolerance {
					t.Errorf("stage %d, %s: the gradient differs by %.2g relative", stage, name, difference)
				}
			}
		}
	}
}

// distance is |a-b| / |b|.
func distance(a, b []float32) float64 {
	var difference, norm float64
	for i := range a {
		d := float64(a[i]) - float64(b[i])
		difference += d * d
		norm += float64(b[i]) * float64(b[i])
	}
	return math.Sqrt(difference / norm)
}

// micro_mean weighs micro-batches, not tokens: cutting a step otherwise is another objective, as in the original.
func TestMicroMeanDependsOnMicroBatches(t *testing.T) {
	tr, samples := openTiny(t, 2, 8)
	var err error
	if tr.plan.average, err = loss.OpenAverage("micro_mean"); err != nil {
		t.Fatal(err)
	}
	whole, cut := gradients(t, tr, data.Split(samples, 8)), gradients(t, tr, data.Split(samples, 2))
	if distance(cut[0], whole[0]) < 1e-3 {
		t.Error("micro_mean gives the gradient of token_mean")
	}
}

// A frozen part keeps every bit, has no gradient and no optimizer state; a part that trains changes.
func TestFrozenWeightsStay(t *testing.T) {
	for _, parts := range [][]string{{recipes.PartProjector}, {recipes.PartProjector, recipes.PartLanguage}, {recipes.PartLanguage}, {"vision"}, {"vision", recipes.PartProjector, recipes.PartLanguage}} {
		torchtest.NoLeaks(t)
		b := Bench{Shape: "tiny", Stage: 2, Batch: 4, Steps: 3, Threads: 1, Device: "cpu", Dtype: "fp32"}
		tr, err := b.openParts(partsOf(parts))
		if err != nil {
			t.Fatal(err)
		}
		rows, _ := b.rows()
		before := snapshot(t, tr)
		random := rand.New(rand.NewPCG(1, 1))
		for i := range 3 {
			st, err := b.step(i, rows, tr, random)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := tr.step(st); err != nil {
				t.Fatal(err)
			}
		}
		after := snapshot(t, tr)
		changed := map[string]int{}
		for _, p := range tr.model.Params.All() {
			trains := slices.Contains(parts, p.Part)
			if !bytes.Equal(before[p.Name], after[p.Name]) {
				if changed[p.Part]++; !trains {
					t.Errorf("training %v changed %s", parts, p.Name)
				}
			}
			if trains != p.Trainable || trains != hasGradient(t, p) {
				t.Errorf("training %v: %s trainable %v, has a gradient %v", parts, p.Name, p.Trainable, hasGradient(t, p))
			}
		}
		for _, part := range parts {
			if changed[part] == 0 {
				t.Errorf("training %v left %s as it was", parts, part)
			}
		}
		for _, g := range tr.optimizer.groups {
			if !slices.Contains(parts, g.Part) {
				t.Errorf("training %v: the optimizer holds state of %s", parts, g.Part)
			}
		}
		tr.close()
	}
}

// A card is asked for the next step before the numbers of the last are read. That changes no weight, no metric and no count of updates,
// also where a step is not sound.
func TestStepsInFlight(t *testing.T) {
	const steps, unsound = 5, 2
	var weights [2]map[string][]byte
	var metrics [2][]runs.Metrics
	for i, overlapped := range []bool{false, true} {
		tr, samples := openTiny(t, 2, 2*steps)
		take := func(now *landed, err error) {
			if err != nil {
				t.Fatal(err)
			}
			if now != nil {
				now.StepMS, now.DataWaitMS, now.TokensPerS, now.PeakMemoryBytes = 0, 0, 0, 0
				metrics[i] = append(metrics[i], now.Metrics)
			}
		}
		for n := range steps {
			if n == unsound {
				if err := torch.Do(func(s *torch.Scope) {
					grad := tr.optimizer.groups[0].Grad
					grad.Copy(torch.Scale(s, torch.Ones(s, []int64{1}, torch.Float32, torch.CPU), math.NaN()))
				}); err != nil {
					t.Fatal(err)
				}
			}
			take(tr.advance(data.Step{Number: n, Micro: collate(t, tr, data.Split(samples[2*n:2*n+2], 1))}, 0))
			if !overlapped {
				take(tr.land())
			}
		}
		take(tr.land())
		take(tr.land()) // nothing is left
		if tr.optimizer.updates != steps-1 {
			t.Errorf("overlapped %v: %d updates", overlapped, tr.optimizer.updates)
		}
		weights[i] = snapshot(t, tr)
	}
	if !reflect.DeepEqual(weights[0], weights[1]) {
		t.Error("the weights are others")
	}
	if got, want := fmt.Sprint(metrics[1]), fmt.Sprint(metrics[0]); got != want || len(metrics[0]) != steps || !math.IsNaN(float64(metrics[0][unsound].GradNorm)) {
		t.Errorf("metrics\n%v\nwant\n%v", got, want)
	}
}

func partsOf(names []string) map[string]recipes.Part {
	parts := map[string]recipes.Part{}
	for _, name := range names {
		parts[name] = recipes.Part{LR: 1e-3}
	}
	return parts
}

func snapshot(t *testing.T, tr *trainer) map[string][]byte {
	t.Helper()
	values := map[string][]byte{}
	if err := torch.Do(func(*torch.Scope) {
		for _, p := range tr.model.Params.All() {
			values[p.Name] = p.Tensor().Bytes()
		}
	}); err != nil {
		t.Fatal(err)
	}
	return values
}

func hasGradient(t *testing.T, p *nn.Param) (has bool) {
	t.Helper()
	if err := torch.Do(func(s *torch.Scope) { has = torch.Grad(s, p.Tensor()) != nil }); err != nil {
		t.Fatal(err)
	}
	return has
}

// Resident memory does not grow with steps: 200 here, 2,000 in the long suite.
func TestMemoryIsFlat(t *testing.T) {
	const warmUp, slack = 50, 16 << 20
	steps := 200
	if os.Getenv("LLAVATRAIN_LONG") != "" {
		steps = 2000
	}
	tr, _ := openTiny(t, 1, 8)
	b := Bench{Shape: "tiny", Stage: 1, Batch: 8}
	rows, err := b.rows()
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 1))
	live, resident := torch.Live(), int64(0)
	for i := range steps {
		st, err := b.step(i, rows, tr, random)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tr.step(st); err != nil {
			t.Fatal(err)
		}
		if now := torch.Live(); now != live {
			t.Fatalf("step %d left %d tensors behind", i+1, now-live)
		}
		if i == warmUp {
			resident = residentMemory(t)
		}
	}
	if grown := residentMemory(t) - resident; grown > slack {
		t.Errorf("resident memory grew by %d MB over %d steps", grown>>20, steps-warmUp)
	} else {
		t.Logf("resident memory: %d MB, %+d KB over %d steps", resident>>20, grown>>10, steps-warmUp)
	}
}

func residentMemory(t *testing.T) int64 {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	return kilobytes(string(text), "VmRSS:")
}
