package train

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/model/torch/torchtest"
	"github.com/llavatrain/llavatrain/runs"
)

// With token_mean, how a step is cut into micro-batches does not change its gradient.
func TestGradientDoesNotDependOnMicroBatches(t *testing.T) {
	const tolerance = 1e-5 // relative, over each flat buffer
	for stage, text := range map[string]string{
		"projector": trains("projector"), "both": trains("projector", "language"),
	} {
		tr := openTiny(t, text)
		samples := tinySamples(tr, 3, 8)
		want := gradients(t, tr, data.Split(samples, 8))
		for name, groups := range map[string][][]data.Sample{
			"4 x 2": data.Split(samples, 4), "1 x 8": data.Split(samples, 1),
			"100 positions": data.SplitTokens(samples, 100),
		} {
			for i, got := range gradients(t, tr, groups) {
				if difference := distance(got, want[i]); !(difference <= tolerance) {
					t.Errorf("%s trained, %s: the gradient differs by %.2g relative", stage, name, difference)
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

// micro_mean weighs micro-batches, not tokens: another cut of a step is another objective, as in the original.
func TestMicroMeanDependsOnMicroBatches(t *testing.T) {
	tr := openTiny(t, tinyStage+"  loss: micro_mean\n")
	samples := tinySamples(tr, 3, 8)
	whole, cut := gradients(t, tr, data.Split(samples, 8)), gradients(t, tr, data.Split(samples, 2))
	if distance(cut[0], whole[0]) < 1e-3 {
		t.Error("micro_mean gives the gradient of token_mean")
	}
}

// A frozen part keeps every bit, has no gradient and no optimizer state; a part that trains changes.
func TestFrozenWeightsStay(t *testing.T) {
	for _, parts := range [][]string{
		{"projector"}, {"projector", "language"}, {"language"}, {"vision"}, {"vision", "projector", "language"},
	} {
		tr := openTiny(t, trains(parts...))
		before := snapshot(t, tr)
		for n := range 3 {
			takeStep(t, tr, tinyStep(t, tr, n, tinySamples(tr, uint64(n), 4), 4))
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
				t.Errorf("training %v: %s trainable %v, has a gradient %v",
					parts, p.Name, p.Trainable, hasGradient(t, p))
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
	}
}

// spoil makes a gradient NaN before a step adds to it.
func spoil(t *testing.T, tr *trainer) {
	t.Helper()
	if err := torch.Do(func(s *torch.Scope) {
		grad := tr.optimizer.groups[0].Grad
		grad.Copy(torch.Scale(s, torch.Ones(s, []int64{1}, torch.Float32, torch.CPU), math.NaN()))
	}); err != nil {
		t.Fatal(err)
	}
}

// A GPU is given the next step before the numbers of the previous one are read. That changes no weight, no metric and
// no count of updates, even if a step is not finite.
func TestQueuedSteps(t *testing.T) {
	const steps, bad = 5, 2
	var weights [2]map[string][]byte
	var metrics [2][]runs.Metrics
	for i, overlapped := range []bool{false, true} {
		tr := openTiny(t, tinyStage)
		record := func(finished []finishedStep, err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			for _, step := range finished {
				step.StepMS, step.DataWaitMS, step.TokensPerS, step.PeakMemoryBytes = 0, 0, 0, 0
				metrics[i] = append(metrics[i], step.Metrics)
			}
		}
		for n := range steps {
			if n == bad {
				spoil(t, tr)
			}
			step := tinyStep(t, tr, n, tinySamples(tr, uint64(n), 2), 1)
			if !overlapped {
				record(tr.trainStep(step, 0))
				continue
			}
			next, err := tr.forwardBackward(step) // what trainStep does if it does not wait
			if err != nil {
				t.Fatal(err)
			}
			record(tr.finishQueued())
			tr.queued = next
			if err := tr.update(next); err != nil {
				t.Fatal(err)
			}
		}
		record(tr.finishQueued())
		record(tr.finishQueued()) // nothing is left
		if tr.optimizer.updates != steps-1 {
			t.Errorf("overlapped %v: %d updates", overlapped, tr.optimizer.updates)
		}
		weights[i] = snapshot(t, tr)
	}
	if !reflect.DeepEqual(weights[0], weights[1]) {
		t.Error("the weights differ")
	}
	got, want := fmt.Sprint(metrics[1]), fmt.Sprint(metrics[0])
	if got != want || len(metrics[0]) != steps || metrics[0][bad].GradNorm.IsFinite() {
		t.Errorf("metrics\n%v\nwant\n%v", got, want)
	}
}

// Steps that are not finite change nothing, and patience of them in a row end the run; a finite step between them
// restarts the count, and a checkpoint keeps it.
func TestNonFiniteSteps(t *testing.T) {
	tr := openTiny(t, tinyStage)
	n := 0
	next := func(bad bool) error {
		t.Helper()
		if bad {
			spoil(t, tr)
		}
		before, updates := snapshot(t, tr), tr.optimizer.updates
		finished, err := tr.trainStep(tinyStep(t, tr, n, tinySamples(tr, uint64(n), 2), 2), 0)
		n++
		if len(finished) != 1 || finished[0].Step != n {
			t.Fatalf("step %d is not among %v", n, finished)
		}
		changed := !reflect.DeepEqual(before, snapshot(t, tr))
		if changed == bad || (tr.optimizer.updates == updates) != bad {
			t.Errorf("step %d, not finite %v: weights changed %v, %d updates after %d",
				n, bad, changed, tr.optimizer.updates, updates)
		}
		return err
	}
	for i := range 3 * patience { // never patience in a row
		if err := next(i%patience != patience-1); err != nil {
			t.Fatalf("step %d: %v", n, err)
		}
	}
	for range 2 {
		if err := next(true); err != nil {
			t.Fatal(err)
		}
	}
	resumeTrainer(t, tr)
	for i := 3; i <= patience; i++ {
		err := next(true)
		if ended := errors.Is(err, ErrDiverged); ended != (i == patience) {
			t.Fatalf("%d steps in a row are not finite: %v", i, err)
		}
		want := fmt.Sprintf("not finite in %d steps in a row, the last of them step %d with samples "+
			"sample-0, sample-1; the weights are those of step %d", patience, n, n-patience)
		if err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v", err)
		}
	}
}

// resumeTrainer saves the trainer's state and lets it start again from there.
func resumeTrainer(t *testing.T, tr *trainer) {
	t.Helper()
	dir := t.TempDir()
	state, err := tr.state(int(tr.optimizer.updates), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.write(dir, state); err != nil {
		t.Fatal(err)
	}
	updates := tr.optimizer.updates
	tr.nonFiniteSteps, tr.optimizer.updates = 0, 0
	if state, err = checkpoints.ReadState(dir); err != nil {
		t.Fatal(err)
	}
	if err := tr.restore(start{step: state.Step, dir: dir, state: state}); err != nil {
		t.Fatal(err)
	}
	if tr.optimizer.updates != updates {
		t.Errorf("%d updates after a resume, want %d", tr.optimizer.updates, updates)
	}
}

// A step without a supervised token has nothing to learn from: it is counted, moves nothing and is no update.
func TestStepWithoutSupervisedTokens(t *testing.T) {
	tr := openTiny(t, tinyStage)
	samples := tinySamples(tr, 1, 2)
	for i := range samples {
		for k := range samples[i].Labels {
			samples[i].Labels[k] = data.Ignore
		}
	}
	before := snapshot(t, tr)
	m := takeStep(t, tr, tinyStep(t, tr, 0, samples, 1))
	if m.Loss != 0 || m.GradNorm != 0 || m.SupervisedTokens != 0 || tr.optimizer.updates != 0 ||
		!reflect.DeepEqual(before, snapshot(t, tr)) {
		t.Errorf("%+v, %d updates", m, tr.optimizer.updates)
	}
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
	tr := openTiny(t, trains("projector"))
	step := tinyStep(t, tr, 0, tinySamples(tr, 1, 8), 8)
	live, resident := torch.Live(), int64(0)
	for i := range steps {
		step.Number = i % 10
		takeStep(t, tr, step)
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
	text, err := os.ReadFile("/proc/self/statm") // pages: of the address space, and of them those in memory
	if err != nil {
		t.Fatal(err)
	}
	var size, resident int64
	if _, err := fmt.Sscan(string(text), &size, &resident); err != nil {
		t.Fatal(err)
	}
	return resident * int64(os.Getpagesize())
}

// A step that was queued when the step before it ended the run is freed, and a step's wait for data is in its metrics.
func TestDivergedWithAStepQueued(t *testing.T) {
	tr := openTiny(t, tinyStage)
	finished, err := tr.trainStep(tinyStep(t, tr, 0, tinySamples(tr, 1, 2), 2), 2*time.Second)
	if err != nil || finished[0].DataWaitMS != 2000 {
		t.Fatalf("waited 2 s for data; the metrics are %v, error %v", finished, err)
	}
	spoil(t, tr)
	if tr.queued, err = tr.forwardBackward(tinyStep(t, tr, 1, tinySamples(tr, 1, 2), 2)); err != nil {
		t.Fatal(err)
	}
	if err := tr.update(tr.queued); err != nil {
		t.Fatal(err)
	}
	tr.nonFiniteSteps = patience - 1
	finished, err = tr.trainStep(tinyStep(t, tr, 2, tinySamples(tr, 2, 2), 2), 0)
	if !errors.Is(err, ErrDiverged) || len(finished) != 1 || finished[0].Step != 2 || tr.queued != nil {
		t.Errorf("finished %v, error %v", finished, err)
	}
}

// Memory that was freed before a run's model was opened is not the run's.
func TestPeakMemoryIsOfTheRun(t *testing.T) {
	torchtest.NoLeaks(t)
	const before = 1 << 28
	if err := torch.Do(func(s *torch.Scope) {
		torch.Zeros(s, []int64{before / 4}, torch.Float32, torch.CPU)
	}); err != nil {
		t.Fatal(err)
	}
	tr := openTiny(t, tinyStage)
	if peak := tr.measuredMemory(); peak <= 0 || peak >= before/2 {
		t.Errorf("the run's peak is %d bytes", peak)
	}
}

// A cut sample and a first loss that is too high are reported once.
func TestStepsAreReported(t *testing.T) {
	tr := openTiny(t, tinyStage)
	told := &teller{}
	tr.report, tr.run.Dir = told, t.TempDir()
	tr.logs = &logs{dir: tr.run.Dir}
	for name, log := range map[string]**checkpoints.JSONL{
		runs.MetricsFile: &tr.logs.metrics, runs.LedgerFile: &tr.logs.ledger, runs.QuarantineFile: &tr.logs.quarantine,
	} {
		var err error
		if *log, _, err = tr.logs.open(name, 0); err != nil {
			t.Fatal(err)
		}
	}
	for i, step := range []struct {
		loss runs.Number
		cut  int
	}{{99, 0}, {99, 1}, {1, 0}, {1, 2}} {
		err := tr.recordStep(
			finishedStep{runs.Metrics{Step: i + 1, Loss: step.loss}, data.Step{Number: i, Cut: step.cut}},
		)
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(told.said) != 2 || !told.says("the first loss is 99.00", "ln 200") ||
		!told.says("step 2: a sample is longer") {
		t.Errorf("said %q", told.said)
	}
	if !slices.Equal(told.steps, []int{1, 2, 3, 4}) || tr.cut != 3 {
		t.Errorf("steps %v, %d cut", told.steps, tr.cut)
	}
}
