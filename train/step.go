package train

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/train/input"
	"github.com/llavatrain/llavatrain/train/score"
)

// ErrDiverged means that the loss or the gradient was not finite in several steps on end.
var ErrDiverged = errors.New("training diverged")

// patience is how many steps on end may have a loss or gradient that is not finite.
const patience = 5

// sums adds up what the micro-batches of a step lost.
type sums struct {
	loss            float64
	image, text     float64 // summed token losses of samples with an image, and without
	images, texts   int     // supervised tokens of each
	supervised, all int     // supervised tokens and positions
	pictures        int
	samples         int
}

// microLosses are the losses of one micro-batch's supervised tokens, [N] fp32.
type microLosses struct {
	batch  data.Batch
	each   *torch.Later
	weight float64
}

// flight is a step that was queued. A card may not have come to it yet: its numbers are read when the next step is queued, too, so that the
// card never waits for the host.
type flight struct {
	step         data.Step
	wait         time.Duration // for its data
	losses       []microLosses
	squares      *torch.Later  // [1] fp64: of the gradient; nil where nothing is supervised
	doubt        *torch.Tensor // [1] fp64, owned: NaN where a loss is not finite, else 0; until the update
	begins, ends *torch.Mark
}

func (f *flight) free() {
	if f == nil {
		return
	}
	for _, micro := range f.losses {
		micro.each.Free()
	}
	f.squares.Free()
	f.begins.Free()
	f.ends.Free()
	if f.doubt != nil {
		f.doubt.Free()
	}
}

// landed is a step with its numbers.
type landed struct {
	runs.Metrics
	step data.Step
}

// advance queues a step, whose data came after a wait, and returns the one before where that was still in flight, else nil. Weights are
// untouched when the loss or the gradient is not finite. An error of the step before comes with it.
func (t *trainer) advance(st data.Step, wait time.Duration) (*landed, error) {
	next := &flight{step: st, wait: wait}
	if err := t.pass(next); err != nil {
		next.free()
		return nil, err
	}
	before, err := t.land() // in time for its update to be counted
	if err != nil {
		next.free()
		return before, err
	}
	t.flight = next
	if err := torch.Do(func(s *torch.Scope) { t.apply(s, next) }); err != nil {
		return before, fmt.Errorf("step %d: %w", st.Number+1, err)
	}
	t.stopwatch().Lap("optimizer")
	return before, nil
}

// lands says whether a step is waited for at once: without a card there is nothing to keep busy, and a profile needs the whole of its last.
func (t *trainer) lands() bool { return t.plan.device == torch.CPU || t.profile.Ending() }

// step takes a step and waits for its numbers.
func (t *trainer) step(st data.Step) (runs.Metrics, error) {
	if _, err := t.advance(st, 0); err != nil {
		return runs.Metrics{}, err
	}
	now, err := t.land()
	if now == nil {
		return runs.Metrics{}, err
	}
	return now.Metrics, err
}

// pass queues the micro-batches of a step.
func (t *trainer) pass(f *flight) error {
	total, micros := supervised(f.step.Micro)
	t.stopwatch().Start()
	if err := torch.Do(func(*torch.Scope) { f.begins = torch.MarkTime(t.plan.device) }); err != nil {
		return fmt.Errorf("step %d: %w", f.step.Number+1, err)
	}
	for _, batch := range f.step.Micro {
		if len(batch.Supervised) == 0 {
			continue
		}
		weight, draws := t.plan.average.Weight(len(batch.Supervised), total, micros), draws(t.recipe.Seed, f.step.Number, batch.Places)
		if err := torch.Do(func(s *torch.Scope) { t.microBatch(s, batch, weight, draws, f) }); err != nil {
			return fmt.Errorf("step %d, samples %s: %w", f.step.Number+1, strings.Join(batch.Samples, ", "), err)
		}
	}
	return nil
}

// land waits for the step in flight and returns it with its numbers, nil where there is none.
func (t *trainer) land() (*landed, error) {
	f := t.flight
	if f == nil {
		return nil, nil
	}
	t.flight = nil
	defer f.free()
	var sum sums
	squares, took := 0.0, time.Duration(0)
	if err := torch.Do(func(*torch.Scope) {
		took = f.begins.Until(f.ends)
		for _, micro := range f.losses {
			sum.add(micro.batch, torch.Values[float32](micro.each), micro.weight)
		}
		if f.squares != nil {
			squares = torch.Values[float64](f.squares)[0]
		}
	}); err != nil {
		return nil, fmt.Errorf("step %d: %w", f.step.Number+1, err)
	}
	now := &landed{t.metrics(f.step, sum), f.step}
	now.GradNorm = runs.Number(math.Sqrt(squares))
	timed(&now.Metrics, f.wait, took, peakMemory(t.plan.device))
	return now, t.judge(now.Metrics, f.step)
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
func (t *trainer) microBatch(s *torch.Scope, b data.Batch, weight float64, draws []uint64, f *flight) {
	t.largest = t.largest.larger(loadOf(b))
	in := input.Input(b)
	in.Recompute, in.Draws, in.Mark = t.plan.recompute, draws, t.stopwatch().Lap
	pass, total, each := score.TokenLosses(s, t.model, b, in, t.model.Language.Head().Tensor())
	t.stopwatch().Lap("head and loss")
	pass.Backward(s, torch.Scale(s, total, weight))
	t.stopwatch().Lap("backward")
	f.losses = append(f.losses, microLosses{b, torch.ReadLater(each), weight})
	if f.doubt == nil {
		f.doubt = torch.Own(torch.Zeros(s, []int64{1}, torch.Float64, each.Device()))
	}
	torch.Spoil(f.doubt, each)
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

func (t *trainer) metrics(st data.Step, sum sums) runs.Metrics {
	m := runs.Metrics{
		Step: st.Number + 1, Epoch: runs.Number(st.Epoch), Loss: runs.Number(sum.loss), LossBy: map[string]runs.Number{}, LR: t.rates(st.Number),
		SupervisedTokens: sum.supervised, Tokens: sum.all, Images: sum.pictures, Samples: sum.samples, Skipped: len(st.Skipped),
	}
	if sum.images > 0 {
		m.LossBy["image"] = runs.Number(sum.image / float64(sum.images))
	}
	if sum.texts > 0 {
		m.LossBy["text"] = runs.Number(sum.text / float64(sum.texts))
	}
	return m
}

// apply queues the update, which the device itself leaves out where the step is not sound. The gradients are cleared in any case.
func (t *trainer) apply(s *torch.Scope, f *flight) {
	defer func() { f.ends = torch.MarkTime(t.plan.device) }()
	if len(f.losses) == 0 {
		return // every sample was left out: there is nothing to learn from
	}
	squares := t.optimizer.squares(s)
	f.squares = torch.ReadLater(squares)
	torch.Spoil(squares, f.doubt)
	f.doubt.Free()
	t.optimizer.update(t.rates(f.step.Number), squares)
}

// rates are the parts' learning rates in a step, counted from 0.
func (t *trainer) rates(step int) map[string]runs.Number {
	share, rates := t.plan.schedule(step), map[string]runs.Number{}
	for part, settings := range t.plan.stage.Train {
		rates[part] = runs.Number(settings.LR * share)
	}
	return rates
}

func sound(m runs.Metrics) bool {
	finite := func(n runs.Number) bool { return !math.IsNaN(float64(n)) && !math.IsInf(float64(n), 0) }
	return finite(m.Loss) && finite(m.GradNorm)
}

// judge counts steps that were not applied and gives up after too many on end.
func (t *trainer) judge(m runs.Metrics, st data.Step) error {
	if sound(m) {
		t.unsound = 0
		return nil
	}
	t.unsound++
	t.optimizer.updates-- // the device left the weights as they were
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
