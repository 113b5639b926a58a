package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/runs/tensorboard"
)

// lossesOf are the losses by tag and step that a run's event files show, and those that its other files have.
func lossesOf(t *testing.T, runDir string) (shown, want map[string]float32) {
	t.Helper()
	shown, want = map[string]float32{}, map[string]float32{}
	files, err := filepath.Glob(filepath.Join(runDir, "tensorboard", "*"))
	must(t, err)
	for _, file := range files {
		_, err := tensorboard.Read(bytes.NewReader(read(t, file)), func(e tensorboard.Event) bool {
			for _, v := range e.Values {
				if v.Tag == "train/loss" || v.Tag == "eval/loss" {
					key := fmt.Sprintf("%s@%d", v.Tag, e.Step)
					if _, twice := shown[key]; twice {
						t.Errorf("%s is shown twice", key)
					}
					shown[key] = v.Number
				}
			}
			return true
		})
		if err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
	for _, m := range readMetrics(t, runDir) {
		want[fmt.Sprintf("train/loss@%d", m.Step)] = float32(m.Loss)
	}
	evaluations, _ := readEvaluations(t, runDir)
	for _, e := range evaluations {
		want[fmt.Sprintf("eval/loss@%d", e.Step)] = float32(e.Loss)
	}
	return shown, want
}

// Event files repeat the metrics of every step after stops, a kill and a torn record, and TensorBoard reads them so if
// REFERENCE_PYTHON has it.
func TestBoardIsReadByTensorBoard(t *testing.T) {
	dir := world(t)
	recipe, runDir := heldOut(t, dir, 6), filepath.Join(dir, "runs", "eval", "finetune")
	command(t, 0, "pretrain", recipe)
	python := os.Getenv("REFERENCE_PYTHON")
	requireBoard := func(when string) {
		t.Helper()
		shown, want := lossesOf(t, runDir)
		if diff := cmp.Diff(want, shown); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
		if python == "" {
			return
		}
		script := filepath.Join("..", "..", "scripts", "reference", "board.py")
		out, err := exec.Command(python, script, runDir).CombinedOutput()
		if t.Logf("%s: %s", when, out); err != nil {
			t.Error(err)
		}
	}
	command(t, 0, "finetune", recipe, "--stop-at=7")
	requireBoard("stopped")
	began := time.Now()
	command(t, 0, "finetune", recipe, "--resume")
	span := time.Since(began)
	requireBoard("resumed")

	// A run that is killed in the middle of a record, wherever it was killed before.
	command(t, 0, "finetune", recipe, "--overwrite", "--stop-at=3")
	killRandomly(t, rand.New(rand.NewPCG(3, 3)), span, "finetune", recipe)
	files, err := filepath.Glob(filepath.Join(runDir, "tensorboard", "*"))
	must(t, err)
	last := files[len(files)-1]
	must(t, os.WriteFile(last, append(read(t, last), 0x20, 0, 0, 0, 0, 0, 0, 0, 0x29, 0xed), 0o666))
	command(t, 0, "finetune", recipe, "--resume")
	requireBoard("killed in the middle of a record")

	must(t, os.RemoveAll(filepath.Join(runDir, "tensorboard"))) // as if an earlier version had trained it
	command(t, 0, "finetune", recipe, "--resume", set("finetune.steps", 22), "--accept=finetune.steps")
	requireBoard("without earlier files")
}

// events.jsonl tells what happened to a run, also of what was undone, and what memory was expected and used.
func TestEventsOfARun(t *testing.T) {
	dir := world(t)
	recipe, runDir := filepath.Join(dir, "world.yaml"), filepath.Join(dir, "runs", "world", "pretrain")
	command(t, 0, "pretrain", recipe, "--stop-at=7")
	log := filepath.Join(runDir, "events.jsonl")
	write(t, log, string(read(t, log))+`{"event":"checkp`)
	command(t, 0, "pretrain", recipe, "--resume="+filepath.Join(runDir, "checkpoints", "step-000005"))
	var kinds []string
	for line := range bytes.Lines(read(t, log)) {
		var e runs.Event
		must(t, json.Unmarshal(line, &e))
		kinds = append(kinds, fmt.Sprintf("%s %d", e.Event, e.Step))
		if time.Since(e.Time) > time.Hour || e.Time.IsZero() {
			t.Errorf("an event at %v", e.Time)
		}
		if e.Event == runs.Predicted && (e.PredictedBytes <= 0 || (e.MeasuredBytes > 0) != (e.Step == 20)) {
			t.Errorf("memory %+v", e)
		}
		if e.Event == runs.Resumed && (e.Total != 20 || e.Device != "cpu" || e.Dtype != "fp32") {
			t.Errorf("start %+v", e)
		}
	}
	want := []string{"start 0", "prediction 0", "checkpoint 5", "checkpoint 7", "resume 5", "prediction 5",
		"checkpoint 10", "checkpoint 15", "checkpoint 20", "prediction 20", "finish 20"}
	if diff := cmp.Diff(want, kinds); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}
