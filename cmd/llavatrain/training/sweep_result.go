package training

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// sweepResult is a line of sweep.jsonl.
type sweepResult struct {
	Settings map[string]string      `json:"settings"` // value by key
	Run      string                 `json:"run"`      // folder of the stages
	Stages   map[string]stageResult `json:"stages"`
	Error    string                 `json:"error,omitempty"`

	combination combination
}

// stageResult is what a stage of a combination came to.
type stageResult struct {
	Steps   int          `json:"steps"`
	Loss    runs.Number  `json:"loss"`                // mean of the last tenth of the steps
	Eval    *runs.Number `json:"eval_loss,omitempty"` // of the last evaluation; absent without the section eval
	Seconds runs.Number  `json:"seconds"`             // of all steps, waiting for data included
	Memory  int64        `json:"peak_memory_bytes"`
}

// result reads what the stages of a combination have written.
func (s *sweep) result(c combination) sweepResult {
	r := sweepResult{Settings: map[string]string{}, Run: filepath.Join(s.dir, c.name()),
		Stages: map[string]stageResult{}, combination: c}
	for _, setting := range c {
		r.Settings[setting.key] = setting.value
	}
	for _, stage := range s.stages {
		if result, ok := readStage(filepath.Join(r.Run, stage)); ok {
			r.Stages[stage] = result
		}
	}
	return r
}

// readStage sums up a run folder; false if it has no steps.
func readStage(dir string) (r stageResult, ok bool) {
	steps := readLines[runs.Metrics](filepath.Join(dir, runs.MetricsFile))
	if len(steps) == 0 {
		return r, false
	}
	tail := steps[len(steps)-max(1, len(steps)/10):]
	for _, m := range tail {
		r.Loss += m.Loss / runs.Number(len(tail))
	}
	for _, m := range steps {
		r.Seconds += (m.StepMS + m.DataWaitMS) / 1e3
		r.Memory = max(r.Memory, m.PeakMemoryBytes)
	}
	r.Steps = steps[len(steps)-1].Step
	for _, line := range readLines[runs.EvalLine](filepath.Join(dir, runs.EvalFile)) {
		if line.Loss != nil {
			r.Eval = &line.Loss.Loss
		}
	}
	return r, true
}

// readLines reads a file of JSON lines as far as it can be read.
func readLines[T any](path string) (list []T) {
	file, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line T
		if json.Unmarshal(lines.Bytes(), &line) != nil {
			return list
		}
		list = append(list, line)
	}
	return list
}

// writeResults replaces the file, so that it is whole at any time.
func writeResults(path string, results []sweepResult) error {
	var text bytes.Buffer
	lines := json.NewEncoder(&text)
	for _, r := range results {
		if err := lines.Encode(r); err != nil {
			return err
		}
	}
	if err := os.WriteFile(path+".new", text.Bytes(), 0o666); err != nil {
		return failure.Storage(err)
	}
	return failure.Storage(os.Rename(path+".new", path))
}

// resultTable shows a row for each combination and, for each stage, its loss, its loss on held-out rows if there are
// any, and its seconds.
func resultTable(stages []string, results []sweepResult) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, s := range results[0].combination {
		fmt.Fprintf(w, "%s\t", s.key)
	}
	for _, stage := range stages {
		fmt.Fprintf(w, "%s: loss\t", stage)
		if evaluates(stage, results) {
			fmt.Fprint(w, "eval loss\t")
		}
		fmt.Fprint(w, "seconds\t")
	}
	fmt.Fprintln(w)
	for _, r := range results {
		for _, s := range r.combination {
			fmt.Fprintf(w, "%s\t", s.value)
		}
		for _, stage := range stages {
			r.Stages[stage].show(w, evaluates(stage, results))
		}
		if r.Error != "" {
			fmt.Fprint(w, "failed")
		}
		fmt.Fprintln(w)
	}
	w.Flush()
	return b.String()
}

// evaluates says whether any combination was evaluated in a stage.
func evaluates(stage string, results []sweepResult) bool {
	return slices.ContainsFunc(results, func(r sweepResult) bool { return r.Stages[stage].Eval != nil })
}

// show writes the stage's columns, dashes if it took no step.
func (r stageResult) show(w io.Writer, evaluates bool) {
	columns := []string{"-", "-", "-"}
	if r.Steps > 0 {
		columns[0], columns[2] = fmt.Sprintf("%.4f", float64(r.Loss)), fmt.Sprintf("%.1f", float64(r.Seconds))
	}
	if r.Eval != nil {
		columns[1] = fmt.Sprintf("%.4f", float64(*r.Eval))
	}
	if !evaluates {
		columns = slices.Delete(columns, 1, 2)
	}
	fmt.Fprint(w, strings.Join(columns, "\t")+"\t")
}
