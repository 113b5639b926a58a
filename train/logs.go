package train

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/report"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// logs are the files of a run folder that grow with each step.
type logs struct {
	dir         string
	metrics     *checkpoints.JSONL
	ledger      *checkpoints.JSONL
	quarantine  *checkpoints.JSONL
	evaluations *checkpoints.JSONL // nil if nothing is evaluated
	samples     *checkpoints.JSONL // nil without answers to held-out rows
	events      *checkpoints.JSONL // what happened beside steps; not cut on a resume
	board       *runs.Board
	drawn       runs.LedgerData // the data sets that the ledger's next line draws from
}

// openLogs opens the logs of a run, truncated to the steps that the checkpoint has.
func (t *trainer) openLogs(step int) (err error) {
	t.logs = &logs{dir: t.run.Dir}
	if t.logs.metrics, _, err = t.logs.open(runs.MetricsFile, step); err != nil {
		return err
	}
	if err = t.openLedger(step); err != nil {
		return err
	}
	if t.logs.quarantine, _, err = t.logs.open(runs.QuarantineFile, step); err != nil {
		return err
	}
	if t.eval != nil {
		if err = t.openJudged(step); err != nil {
			return err
		}
	}
	if t.logs.events, _, err = t.logs.open(runs.EventsFile, math.MaxInt); err != nil {
		return err
	}
	return cmp.Or(t.openBoard(step), t.showPictures(step), t.logStart(step))
}

// openBoard shows the run in TensorBoard, from what its other logs say.
func (t *trainer) openBoard(step int) error {
	recipe, err := t.resolvedRecipe()
	if err != nil {
		return err
	}
	t.logs.board, err = runs.OpenBoard(t.run.Dir, step, string(recipe), t.recipe.Digest(t.options.Stage))
	return err
}

// logStart records that the run starts or goes on, and the memory that is expected.
func (t *trainer) logStart(step int) error {
	began := runs.Event{
		Event: runs.Started, Step: step, Total: t.plan.total, Device: t.plan.device.String(),
		Dtype: t.plan.dtype.String(), Processes: t.plan.processes(),
	}
	if step > 0 {
		began.Event = runs.Resumed
	}
	worst := t.plan.worst(int64(t.recipe.Model.Language.MaxLength))
	return cmp.Or(t.logs.event(began),
		t.logs.event(runs.Event{Event: runs.Predicted, Step: step, PredictedBytes: t.predictedMemory(worst)}))
}

// event writes what happened, with the time.
func (l *logs) event(e runs.Event) error {
	if l == nil {
		return nil
	}
	e.Time = time.Now().UTC().Truncate(time.Millisecond)
	return l.events.Append(e)
}

// logFinish records that the last step was taken, and the memory that was expected for the largest micro-batch and
// used.
func (t *trainer) logFinish() error {
	if t.logs == nil {
		return nil
	}
	memory := runs.Event{Event: runs.Predicted, Step: t.plan.total, PredictedBytes: t.predictedMemory(t.largest),
		MeasuredBytes: t.measuredMemory()}
	return cmp.Or(t.logs.event(memory), t.logs.event(runs.Event{Event: runs.Finished, Step: t.plan.total}),
		t.logs.board.Finished(t.plan.total))
}

// writeReport writes the page about the run. It is no part of the results: a run without a page has still done its
// work.
func (t *trainer) writeReport() {
	if t.logs == nil {
		return
	}
	path := filepath.Join(t.run.Dir, runs.ReportFile)
	list, err := report.Open(t.run.Dir)
	if errors.Is(err, report.ErrNoSteps) {
		return
	}
	if err == nil {
		err = checkpoints.WriteFile(path, func(w io.Writer) error { return report.Write(w, list, time.Now()) })
	}
	if err != nil {
		t.report.Say(fmt.Sprintf("warning: %s could not be written: %v", path, err))
	}
}

// open opens one of the files and returns the step of its last line, 0 if it has none.
func (l *logs) open(name string, step int) (log *checkpoints.JSONL, last int, err error) {
	path := filepath.Join(l.dir, name)
	err = checkpoints.TruncateJSONL(path, func(line []byte) bool {
		var record struct {
			Step int `json:"step"`
		}
		if json.Unmarshal(line, &record) != nil || record.Step > step {
			return false
		}
		last = record.Step
		return true
	})
	if err != nil {
		return nil, 0, err
	}
	log, err = checkpoints.OpenJSONL(path)
	return log, last, err
}

// openJudged opens what evaluations write, and takes note of the newest step of each kind of line.
func (t *trainer) openJudged(step int) (err error) {
	last := t.eval.last
	open := func(name string, note func(line []byte) (at int, err error)) (*checkpoints.JSONL, error) {
		path := filepath.Join(t.logs.dir, name)
		if err := checkpoints.TruncateJSONL(path, func(line []byte) bool {
			at, err := note(line)
			return err == nil && at <= step
		}); err != nil {
			return nil, err
		}
		return checkpoints.OpenJSONL(path)
	}
	t.logs.evaluations, err = open(runs.EvalFile, func(line []byte) (int, error) {
		var record struct {
			Step      int    `json:"step"`
			Benchmark string `json:"benchmark"`
		}
		err := json.Unmarshal(line, &record)
		if record.Step <= step {
			last[record.Benchmark] = record.Step
		}
		return record.Step, err
	})
	if err != nil || t.eval.Samples == 0 {
		return err
	}
	t.logs.samples, err = open(runs.SamplesFile, func(line []byte) (int, error) {
		var record runs.Sample
		if err := json.Unmarshal(line, &record); err != nil {
			return 0, err
		}
		if step == 0 { // of a run that a kill ended before its first checkpoint, perhaps in the middle of a step's
			return math.MaxInt, nil
		}
		if record.Step <= step {
			last[runs.SamplesFile] = record.Step
		}
		return record.Step, nil
	})
	return err
}

// showPictures writes the pictures of the rows whose answers are kept.
func (t *trainer) showPictures(step int) error {
	if t.eval == nil || t.eval.exam == nil || t.eval.exam.Samples == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Join(t.run.Dir, runs.SamplesDir), 0o777); err != nil {
		return failure.Storage(err)
	}
	for i := range t.eval.exam.Samples.Len() {
		small, err := t.eval.exam.Samples.Thumbnail(i)
		if err == nil {
			err = cmp.Or(small.Write(t.run.Dir, i), t.logs.board.Picture(step, i, small))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// openLedger opens the record of the rows that each step draws. It writes a line that describes the data sets, unless
// the last lines were written with the same ones: a resume may have accepted different data.
func (t *trainer) openLedger(step int) (err error) {
	last := 0
	if t.logs.ledger, last, err = t.logs.open(runs.LedgerFile, step); err != nil {
		return err
	}
	path := filepath.Join(t.run.Dir, runs.LedgerFile)
	if last < step {
		t.report.Say(fmt.Sprintf("warning: %s lacks the rows of steps %d to %d", path, last+1, step))
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	newest, err := runs.NewestLedgerData(file)
	t.logs.drawn = runs.LedgerDataOf(t.data.Sources)
	if err != nil || slices.Equal(newest, t.logs.drawn) {
		return err
	}
	return t.logs.ledger.Append(runs.LedgerLine{Step: step, Data: t.logs.drawn})
}

// step writes a step's skipped samples, its rows and its metrics, in this order: if a step has metrics, it has the
// rest.
func (l *logs) step(finished finishedStep) error {
	if l == nil {
		return nil
	}
	if err := l.skipped(finished.step.Skipped); err != nil {
		return err
	}
	if err := l.ledger.Append(l.drawn.Line(finished.step)); err != nil {
		return err
	}
	return cmp.Or(l.metrics.Append(finished.Metrics), l.board.Step(finished.Metrics))
}

// skipped writes samples that were left out, with the reasons.
func (l *logs) skipped(skips []data.Skip) error {
	if l == nil {
		return nil
	}
	for _, skip := range skips {
		if err := l.quarantine.Append(skip); err != nil {
			return err
		}
	}
	return nil
}

// benchmark writes the figures of a benchmark.
func (l *logs) benchmark(result runs.Benchmarked) error {
	if l == nil {
		return nil
	}
	return cmp.Or(l.evaluations.Append(result), l.board.Benchmark(result))
}

// sample writes an answer to a held-out row.
func (l *logs) sample(s runs.Sample) error {
	if l == nil {
		return nil
	}
	return cmp.Or(l.samples.Append(s), l.board.Sample(s))
}

// evaluation writes the result of an evaluation.
func (l *logs) evaluation(result runs.Evaluation) error {
	if l == nil {
		return nil
	}
	return cmp.Or(l.evaluations.Append(result), l.board.Evaluation(result))
}

// sync flushes all lines to the disk.
func (l *logs) sync() error {
	for _, log := range l.opened() {
		if err := log.Sync(); err != nil {
			return err
		}
	}
	if l == nil {
		return nil
	}
	return l.board.Sync()
}

func (l *logs) close() {
	for _, log := range l.opened() {
		log.Close()
	}
	if l != nil {
		_ = l.board.Close() // it repeats what the others have
	}
}

func (l *logs) opened() []*checkpoints.JSONL {
	if l == nil {
		return nil
	}
	all := []*checkpoints.JSONL{l.metrics, l.ledger, l.quarantine, l.evaluations, l.samples, l.events}
	return slices.DeleteFunc(all, func(log *checkpoints.JSONL) bool { return log == nil })
}
