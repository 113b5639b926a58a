package train

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"

	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/model/torch"
)

// ErrDiverged means that the loss or the gradient was not finite in several steps on end.
var ErrDiverged = errors.New("training diverged")

// patience is how many steps on end may have a loss or gradient that is not finite.
const patience = 5

// sums collects what the micro-batches of a step lost. Their tokens' losses stay on the device until all micro-batches are queued: to
// read them is to wait for the device.
type sums struct {
	waiting         []microLosses
	loss            float64
	image, text     float64 // summed token losses of samples with an image, and without
	images, texts   int     // supervised tokens of each
	supervised, all int     // supervised tokens and positions
	pictures        int
	samples         int
}

// microLosses are the losses of one micro-batch's supervised tokens.
type microLosses struct {
	batch  data.Batch
	each   *torch.Tensor // [N] fp32, owned
	weight float64
}

// step trains on the samples of one optimizer step and returns its metrics. Weights are untouched when the loss or the gradient is
// not finite.
func (t *trainer) step(st data.Step) (Metrics, error) {
	total, micros := supervised(st.Micro)
	var sum sums
	defer sum.free()
	t.watch.start()
	for _, batch := range st.Micro {
		if len(batch.Supervised) == 0 {
			continue
		}
		weight, draws := t.plan.average.Weight(len(batch.Supervised), total, micros), draws(t.recipe.Seed, st.Number, batch.Places)
		if err := torch.Do(func(s *torch.Scope) { t.microBatch(s, batch, weight, draws, &sum) }); err != nil {
			return Metrics{}, fmt.Errorf("step %d, samples %s: %w", st.Number+1, strings.Join(batch.Samples, ", "), err)
		}
	}
	if err := torch.Do(func(*torch.Scope) { sum.read() }); err != nil {
		return Metrics{}, fmt.Errorf("step %d: %w", st.Number+1, err)
	}
	m := t.metrics(st, sum)
	if err := torch.Do(func(s *torch.Scope) { t.apply(s, &m) }); err != nil {
		return m, fmt.Errorf("step %d: %w", st.Number+1, err)
	}
	t.watch.lap("optimizer")
	return m, t.judge(m, st)
}

// supervised counts the supervised tokens of a step and the micro-batches that have any.
func supervised(batches []data.Batch) (tokens, micros int) {
	for _, b := range batches {
		tokens += len(b.Supervised)
		if len(b.Supervised) > 0 {
			micros++
		}
	}
	return tokens, micros
}

// draws gives each sample of a micro-batch a number for its dropout. It depends on the run's seed, the step, and the sample's place in
// the step, and so neither on how the step is cut nor on where the run was resumed.
func draws(seed uint64, step int, places []int) []uint64 {
	list := make([]uint64, len(places))
	for i, place := range places {
		list[i] = rand.NewPCG(seed, uint64(step)<<32|uint64(place)).Uint64()
	}
	return list
}

// microBatch adds one micro-batch's gradients to the buffers.
func (t *trainer) microBatch(s *torch.Scope, b data.Batch, weight float64, draws []uint64, sum *sums) {
	t.largest = t.largest.larger(load{int64(len(b.IDs)), int64(len(b.Supervised)), int64(len(b.Tiles))})
	in := Input(b)
	in.Recompute, in.Draws, in.Mark = t.plan.recompute, draws, t.watch.lap
	pass, total, each := tokenLosses(s, t.model, b, in, t.model.Language.Head().Tensor())
	t.watch.lap("head and loss")
	pass.Backward(s, torch.Scale(s, total, weight))
	t.watch.lap("backward")
	sum.waiting = append(sum.waiting, microLosses{b, torch.Own(each), weight})
}

// read adds up what the micro-batches lost.
func (sum *sums) read() {
	for _, micro := range sum.waiting {
		sum.add(micro.batch, torch.Read[float32](micro.each), micro.weight)
	}
}

func (sum *sums) free() {
	for _, micro := range sum.waiting {
		micro.each.Free()
	}
}

func (sum *sums) add(b data.Batch, each []float32, weight float64) {
	micro := 0.0
	for i, x := range each {
		micro += float64(x)
		if b.FromImage[i] {
			sum.image += float64(x)
			sum.images++
		} else {
			sum.text += float64(x)
			sum.texts++
		}
	}
	sum.loss += micro * weight
	sum.supervised += len(each)
	sum.all += len(b.IDs)
	sum.pictures += len(b.Tiles)
	sum.samples += len(b.Samples)
}

func (t *trainer) metrics(st data.Step, sum sums) Metrics {
	m := Metrics{
		Step: st.Number + 1, Epoch: Number(st.Epoch), Loss: Number(sum.loss), LossBy: map[string]Number{}, LR: map[string]Number{},
		SupervisedTokens: sum.supervised, Tokens: sum.all, Images: sum.pictures, Samples: sum.samples, Skipped: len(st.Skipped),
	}
	if sum.images > 0 {
		m.LossBy["image"] = Number(sum.image / float64(sum.images))
	}
	if sum.texts > 0 {
		m.LossBy["text"] = Number(sum.text / float64(sum.texts))
	}
	share := t.plan.schedule(st.Number)
	for part, settings := range t.plan.stage.Train {
		m.LR[part] = Number(settings.LR * share)
	}
	return m
}

// apply updates the weights where the step is sound, and clears the gradients.
func (t *trainer) apply(s *torch.Scope, m *Metrics) {
	if m.SupervisedTokens == 0 {
		return // every sample was left out: there is nothing to learn from
	}
	squares := t.optimizer.squares(s)
	m.GradNorm = Number(math.Sqrt(torch.Read[float64](squares)[0]))
	if sound(*m) {
		t.optimizer.update(m.LR, squares)
	} else {
		t.optimizer.zero()
	}
}

func sound(m Metrics) bool {
	finite := func(n Number) bool { return !math.IsNaN(float64(n)) && !math.IsInf(float64(n), 0) }
	return finite(m.Loss) && finite(m.GradNorm)
}

// judge counts steps that were not applied and gives up after too many on end.
func (t *trainer) judge(m Metrics, st data.Step) error {
	if sound(m) {
		t.unsound = 0
		return nil
	}
	t.unsound++
	var names []string
	for _, b := range st.Micro {
		names = append(names, b.Samples...)
	}
	t.report.Say(fmt.Sprintf("step %d: loss %v, gradient norm %v: not applied; samples %s", m.Step, float64(m.Loss), float64(m.GradNorm), strings.Join(names, ", ")))
	if t.unsound < patience {
		return nil
	}
	return fmt.Errorf("%w: loss or gradient not finite in %d steps on end, the last of them step %d with samples %s; the weights are those of step %d. "+
		"Lower the learning rate, or set optimizer.clip", ErrDiverged, t.unsound, m.Step, strings.Join(names, ", "), m.Step-t.unsound)
}
