package train

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/model/torch/torchtest"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/synth/shapes"
	"github.com/llavatrain/llavatrain/train/profile"
)

// runSteps is the number of steps of a whole run; it saves every second one.
const runSteps = 6

// The longest rows of the data are cut to max_length.
const runRecipe = `
name: whole
device: cpu
dtype: fp32
threads: 1
seed: 7
model:
  vision: {weights: base, select_layer: -2}
  language: {weights: base, tokenizer: {path: base}, max_length: 110}
finetune:
  data: [{path: data/finetune.json, images: data/images}]
  eval: {data: [{path: data/pretrain.json, images: data/images}], every: 3}
  template: vicuna_v1
  train: {projector: {lr: 1e-3}, language: {lr: 1e-3, only: "layers\\.3"}}
  batch: {global: 4, micro: 2}
  steps: 6
  save: {every: 2, keep: 9}
`

// world is a folder with a small model and drawn data, and the recipe of a run over them.
type world struct {
	t      *testing.T
	dir    string
	recipe *recipes.Recipe
}

// newWorld writes the demo's base and little data; the image of one of the rows is missing.
func newWorld(t *testing.T, set ...string) world {
	t.Helper()
	torchtest.NoLeaks(t)
	dir := t.TempDir()
	if err := errors.Join(
		shapes.WriteModel(filepath.Join(dir, "base")),
		shapes.WriteDemo(filepath.Join(dir, "data"), shapes.Options{Pretrain: 4, Finetune: 32, Questions: 1}, nil),
		os.WriteFile(filepath.Join(dir, "whole.yaml"), []byte(runRecipe), 0o666),
	); err != nil {
		t.Fatal(err)
	}
	var rows []struct{ Image string }
	if err := json.Unmarshal(readFile(t, dir, "data/finetune.json"), &rows); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "data/images", rows[0].Image)); err != nil {
		t.Fatal(err)
	}
	r, err := recipes.Load(filepath.Join(dir, "whole.yaml"), set)
	if err != nil {
		t.Fatal(err)
	}
	return world{t, dir, r}
}

func readFile(t *testing.T, path ...string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// teller keeps what a run reports, and may act on a step.
type teller struct {
	said     []string
	progress map[string]bool
	steps    []int
	onStep   func(step int)
}

func (o *teller) Say(line string) { o.said = append(o.said, line) }

func (o *teller) Progress(what string, _, _ int64) { o.progress[what] = true }

func (o *teller) Step(m runs.Metrics, _ int, _ time.Duration) {
	o.steps = append(o.steps, m.Step)
	if o.onStep != nil {
		o.onStep(m.Step)
	}
}

// says says whether one of the lines holds all texts.
func (o *teller) says(texts ...string) bool { return o.count(texts...) > 0 }

func (o *teller) count(texts ...string) (n int) {
	for _, line := range o.said {
		if !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(line, text) }) {
			n++
		}
	}
	return n
}

// run runs the stage; what it reports is the teller's.
func (w world) run(o Options) (*teller, error) {
	w.t.Helper()
	told := &teller{progress: map[string]bool{}}
	return told, w.runWith(context.Background(), told, o)
}

func (w world) runWith(ctx context.Context, told *teller, o Options) error {
	o.Stage, o.Report = "finetune", told
	return Run(ctx, w.recipe, o)
}

// must is run for a run that should not fail.
func (w world) must(o Options) *teller {
	w.t.Helper()
	told, err := w.run(o)
	if err != nil {
		w.t.Fatal(err)
	}
	return told
}

func (w world) folder() string { return runs.RunDir(w.recipe, "finetune") }

func (w world) checkpoint(step int) string {
	return filepath.Join(w.folder(), "checkpoints", fmt.Sprintf("step-%06d", step))
}

// outcome is what a finished run must leave, however often it was interrupted: all lines but their times and memory,
// and the tensors of the checkpoint of a step and of the export.
func (w world) outcome() map[string]any {
	w.t.Helper()
	all := map[string]any{}
	for _, name := range []string{runs.MetricsFile, runs.LedgerFile, runs.QuarantineFile, runs.EvalFile} {
		var lines []map[string]any
		for line := range strings.Lines(string(readFile(w.t, w.folder(), name))) {
			var fields map[string]any
			if err := json.Unmarshal([]byte(line), &fields); err != nil {
				w.t.Fatal(err)
			}
			for key := range fields {
				if strings.HasSuffix(key, "_ms") || strings.HasSuffix(key, "_per_s") || key == "peak_memory_bytes" {
					delete(fields, key)
				}
			}
			lines = append(lines, fields)
		}
		all[name] = lines
	}
	last := w.checkpoint(runSteps)
	for _, file := range []string{
		filepath.Join(last, runs.WeightsFile), filepath.Join(last, runs.OptimizerFile),
		filepath.Join(w.folder(), runs.ExportDir, "model.safetensors"),
	} {
		all[filepath.Base(filepath.Dir(file))+"/"+filepath.Base(file)] = readFile(w.t, file)
	}
	return all
}

// A run that is stopped, interrupted and resumed leaves what an uninterrupted one leaves, and says what it does.
func TestWholeRun(t *testing.T) {
	w := newWorld(t)
	told := w.must(Options{})
	want := w.outcome()
	if !slices.Equal(told.steps, []int{1, 2, 3, 4, 5, 6}) {
		t.Errorf("steps %v were reported", told.steps)
	}
	if n := told.count("was cut at its end"); n != 1 {
		t.Errorf("the first cut sample was reported %d times", n)
	}
	if !told.says("1 rows were skipped", runs.QuarantineFile, "samples were cut to max_length") ||
		!told.says("peak memory of tensors") || !told.progress["loading weights"] || told.says("warning") {
		t.Errorf("the run said %q, progress %v", told.said, told.progress)
	}

	told = w.must(Options{Overwrite: true, StopAt: 3})
	if !told.says("moved the old run to "+w.folder()+".old-1") || !told.says("stopped after step 3 of 6") {
		t.Errorf("the stopped run said %q", told.said)
	}
	if told := w.must(Options{Resume: true, StopAt: 1}); !told.says("already at step 3") || len(told.steps) > 0 {
		t.Errorf("a stop in the past said %q", told.said)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	told = &teller{progress: map[string]bool{}, onStep: func(int) { cancel() }}
	err := w.runWith(ctx, told, Options{Resume: true})
	if !errors.Is(err, runs.ErrInterrupted) || !slices.Equal(told.steps, []int{4}) ||
		!told.says("resuming from "+w.checkpoint(3), "step 3") {
		t.Errorf("interrupted: %v, steps %v, said %q", err, told.steps, told.said)
	}
	if told := w.must(Options{Resume: true}); !slices.Equal(told.steps, []int{5, 6}) {
		t.Errorf("resumed at steps %v", told.steps)
	}
	if got := w.outcome(); !reflect.DeepEqual(want, got) {
		for name := range want {
			if !reflect.DeepEqual(want[name], got[name]) {
				t.Errorf("%s differs after a stop, an interruption and a resume", name)
			}
		}
	}
	told = w.must(Options{Resume: true})
	if again := told.says("finished: "); !told.says("is finished (6 steps)") || again || len(told.steps) > 0 {
		t.Errorf("a finished run said %q", told.said)
	}
}

// An existing run is never lost, and a damaged checkpoint is never resumed from.
func TestRunFolders(t *testing.T) {
	w := newWorld(t, "finetune.steps=4", "finetune.eval.every=9")
	if told := w.must(Options{Resume: true, StopAt: 3}); !told.says("nothing to resume") {
		t.Errorf("resuming nothing said %q", told.said)
	}
	_, err := w.run(Options{})
	wantError(t, err, failure.ErrInput, w.folder()+" already holds a run")
	_, err = w.run(Options{Resume: true, From: filepath.Join(w.dir, "nowhere")})
	wantError(t, err, failure.ErrInput, "--resume="+filepath.Join(w.dir, "nowhere"))

	damage := func(step int) {
		t.Helper()
		file := filepath.Join(w.checkpoint(step), runs.WeightsFile)
		content := readFile(t, file)
		content[len(content)-1]++
		if err := os.WriteFile(file, content, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if told := w.must(Options{Resume: true, From: w.checkpoint(2), StopAt: 3}); !slices.Equal(told.steps, []int{3}) {
		t.Errorf("from step 2, steps %v were taken", told.steps)
	}
	damage(3)
	told := w.must(Options{Resume: true, StopAt: 3})
	if !told.says("warning: ignoring a damaged checkpoint", w.checkpoint(3)) || !slices.Equal(told.steps, []int{3}) {
		t.Errorf("steps %v, said %q", told.steps, told.said)
	}
	damage(2)
	damage(3)
	_, err = w.run(Options{Resume: true})
	wantError(t, err, failure.ErrStorage, "no checkpoint in "+w.folder()+" verifies")

	release, err := checkpoints.Run{Dir: w.folder()}.Lock()
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	_, err = w.run(Options{Overwrite: true})
	wantError(t, err, checkpoints.ErrBusy, w.folder())
}

func wantError(t *testing.T, err, kind error, text string) {
	t.Helper()
	if !errors.Is(err, kind) || !strings.Contains(err.Error(), text) {
		t.Errorf("error %v, want a %q that says %q", err, kind, text)
	}
}

// What cannot be opened is an error before anything is written.
func TestRunDoesNotStart(t *testing.T) {
	for name, c := range map[string]struct {
		set  []string
		text string
	}{
		"no weights":      {[]string{"model.language.weights=nowhere"}, "nowhere"},
		"a missing GPU":   {[]string{"device=cuda"}, "no CUDA device available"},
		"too many places": {[]string{"model.language.max_length=513"}, "more than the 512 positions"},
		"nothing trains":  {[]string{"finetune.train.language.only=nothing"}, "train.language selects no weight"},
		"no held-out rows": {[]string{"finetune.eval.data=[{path: none.json, images: .}]"},
			"finetune.eval.data"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, c.set...)
			if _, err := w.run(Options{}); err == nil || !strings.Contains(err.Error(), c.text) {
				if engine, _ := torch.Open(); name != "a missing GPU" || engine.CUDADevices == 0 {
					t.Errorf("error %v does not say %q", err, c.text)
				}
			}
			if checkpoints.Exists(w.folder()) {
				t.Error("a run folder was left")
			}
		})
	}
}

// A profile covers steps 3 to 5 of the process, or what a shorter one has of them, at least its last step.
func TestProfiledSteps(t *testing.T) {
	w := newWorld(t, "finetune.eval.every=9", "finetune.steps=7")
	for _, c := range []struct {
		stopAt int
		steps  string
	}{{4, "steps 3 to 4"}, {5, "step 5"}, {0, "step 7"}} {
		told := w.must(Options{Resume: true, Profile: true, StopAt: c.stopAt})
		if !told.says("profile of " + c.steps + ":") {
			t.Errorf("stopped at %d, the run said %q, want a profile of %s", c.stopAt, told.said, c.steps)
		}
	}
	var trace struct {
		TraceEvents []struct {
			Name string
			Dur  float64
		}
	}
	if err := json.Unmarshal(readFile(t, w.folder(), runs.ProfileDir, profile.TraceFile), &trace); err != nil {
		t.Fatal(err)
	}
	waits := 0
	for _, e := range trace.TraceEvents {
		if e.Name == "waiting for data" {
			waits++
		}
		if e.Dur < 0 {
			t.Errorf("%s took %v us", e.Name, e.Dur)
		}
	}
	if waits != 1 {
		t.Errorf("%d waits for data in a profile of one step", waits)
	}
}
