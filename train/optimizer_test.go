package train

import (
	"fmt"
	"math"
	"testing"

	"github.com/llavatrain/llavatrain/data"
)

// reference is AdamW as torch.optim.AdamW and torch.nn.utils.clip_grad_norm_ compute it (PyTorch 2.11,
// torch/optim/adamw.py and torch/nn/utils/clip_grad.py), in fp64.
type reference struct{ beta1, beta2, eps, decay, clip float64 }

func (r reference) update(step int, lr float64, decays bool, w, g, m, v []float64, norm float64) {
	scale := 1.0
	if r.clip > 0 {
		scale = min(1, r.clip/(norm+1e-6))
	}
	correction1, correction2 := 1-math.Pow(r.beta1, float64(step)), 1-math.Pow(r.beta2, float64(step))
	for i := range w {
		gradient := g[i] * scale
		if decays {
			w[i] -= lr * r.decay * w[i]
		}
		m[i] = r.beta1*m[i] + (1-r.beta1)*gradient
		v[i] = r.beta2*v[i] + (1-r.beta2)*gradient*gradient
		w[i] -= lr / correction1 * m[i] / (math.Sqrt(v[i]/correction2) + r.eps)
	}
}

func widened(lists [][]float32) (out [][]float64) {
	for _, list := range lists {
		wide := make([]float64, len(list))
		for i, x := range list {
			wide[i] = float64(x)
		}
		out = append(out, wide)
	}
	return out
}

// The recipe's keys of the optimizer and the schedule reach the weights: each row changes one key of the first row, and
// the weights after three steps are those of the reference with that key.
func TestRecipeReachesTheUpdate(t *testing.T) {
	first := reference{beta1: 0.8, beta2: 0.9, eps: 1e-3, decay: 0.3, clip: 0.05}
	changed := func(change func(*reference)) reference {
		r := first
		change(&r)
		return r
	}
	for name, want := range map[string]reference{
		"all":             first,
		"beta1":           changed(func(r *reference) { r.beta1 = 0.5 }),
		"beta2":           changed(func(r *reference) { r.beta2 = 0.5 }),
		"eps":             changed(func(r *reference) { r.eps = 1e-8 }),
		"no decay":        changed(func(r *reference) { r.decay = 0 }),
		"no clip":         changed(func(r *reference) { r.clip = 0 }),
		"a clip above it": changed(func(r *reference) { r.clip = 1e6 }),
	} {
		t.Run(name, func(t *testing.T) {
			const total, warmup, lrProjector, lrLanguage = 10, 2, 0.02, 0.01
			tr := openTiny(t, fmt.Sprintf(`
  template: vicuna_v1
  train: {projector: {lr: %g}, language: {lr: %g}}
  batch: {global: 8}
  steps: %d
  schedule: {type: linear, warmup: %d}
  optimizer: {betas: [%g, %g], eps: %g, weight_decay: %g, clip: %g}
`, lrProjector, lrLanguage, total, warmup, want.beta1, want.beta2, want.eps, want.decay, want.clip))
			samples := tinySamples(tr, 1, 8)
			w := widened(parameters(t, tr))
			m, v := make([][]float64, len(w)), make([][]float64, len(w))
			for i := range w {
				m[i], v[i] = make([]float64, len(w[i])), make([]float64, len(w[i]))
			}
			decays := 0
			for n := range 3 {
				step := tinyStep(t, tr, n, samples, 4)
				g := widened(gradients(t, tr, [][]data.Sample{samples[:4], samples[4:]}))
				metrics := takeStep(t, tr, step)
				sum := 0.0
				for _, list := range g {
					for _, x := range list {
						sum += x * x
					}
				}
				norm := math.Sqrt(sum)
				if got := float64(metrics.GradNorm); math.Abs(got-norm)/norm > 1e-5 {
					t.Fatalf("step %d: gradient norm %g, want %g (before clipping)", n+1, got, norm)
				}
				share := min(float64(n)/warmup, 1) // steps 0 and 1 warm up; step 2 has the peak rate
				for i, group := range tr.optimizer.groups {
					lr := map[string]float64{"projector": lrProjector, "language": lrLanguage}[group.Part] * share
					want.update(n+1, lr, group.Decay, w[i], g[i], m[i], v[i], norm)
					if group.Decay {
						decays++
					}
				}
				compareUpdate(t, n, parameters(t, tr), w)
			}
			if decays == 0 || decays == 3*len(tr.optimizer.groups) {
				t.Errorf("%d of %d buffers decay; some must, biases and norms must not",
					decays/3, len(tr.optimizer.groups))
			}
		})
	}
}

// compareUpdate allows for fp32 rounding: the largest difference relative to the largest value of a buffer.
func compareUpdate(t *testing.T, step int, got [][]float32, want [][]float64) {
	t.Helper()
	for i := range got {
		largest, difference := 0.0, 0.0
		for k := range got[i] {
			largest = max(largest, math.Abs(want[i][k]))
			difference = max(difference, math.Abs(float64(got[i][k])-want[i][k]))
		}
		if !(difference <= 2e-6*largest) {
			t.Errorf("step %d, buffer %d: weights differ by %.2g of the largest", step+1, i, difference/largest)
		}
	}
}
