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
	"github.com/llavatrain/llavatrain/train/device"
	"github.com/llavatrain/llavatrain/train/input"
	"github.com/llavatrain/llavatrain/train/score"
)

// ErrDiverged means that the loss or the gradient was not finite in several steps in a row.
var ErrDiverged = errors.New("training diverged")

// patience is how many steps in a row may have a loss or gradient that is not finite before the run ends.
const patience = 5

// queuedStep is a step that the device has been given. Its numbers are read when the next step has been queued too, so
// that a GPU never waits for the host.
type queuedStep struct {
	step      data.Step
	wait      time.Duration // for its data
	losses    []microLosses
	nonFinite *torch.Tensor // [1] fp64, owned until the update: NaN if a loss is not finite, else 0
	sums      *torch.Later  // of several processes: see sumsOfAll; nil alone
	squares   *torch.Later  // [1] fp64: the sum of squares of the gradient; nil if nothing was supervised
	slowest   *runs.Slowest
	reduction *reduction // of several processes, once it has begun
	began     *torch.Timestamp
	ended     *torch.Timestamp
}

// microLosses are the losses of one micro-batch's supervised tokens, [N] fp32, and the micro-batch's weight in the
// step's loss. Of several processes, their sums in place of each.
type microLosses struct {
	batch  data.Batch
	each   *torch.Later
	sums   *torch.Tensor // [2] fp64, owned until the update: over tokens of samples with an image, and without
	weight float64
}

// finishedStep is a step with its numbers.
type finishedStep struct {
	runs.Metrics
	step data.Step
}

// trainStep takes one optimizer step and returns the steps whose numbers are known by now, oldest first. On a CPU that
// is this step. On a GPU it is the previous one: this one is only queued. The weights do not change if the loss or the
// gradient is not finite. An error of the previous step is returned by this call. wait is how long the step's data took
// to arrive.
func (t *trainer) trainStep(step data.Step, wait time.Duration) (finished []finishedStep, err error) {
	queued, err := t.forwardBackward(step)
	if err != nil {
		return nil, err
	}
	queued.wait = wait
	// The previous step must finish before this update: AdamW's bias corrections count the updates that were applied.
	if finished, err = t.finishQueued(); err != nil {
		queued.free()
		return finished, err
	}
	t.queued = queued
	if err := t.update(queued); err != nil {
		return finished, err
	}
	t.stopwatch().Lap("optimizer")
	if t.waitsEachStep() {
		this, err := t.finishQueued()
		return append(finished, this...), err
	}
	return finished, nil
}

// waitsEachStep says whether to wait for each step at once: a CPU has nothing else to do, and a profile needs its last
// step complete.
func (t *trainer) waitsEachStep() bool { return t.plan.device == torch.CPU || t.profile.Ending() }

// forwardBackward queues the forward and backward passes of all micro-batches of a step. Their gradients add up in the
// flat buffers.
func (t *trainer) forwardBackward(step data.Step) (*queuedStep, error) {
	queued := &queuedStep{step: step, slowest: t.peers.slowest}
	fail := func(samples string, err error) (*queuedStep, error) {
		queued.free()
		return nil, fmt.Errorf("step %d%s: %w", step.Number+1, samples, err)
	}
	// The loss is the mean over the step's supervised tokens. They are counted before the first backward pass, so that
	// the gradient does not depend on how the step is cut into micro-batches.
	tokens, micros := supervised(step.Sizes())
	t.stopwatch().Start()
	if err := torch.Do(func(*torch.Scope) { queued.began = torch.MarkTime(t.plan.device) }); err != nil {
		return fail("", err)
	}
	rounds := 0
	for i, batch := range step.Micro {
		if len(batch.Supervised) == 0 {
			continue
		}
		rounds++
		t.largest = t.largest.larger(loadOf(batch))
		weight := t.plan.average.Weight(len(batch.Supervised), tokens, micros)
		in := input.Input(batch)
		in.Recompute, in.Lap = t.plan.recompute, t.stopwatch().Lap
		in.DropoutKeys = dropoutKeys(t.recipe.Seed, step.Number, batch.Places)
		err := torch.Do(func(s *torch.Scope) {
			round := t.reductionAfter(queued, i) // nil, or sums that are under way while backward goes on
			visit := t.layers.pass(s, round)
			in.Hooks = visit.hooks()
			head := t.model.Language.Head().Tensor()                            // [V,D]
			pass, total, each := score.TokenLosses(s, t.model, batch, in, head) // [], [N]
			t.stopwatch().Lap("head and loss")
			pass.Backward(s, torch.Scale(s, total, weight))
			visit.endBackward()
			t.stopwatch().Lap("backward")
			queued.losses = append(queued.losses, t.keep(s, batch, each, weight))
			if queued.nonFinite == nil {
				queued.nonFinite = torch.Own(torch.Zeros(s, []int64{1}, torch.Float64, each.Device()))
			}
			torch.NaNIfNotFinite(queued.nonFinite, each)
			if round != nil && round != queued.reduction {
				round.finish(s)
			}
		})
		if err != nil {
			return fail(", samples "+strings.Join(batch.Samples, ", "), err)
		}
	}
	if err := t.joinRounds(step, rounds); err != nil {
		return fail("", err)
	}
	return queued, nil
}

// supervised counts the supervised tokens of a step, and the micro-batches that have any.
func supervised(sizes []data.Size) (tokens, micros int) {
	for _, size := range sizes {
		tokens += size.Supervised
		if size.Supervised > 0 {
			micros++
		}
	}
	return tokens, micros
}

// keep takes the losses of a micro-batch's supervised tokens, [N] fp32.
func (t *trainer) keep(s *torch.Scope, b data.Batch, each *torch.Tensor, weight float64) microLosses {
	if t.peers.alone() {
		return microLosses{batch: b, each: torch.ReadLater(each), weight: weight}
	}
	return microLosses{batch: b, sums: torch.Own(sumsOf(s, b, each)), weight: weight}
}

// dropoutKeys returns a key for the dropout masks of each sample of a micro-batch. A key depends on the run's seed, the
// step and the sample's place in the step, and so neither on how the step is cut into micro-batches nor on a resume.
func dropoutKeys(seed uint64, step int, places []int) []uint64 {
	keys := make([]uint64, len(places))
	for i, place := range places {
		keys[i] = rand.NewPCG(seed, uint64(step)<<32|uint64(place)).Uint64()
	}
	return keys
}

// update queues the optimizer's part of a step: gradient norm, clipping, AdamW. The device itself skips the update if a
// loss or the gradient is not finite. The gradients are cleared in any case.
func (t *trainer) update(queued *queuedStep) error {
	number := queued.step.Number
	err := torch.Do(func(s *torch.Scope) {
		if tokens, _ := supervised(queued.step.Sizes()); tokens > 0 { // else there is nothing to learn from
			squares, nonFinite := t.reduce(s, queued) // [1] fp64
			queued.squares = torch.ReadLater(squares)
			torch.NaNIfNotFinite(squares, nonFinite)
			t.optimizer.update(s, t.rates(number), squares)
			t.optimizer.gather(s, t.peers)
			t.layers.changed()
		}
		queued.freeTensors()
		queued.ended = torch.MarkTime(t.plan.device)
	})
	if err != nil {
		return fmt.Errorf("step %d: %w", number+1, err)
	}
	return nil
}

// rates are the parts' learning rates in a step, counted from 0.
func (t *trainer) rates(step int) map[string]runs.Number {
	share, rates := t.plan.schedule(step), map[string]runs.Number{}
	for part, settings := range t.plan.stage.Train {
		rates[part] = runs.Number(settings.LR * share)
	}
	return rates
}

// finishQueued waits for the queued step and returns it with its numbers; nothing if there is none. If too many steps
// in a row are not finite, it returns ErrDiverged with the last of them.
func (t *trainer) finishQueued() ([]finishedStep, error) {
	queued := t.queued
	if queued == nil {
		return nil, nil
	}
	t.queued = nil
	defer queued.free()
	var sum lossSums
	squares, took := 0.0, time.Duration(0)
	if err := torch.Do(func(*torch.Scope) {
		took = queued.began.Until(queued.ended)
		t.sumLosses(queued, &sum)
		if queued.squares != nil {
			squares = torch.Values[float64](queued.squares)[0]
		}
	}); err != nil {
		return nil, fmt.Errorf("step %d: %w", queued.step.Number+1, err)
	}
	m := sum.metrics(queued.step)
	m.LR, m.GradNorm = t.rates(queued.step.Number), runs.Number(math.Sqrt(squares))
	m.StepMS, m.DataWaitMS = runs.Milliseconds(took), runs.Milliseconds(queued.wait)
	m.TokensPerS = runs.Number(math.Round(float64(m.Tokens) / (queued.wait + took).Seconds()))
	m.PeakMemoryBytes, m.Slowest = device.PeakMemory(t.plan.device), queued.slowest
	finished := finishedStep{m, queued.step}
	return []finishedStep{finished}, t.countUpdate(finished, queued.squares != nil)
}

// countUpdate counts a step as applied or not, and returns ErrDiverged after too many in a row that were not. learned
// says whether the step had a gradient.
func (t *trainer) countUpdate(finished finishedStep, learned bool) error {
	m := finished.Metrics
	if m.Loss.IsFinite() && m.GradNorm.IsFinite() {
		t.nonFiniteSteps = 0
		if learned {
			t.optimizer.updates++
			t.moved = t.moved || m.GradNorm > 0 && t.plan.schedule(m.Step-1) > 0
		}
		return nil
	}
	t.nonFiniteSteps++
	t.notApplied++
	var names []string
	for _, b := range finished.step.Micro {
		names = append(names, b.Samples...)
	}
	samples := strings.Join(names, ", ")
	if !t.peers.alone() {
		samples = "of rank 0 " + samples // others report nothing
	}
	t.report.Say(fmt.Sprintf("step %d: loss %v, gradient norm %v: not applied; samples %s",
		m.Step, float64(m.Loss), float64(m.GradNorm), samples))
	if t.nonFiniteSteps < patience {
		return nil
	}
	err := fmt.Errorf("%w: loss or gradient not finite in %d steps in a row, "+
		"the last of them step %d with samples %s; the weights are those of step %d",
		ErrDiverged, t.nonFiniteSteps, m.Step, samples, m.Step-t.nonFiniteSteps)
	return t.explainDivergence(err)
}

func (q *queuedStep) free() {
	if q == nil {
		return
	}
	for _, micro := range q.losses {
		micro.each.Free()
	}
	q.sums.Free()
	q.squares.Free()
	q.began.Free()
	q.ended.Free()
	q.freeTensors()
}

// freeTensors frees what the update was the last to need.
func (q *queuedStep) freeTensors() {
	for i := range q.losses {
		if sums := q.losses[i].sums; sums != nil {
			sums.Free()
			q.losses[i].sums = nil
		}
	}
	if q.nonFinite != nil {
		q.nonFinite.Free()
		q.nonFinite = nil
	}
}
