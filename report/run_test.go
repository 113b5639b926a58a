package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/runs/failure"
)

const testRecipe = "name: tiny\nseed: 1\npretrain: {steps: 5}\nfinetune:\n  train: {projector: {lr: %s}}\n  steps: 40\n"

var dawn = time.Date(2026, 11, 3, 8, 0, 0, 0, time.UTC)

// writeRun writes the folder of a run of 40 steps that took some of them: with evaluations and events, and with a step
// that was not applied.
func writeRun(t testing.TB, dir, lr string, steps int) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, runs.RecipeFile), fmt.Sprintf(testRecipe, lr))
	events := []any{
		runs.Event{Event: runs.Started, Time: dawn, Total: max(40, steps), Device: "cpu", Dtype: "fp32"},
		runs.Event{Event: runs.Predicted, Time: dawn, PredictedBytes: 3e9},
	}
	var metrics, evaluations, skips []any
	for step := 1; step <= steps; step++ {
		m := runs.Metrics{Step: step, Loss: runs.Number(2 + 1/float64(step)), GradNorm: 0.5, Tokens: 100, Samples: 4,
			LossBy: map[string]runs.Number{"image": 3.25, "text": 1.125},
			LR:     map[string]runs.Number{"projector": runs.Number(1e-3 / float64(step))},
			Epoch:  runs.Number(step) / 10,
			StepMS: 900, DataWaitMS: 100, TokensPerS: 100, PeakMemoryBytes: 2_500_000_000}
		if step == 4 {
			m.Loss, m.GradNorm = runs.Number(math.NaN()), runs.Number(math.Inf(1))
		}
		metrics = append(metrics, m)
		if step%10 == 0 {
			evaluations = append(evaluations, runs.Evaluation{Step: step, Loss: runs.Number(4 - 0.01*float64(step)),
				LossBySource: map[string]runs.Number{"coco/train": 3.375, "text": 1.625}})
			if step%20 == 0 {
				evaluations = append(evaluations, runs.Benchmarked{Step: step, Benchmark: "pope", Rule: "original",
					Questions: 300, Metrics: map[string]runs.Number{"f1": runs.Number(60 + step), "accuracy": 70.5},
					Figure: "f1", Errors: map[string]runs.Number{"f1": 2.75}})
			}
			events = append(events, runs.Event{Event: runs.Checkpoint, Step: step, TookMS: 1500,
				Time: dawn.Add(time.Duration(step) * time.Minute)})
		}
		if step%8 == 0 {
			skips = append(skips, data.Skip{Step: step, Reason: "image <gone> is missing"})
		}
	}
	if steps >= 40 {
		events = append(events,
			runs.Event{Event: runs.Predicted, Time: dawn, Step: steps, PredictedBytes: 2e9, MeasuredBytes: 2.5e9},
			runs.Event{Event: runs.Finished, Time: dawn.Add(time.Hour), Step: steps})
	}
	samples := []any{runs.Sample{ID: "cat", Question: "What is it?", Expected: "a cat", Answer: "the the", Cut: true},
		runs.Sample{Sample: 1, ID: "dog", Question: "And this?", Expected: "a dog", Answer: "of of"},
		runs.Sample{Step: steps, ID: "cat", Question: "What is it?", Expected: "a cat", Answer: "a <b>tiger</b>"}}
	for name, list := range map[string][]any{runs.MetricsFile: metrics, runs.EvalFile: evaluations,
		runs.EventsFile: events, runs.QuarantineFile: skips, runs.SamplesFile: samples} {
		var text strings.Builder
		for _, record := range list {
			line, err := json.Marshal(record)
			if err != nil {
				t.Fatal(err)
			}
			text.Write(append(line, '\n'))
		}
		write(t, filepath.Join(dir, name), text.String())
	}
	return dir
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
}

// opened opens runs that can be opened.
func opened(t testing.TB, paths ...string) []*Run {
	t.Helper()
	list, err := Open(paths...)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// What cannot be shown is refused in a sentence, as the user's to mend.
func TestOpenRefuses(t *testing.T) {
	whole := filepath.Join(t.TempDir(), "finetune")
	writeRun(t, whole, "1e-3", 3)
	changed := func(name, text string) string {
		dir := filepath.Join(t.TempDir(), "finetune")
		if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name), text)
		return dir
	}
	for want, path := range map[string]string{
		"is not a run: it has no recipe.yaml. Give the folder of a run": t.TempDir(),
		"no such file":                     filepath.Join(whole, "none"),
		"is not a run folder, but a file":  filepath.Join(whole, runs.MetricsFile),
		"no step is finished yet":          changed(runs.MetricsFile, ""),
		"no step is finished":              changed(runs.MetricsFile, `{"step":1,`),
		"metrics.jsonl: line 1 is damaged": changed(runs.MetricsFile, "{\n{}\n"),
		"eval.jsonl: line 2 is damaged":    changed(runs.EvalFile, "{}\n[]\n"),
		"events.jsonl: line 1":             changed(runs.EventsFile, "x\n"),
		"quarantine.jsonl: line 1":         changed(runs.QuarantineFile, "x\n"),
		"samples.jsonl: line 1":            changed(runs.SamplesFile, "x\n"),
		"recipe.yaml: it is not a recipe":  changed(runs.RecipeFile, "- a\n"),
		"recipe.yaml: yaml":                changed(runs.RecipeFile, "a: [\n"),
		"not a recipe":                     changed(runs.RecipeFile, ""),
	} {
		_, err := Open(whole, path)
		if err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, failure.ErrInput) {
			t.Errorf("error %v, want one of the user's with %q", err, want)
		}
		if errors.Is(err, ErrNoSteps) != strings.HasPrefix(want, "no step is") {
			t.Errorf("%v says whether there are steps: %t", err, errors.Is(err, ErrNoSteps))
		}
	}
}

func TestStatesOfRuns(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "finetune")
	for steps, want := range map[int]string{1: "stopped after step 1 of 40", 39: "stopped after step 39 of 40",
		40: "finished after 40 steps", 1234: "finished after 1,234 steps"} {
		if got := opened(t, writeRun(t, dir, "1e-3", steps))[0].progress(); got != want {
			t.Errorf("%d steps: %q, want %q", steps, got, want)
		}
	}
	writeRun(t, dir, "1e-3", 7)
	release, err := checkpoints.Run{Dir: dir}.Lock()
	if err != nil {
		t.Fatal(err)
	}
	if got := opened(t, dir)[0].progress(); got != "in progress, at step 7 of 40" {
		t.Errorf("a run that trains: %q", got)
	}
	release()

	// Of an earlier version, without events.
	write(t, filepath.Join(dir, runs.EventsFile), "")
	if got := opened(t, dir)[0].progress(); got != "stopped after step 7" {
		t.Errorf("a run that wrote no events: %q", got)
	}
	if err := os.Mkdir(filepath.Join(dir, runs.ExportDir), 0o777); err != nil {
		t.Fatal(err)
	}
	if got := opened(t, dir)[0].progress(); got != "finished after 7 steps" {
		t.Errorf("an exported run that wrote no events: %q", got)
	}
}

// A run writes while it is read, and a kill may leave half a line.
func TestHalfALastLineIsLeftOut(t *testing.T) {
	dir := writeRun(t, filepath.Join(t.TempDir(), "finetune"), "1e-3", 5)
	for _, name := range []string{runs.MetricsFile, runs.EvalFile, runs.EventsFile, runs.QuarantineFile} {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		f.WriteString(`{"step":6,"lo`)
		f.Close()
	}
	if r := opened(t, dir)[0]; len(r.metrics) != 5 || len(r.events) != 2 {
		t.Errorf("%d steps and %d events", len(r.metrics), len(r.events))
	}
}

func TestStagesAndLabels(t *testing.T) {
	parent := t.TempDir()
	a, b := filepath.Join(parent, "a"), filepath.Join(parent, "b")
	for _, dir := range []string{filepath.Join(a, "finetune"), filepath.Join(a, "pretrain"),
		filepath.Join(b, "finetune")} {
		writeRun(t, dir, "1e-3", 3)
	}
	labels := func(paths ...string) (text string) {
		for _, r := range opened(t, paths...) {
			text += strings.TrimPrefix(r.label, parent) + "; "
		}
		return text
	}
	if got, want := labels(a), "tiny, pretrain; tiny, finetune; "; got != want {
		t.Errorf("stages of a run: %q, want %q", got, want)
	}
	if got, want := labels(filepath.Join(a, "finetune"), b+"/"), "/a/finetune; /b/finetune; "; got != want {
		t.Errorf("runs of a name: %q, want %q", got, want)
	}
	write(t, filepath.Join(a, "finetune", runs.MetricsFile), "") // the second stage has just begun
	if got, want := labels(a), "tiny; "; got != want {
		t.Errorf("a run in its first stage: %q, want %q", got, want)
	}
	t.Chdir(filepath.Join(b, "finetune"))
	if got := opened(t, ".")[0]; got.Stage != "finetune" {
		t.Errorf("the stage of this folder is %q", got.Stage)
	}
}

// No file makes reading and showing fail in another way than by an error.
func FuzzRun(f *testing.F) {
	dir := writeRun(f, filepath.Join(f.TempDir(), "finetune"), "1e-3", 12)
	names := []string{runs.RecipeFile, runs.MetricsFile, runs.EvalFile, runs.EventsFile, runs.QuarantineFile,
		runs.SamplesFile}
	for i, name := range names {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(i), text)
	}
	f.Add(uint8(1), []byte("{\"step\":9}\n{\"step\":-3,\"loss\":\"NaN\",\"step_ms\":1e308}\n"))
	f.Fuzz(func(t *testing.T, which uint8, text []byte) {
		copied := filepath.Join(t.TempDir(), "finetune")
		if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(copied, names[int(which)%len(names)]), string(text))
		list, err := Open(copied, dir)
		if err != nil {
			return
		}
		pageOf(t, list)
		Draw(list, 60)
	})
}
