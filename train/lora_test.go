package train

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
)

// openLoRA opens a trainer of a tiny model whose language model has adapters on some of its linear layers, and whose
// projector trains.
func openLoRA(t *testing.T, dropout float64) *trainer {
	t.Helper()
	return openTiny(t, fmt.Sprintf(`
  template: vicuna_v1
  train:
    projector: {lr: 1e-3}
    language: {lr: 1e-3, lora: {r: 4, alpha: 8, dropout: %g, targets: q_proj|v_proj|down_proj}}
  batch: {global: 8}
  steps: 10
  schedule: {type: constant}
`, dropout))
}

// Only adapters and the projector move; every other weight keeps its bits and has neither gradient nor optimizer state.
func TestLoRALeavesTheWeightsBesideIt(t *testing.T) {
	tr := openLoRA(t, 0.1)
	before, live := snapshot(t, tr), torch.Live()
	for i := range 3 {
		takeStep(t, tr, tinyStep(t, tr, i, tinySamples(tr, uint64(i), 8), 8))
		if now := torch.Live(); now != live {
			t.Fatalf("step %d left %d tensors behind", i+1, now-live)
		}
	}
	after, moved := snapshot(t, tr), map[bool]int{}
	for _, p := range tr.model.Params.All() {
		trains := p.Part == recipes.PartProjector || strings.Contains(p.Name, ".lora_")
		if trains != p.Trainable || trains != hasGradient(t, p) {
			t.Errorf("%s: trainable %v, has a gradient %v", p.Name, p.Trainable, hasGradient(t, p))
		}
		if changed := !bytes.Equal(before[p.Name], after[p.Name]); changed != trains {
			t.Errorf("%s changed: %v", p.Name, changed)
		}
		moved[p.Adapter]++
	}
	for _, g := range tr.optimizer.groups {
		if slices.ContainsFunc(g.Params, func(p *nn.Param) bool {
			return p.Part == recipes.PartLanguage && !p.Adapter
		}) {
			t.Error("the optimizer holds state of a frozen weight")
		}
	}
	if moved[true] == 0 {
		t.Error("there are no adapters")
	}
}

// How a step is cut into micro-batches changes neither the masks nor, but for rounding, the gradient.
func TestDropoutDoesNotDependOnMicroBatches(t *testing.T) {
	tr := openLoRA(t, 0.3)
	if err := torch.Do(func(s *torch.Scope) { // B is zero at first, and A then has no gradient
		for _, p := range tr.model.Trainable() {
			p.Init = nn.Init{Kind: "normal", Scale: 0.1}
			p.Initialise(s, 3)
		}
	}); err != nil {
		t.Fatal(err)
	}
	samples := tinySamples(tr, 3, 8)
	want := gradients(t, tr, data.Split(samples, 8))
	for name, groups := range map[string][][]data.Sample{
		"4 x 2": data.Split(samples, 2), "100 positions": data.SplitTokens(samples, 100),
	} {
		for i, got := range gradients(t, tr, groups) {
			if d := distance(got, want[i]); d > 1e-5 {
				t.Errorf("%s: the gradient differs by %.2g relative", name, d)
			}
		}
	}
	samples[0].Place, samples[1].Place = 1, 0
	if d := distance(gradients(t, tr, data.Split(samples, 8))[0], want[0]); d < 1e-3 {
		t.Error("samples in other places have the same masks")
	}
}

// Existing runs draw by these numbers; seed, step and place all count.
func TestDropoutKeys(t *testing.T) {
	seen := map[uint64]bool{}
	for seed := range uint64(3) {
		for step := range 3 {
			list := dropoutKeys(seed, step, []int{2, 0, 1})
			for _, x := range list {
				seen[x] = true
			}
			again := dropoutKeys(seed, step, []int{0, 1, 2})
			if !slices.Equal([]uint64{list[1], list[2], list[0]}, again) {
				t.Errorf("seed %d, step %d: %v and %v", seed, step, list, again)
			}
		}
	}
	if len(seen) != 27 {
		t.Errorf("%d different draws of 27", len(seen))
	}
	if got, want := dropoutKeys(42, 7, []int{3})[0], uint64(4419550047142166222); got != want {
		t.Errorf("seed 42, step 7, place 3 draws %d, want %d", got, want)
	}
}
