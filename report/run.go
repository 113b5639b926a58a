package report

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// Run is what is shown of one stage of a run.
type Run struct {
	Dir   string
	Name  string // of the recipe
	Stage string
	label string // what tells it from the other runs that it is shown with

	metrics     []runs.Metrics // never empty, by ascending step
	evaluations []runs.Evaluation
	benchmarked []runs.Benchmarked
	results     []judgement // of `benchmark run`
	samples     []runs.Sample
	events      []runs.Event
	skips       []data.Skip
	settings    []setting
	state       state
}

// state is how far a run has come.
type state int

const (
	stopped  state = iota // or interrupted, or killed
	training              // a process holds the run folder's lock
	finished
)

// Open reads runs. A path is the folder of a stage, or of a run, whose stages are all read.
func Open(paths ...string) (list []*Run, err error) {
	for _, path := range paths {
		stages, err := stageFolders(path)
		if err != nil {
			return nil, err
		}
		var empty error
		found := len(list)
		for _, dir := range stages {
			r, err := open(dir)
			switch {
			case errors.Is(err, ErrNoSteps):
				empty = err
			case err != nil:
				return nil, err
			default:
				list = append(list, r)
			}
		}
		if len(list) == found { // of two stages, one may not have begun
			return nil, failure.Input(empty)
		}
	}
	label(list)
	return list, nil
}

func stageFolders(path string) (dirs []string, err error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, failure.Input(err)
	case !info.IsDir():
		return nil, failure.Inputf("%s is not a run folder, but a file", path)
	case checkpoints.Exists(filepath.Join(path, runs.RecipeFile)):
		return []string{path}, nil
	}
	for _, stage := range recipes.StageNames {
		if dir := filepath.Join(path, stage); checkpoints.Exists(filepath.Join(dir, runs.RecipeFile)) {
			dirs = append(dirs, dir)
		}
	}
	if dirs == nil {
		return nil, failure.Inputf("%s is not a run: it has no %s. Give the folder of a run, such as runs/NAME, or of "+
			"one of its stages, such as runs/NAME/finetune", path, runs.RecipeFile)
	}
	return dirs, nil
}

// ErrNoSteps is wrapped by the error of a run that has nothing to show.
var ErrNoSteps = errors.New("no step is finished yet")

func open(dir string) (r *Run, err error) {
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	r = &Run{Dir: dir, Stage: filepath.Base(absolute)}
	text, err := os.ReadFile(filepath.Join(dir, runs.RecipeFile))
	if err != nil {
		return nil, failure.Input(err)
	}
	if r.settings, err = readSettings(text); err != nil {
		return nil, failure.Inputf("%s: %w", filepath.Join(dir, runs.RecipeFile), err)
	}
	if r.Name = valueOf(r.settings, "name"); r.Name == "" {
		r.Name = filepath.Base(filepath.Dir(absolute))
	}
	if r.metrics, err = readLines[runs.Metrics](filepath.Join(dir, runs.MetricsFile)); err != nil {
		return nil, err
	}
	if len(r.metrics) == 0 {
		return nil, fmt.Errorf("%s: %w", dir, ErrNoSteps)
	}
	judged, err := readLines[runs.EvalLine](filepath.Join(dir, runs.EvalFile))
	if err != nil {
		return nil, err
	}
	for _, line := range judged {
		if line.Benchmark != nil {
			r.benchmarked = append(r.benchmarked, *line.Benchmark)
		} else {
			r.evaluations = append(r.evaluations, *line.Loss)
		}
	}
	if r.events, err = readLines[runs.Event](filepath.Join(dir, runs.EventsFile)); err != nil {
		return nil, err
	}
	if r.skips, err = readLines[data.Skip](filepath.Join(dir, runs.QuarantineFile)); err != nil {
		return nil, err
	}
	if r.samples, err = readLines[runs.Sample](filepath.Join(dir, runs.SamplesFile)); err != nil {
		return nil, err
	}
	if r.results, err = readResults(dir); err != nil {
		return nil, err
	}
	r.state = r.findState()
	return r, nil
}

// trains says whether a process holds the run folder.
func (r *Run) trains() bool {
	return errors.Is(checkpoints.Run{Dir: r.Dir}.Busy(), checkpoints.ErrBusy)
}

func (r *Run) findState() state {
	if r.trains() {
		return training
	}
	ended := slices.ContainsFunc(r.events, func(e runs.Event) bool {
		return e.Event == runs.Finished && e.Step == r.last().Step
	})
	// Earlier versions wrote no events.
	if ended || len(r.events) == 0 && checkpoints.Exists(filepath.Join(r.Dir, runs.ExportDir)) {
		return finished
	}
	return stopped
}

func (r *Run) last() runs.Metrics { return r.metrics[len(r.metrics)-1] }

// total is the number of steps of the whole run, 0 if it is not known.
func (r *Run) total() int {
	for _, e := range slices.Backward(r.events) {
		if e.Total > 0 {
			return e.Total
		}
	}
	if r.state == finished {
		return r.last().Step
	}
	return 0
}

// progress says how far the run has come.
func (r *Run) progress() string {
	at := grouped(r.last().Step)
	of := at
	if total := r.total(); total > 0 {
		of += " of " + grouped(total)
	}
	switch r.state {
	case finished:
		return fmt.Sprintf("finished after %s", count(r.last().Step, "step", "steps"))
	case training:
		return "in progress, at step " + of
	}
	return "stopped after step " + of
}

// label names runs so that they can be told from each other: by name, with the stage if there are several, and by
// folder where that is not enough.
func label(list []*Run) {
	several := slices.ContainsFunc(list, func(r *Run) bool { return r.Stage != list[0].Stage })
	known := map[string]int{}
	for _, r := range list {
		if r.label = r.Name; several {
			r.label += ", " + r.Stage
		}
		known[r.label]++
	}
	for _, r := range list {
		if known[r.label] > 1 {
			r.label = strings.TrimSuffix(r.Dir, string(filepath.Separator))
		}
	}
}

func grouped(n int) string { return runs.Grouped(int64(n)) }
