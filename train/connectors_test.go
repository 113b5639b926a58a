package train

import (
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/model/torch"
)

// The numbers in ../../shared/parity-connectors are of the connectors' own codes; its README names the tolerances.
const (
	connectorLoss     = 1e-5 // relative
	connectorGradient = 1e-3 // relative
	connectorCurve    = 2e-4 // relative
)

func TestConnectorsTrainAsRecorded(t *testing.T) {
	set := openConnectorSet(t)
	for _, name := range slices.Sorted(maps.Keys(set.Runs)) {
		t.Run(name, func(t *testing.T) {
			run := set.Runs[name]
			tr, samples := set.open(t, name)
			set.compareStep(t, tr, run, samples, connectorSections[name].names)
			worst, worstNorm := 0., 0.
			for i, want := range run.Stage1.Curve {
				var chosen []data.Sample
				for place, row := range want.Rows {
					s := samples[row]
					s.Place = place
					chosen = append(chosen, s)
				}
				got := takeStep(t, tr, tinyStep(t, tr, i, chosen, 1))
				worst = max(worst, math.Abs(float64(got.Loss)/want.Loss-1))
				worstNorm = max(worstNorm, math.Abs(float64(got.GradNorm)/want.GradNorm-1))
				if lr := float64(got.LR["projector"]); math.Abs(lr-want.LR[0]) > 1e-12 {
					t.Errorf("step %d: rate %v, want %v", i+1, lr, want.LR[0])
				}
			}
			t.Logf("curve: largest relative difference of a loss %.2g, of a gradient norm %.2g", worst, worstNorm)
			if !(worst <= connectorCurve) {
				t.Errorf("a loss of the curve differs by %.2g", worst)
			}
		})
	}
}

// compareStep compares the loss of all rows together, and the norm of each weight's gradient.
func (set *connectorSet) compareStep(t *testing.T, tr *trainer, run connectorRun, samples []data.Sample,
	names *strings.Replacer) {
	t.Helper()
	queued, err := tr.forwardBackward(data.Step{Micro: collate(t, tr, data.Split(samples, 2))})
	if err != nil {
		t.Fatal(err)
	}
	defer queued.free()
	loss, worst, largest := 0., 0., slices.Max(slices.Collect(maps.Values(run.GradNorm)))
	err = torch.Do(func(s *torch.Scope) {
		for _, micro := range queued.losses {
			for _, x := range torch.Values[float32](micro.each) {
				loss += float64(x) * micro.weight
			}
		}
		for _, p := range tr.model.Trainable() {
			recorded := names.Replace(strings.TrimPrefix(p.Name, "model.mm_projector."))
			want, found := run.GradNorm[recorded]
			if !found {
				t.Errorf("no gradient of %s is recorded", recorded)
				continue
			}
			sum := 0.
			for _, x := range torch.Read[float32](p.Gradient(s)) {
				sum += float64(x) * float64(x)
			}
			scale := want
			if strings.HasSuffix(recorded, ".key.bias") { // it has no true gradient
				scale = largest
			}
			difference := math.Abs(math.Sqrt(sum)-want) / scale
			if worst = max(worst, difference); !(difference <= connectorGradient) {
				t.Errorf("gradient norm of %s is %v, want %v", recorded, math.Sqrt(sum), want)
			}
		}
		for _, g := range tr.optimizer.groups {
			g.Grad.Zero()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	difference := math.Abs(loss/run.Loss - 1)
	t.Logf("loss differs by %.2g, gradient norms of %d weights by at most %.2g", difference, len(run.GradNorm), worst)
	if n := len(tr.model.Trainable()); !(difference <= connectorLoss) || n != len(run.GradNorm) {
		t.Errorf("loss %v, want %v; %d weights, want %d", loss, run.Loss, n, len(run.GradNorm))
	}
}
