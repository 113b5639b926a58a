package report

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/llavatrain/llavatrain/runs"
)

// Following is a run that is looked at again and again.
type Following struct {
	dir  string
	told told // how far its plain lines have come
}

// told is how much of a run has been told: its last step, and numbers of lines.
type told struct {
	begun                                 bool
	step, evaluations, benchmarks, events int
}

// Follow finds the run that a path names: of the stages of a run, the one that trains or, if none does, the last that
// has begun.
func Follow(path string) (*Following, error) {
	stages, err := stageFolders(path)
	if err != nil {
		return nil, err
	}
	dir := stages[len(stages)-1]
	for _, stage := range stages {
		if (&Run{Dir: stage}).trains() {
			dir = stage
		}
	}
	return &Following{dir: dir}, nil
}

// Look reads the run as it is now. The error wraps ErrNoSteps as long as it has finished no step; trains says then
// whether it still may.
func (f *Following) Look() (r *Run, trains bool, err error) {
	trains = (&Run{Dir: f.dir}).trains() // before its files are read, so that a run that has ended is read whole
	if r, err = open(f.dir); err != nil {
		return nil, trains, err
	}
	label([]*Run{r})
	return r, trains, nil
}

// Dir is the folder of the stage that is followed.
func (f *Following) Dir() string { return f.dir }

// heartbeat is the last sign of life of a run; false if it has given none.
func (r *Run) heartbeat() (h runs.Heartbeat, ok bool) {
	text, err := os.ReadFile(filepath.Join(r.Dir, runs.HeartbeatFile))
	return h, err == nil && json.Unmarshal(text, &h) == nil
}

// Lines are the lines about what has happened since the last call: at first a summary, then about each fortieth of the
// steps, each evaluation and what happened beside the steps.
func (f *Following) Lines(r *Run) (lines []string) {
	total := max(r.total(), r.last().Step)
	first := !f.told.begun
	if first {
		lines = append(lines, fmt.Sprintf("%s, %s: %s", r.Name, r.Stage, r.progress()))
		f.told = told{begun: true, step: r.last().Step - 1, evaluations: len(r.evaluations),
			benchmarks: len(r.benchmarked), events: len(r.events)}
	}
	for _, m := range r.metrics {
		if m.Step <= f.told.step {
			continue
		}
		if every := max(1, total/40); first || m.Step%every == 0 || m.Step == total {
			lines = append(lines, m.Line(total)+r.leftText())
		}
	}
	f.told.step = r.last().Step
	for _, e := range r.evaluations[min(f.told.evaluations, len(r.evaluations)):] {
		lines = append(lines, e.Line(total))
	}
	for _, b := range r.benchmarked[min(f.told.benchmarks, len(r.benchmarked)):] {
		lines = append(lines, b.Line(total))
	}
	f.told.evaluations, f.told.benchmarks = len(r.evaluations), len(r.benchmarked) // a resume may have cut them
	for _, e := range r.events[min(f.told.events, len(r.events)):] {
		if e.Event != runs.Predicted {
			lines = append(lines, fmt.Sprintf("%s: %s, step %d", e.Time.UTC().Format(time.DateTime), e.Event, e.Step))
		}
	}
	f.told.events = len(r.events)
	return lines
}

// leftText is the time that a run in progress still takes, "" if that is not known.
func (r *Run) leftText() string {
	h, ok := r.heartbeat()
	if !ok || r.state != training || h.Left <= 0 {
		return ""
	}
	return "  " + runs.Lasting(time.Duration(float64(h.Left)*float64(time.Second))) + " left"
}

// Screen shows a run on a terminal of so many columns and rows, as of a time: how far it is, what it does, and as many
// curves as there is room for.
func (r *Run) Screen(columns, rows int, now time.Time) string {
	m, total := r.last(), max(r.total(), r.last().Step)
	lines := []string{fmt.Sprintf("%s, %s: %s", r.Name, r.Stage, r.progress()), r.bar(total, columns),
		fmt.Sprintf("loss %.4f  lr %s  grad norm %.3g  %.0f tokens/s  %s", float64(m.Loss), m.Rates(),
			float64(m.GradNorm), float64(m.TokensPerS), gigabytes(m.PeakMemoryBytes))}
	if text := r.life(now); text != "" {
		lines = append(lines, text)
	}
	lines = append(lines, r.judged()...)
	for i, line := range lines {
		lines[i] = clip(line, columns)
	}
	if bad := len(r.notApplied()); bad > 0 {
		text := count(bad, "step was", "steps were") + " not applied: loss or gradient not finite"
		lines = append(lines, clip(text, columns))
	}
	for _, c := range []chart{lossCharts[0], lossCharts[1], optimizerCharts[1], speedCharts[0], optimizerCharts[0],
		speedCharts[1]} {
		curves := c.curves(r)
		if curves == nil || columns < 20+margin || len(lines)+2+curveRows+1 > rows-1 {
			continue
		}
		drawn := strings.Split(strings.TrimRight(c.drawn(curves, columns-margin), "\n"), "\n")
		drawn[0] = clip(drawn[0], columns)
		lines = append(append(lines, ""), drawn...)
	}
	return strings.Join(lines[:min(len(lines), max(1, rows-1))], "\n") + "\n"
}

// bar shows how much of a run is done, and how long the rest takes.
func (r *Run) bar(total, columns int) string {
	text := fmt.Sprintf(" %3d %%  step %s of %s%s", 100*r.last().Step/max(1, total), grouped(r.last().Step),
		grouped(total), r.leftText())
	width := max(4, min(60, columns-len(text)-2))
	done := width * r.last().Step / max(1, total)
	return "▕" + strings.Repeat("█", done) + strings.Repeat("░", width-done) + "▏" + text
}

// life is what a run in progress does, and since when nothing has been heard of it.
func (r *Run) life(now time.Time) string {
	h, ok := r.heartbeat()
	if !ok || r.state != training {
		return ""
	}
	const usual = 10 * time.Second
	since := now.Sub(h.Time)
	text := fmt.Sprintf("%s, process %d on %s", h.Doing, h.PID, h.Host)
	if since > usual {
		text += fmt.Sprintf("; last heard of %s ago", runs.Lasting(since))
	}
	return text
}

// judged are the last held-out loss and the last figures of each benchmark.
func (r *Run) judged() (lines []string) {
	if n := len(r.evaluations); n > 0 {
		e := r.evaluations[n-1]
		lines = append(lines, fmt.Sprintf("held-out loss %.4f after step %s, lowest %s", float64(e.Loss),
			grouped(e.Step), number(r.summarise().lowest)))
	}
	for _, b := range lastBenchmarks(r) {
		lines = append(lines, judgement{b, false}.line())
	}
	return lines
}

// line is a figure in words.
func (j judgement) line() string {
	text := fmt.Sprintf("%s %s %.2f", j.Benchmark, j.Figure, float64(j.Metrics[j.Figure]))
	if e, ok := j.Errors[j.Figure]; ok {
		text += fmt.Sprintf(" ± %.2f", float64(e))
	}
	if j.Step > 0 {
		text += " after step " + grouped(j.Step)
	}
	return text + fmt.Sprintf(", %s, rule %s", count(j.Questions, "question", "questions"), j.Rule)
}

// lastBenchmarks are the last figures of each benchmark, in the order in which they first came.
func lastBenchmarks(r *Run) (list []runs.Benchmarked) {
	at := map[string]int{}
	for _, b := range r.benchmarked {
		i, known := at[b.Benchmark]
		if !known {
			at[b.Benchmark] = len(list)
			list = append(list, b)
			continue
		}
		list[i] = b
	}
	return list
}

// clip cuts a line to so many characters.
func clip(line string, columns int) string {
	if all := []rune(line); columns > 0 && len(all) > columns {
		return string(all[:columns-1]) + "…"
	}
	return line
}
