package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/benchmarks"
	"github.com/llavatrain/llavatrain/runs"
)

// popeQuestions is how many questions popeFolder writes.
const popeQuestions = 3 * 6

// popeFolder writes a small POPE about a world's pictures.
func popeFolder(t *testing.T, dir string) string {
	t.Helper()
	folder := filepath.Join(dir, "pope")
	for _, below := range []string{"coco", "val2014"} {
		if err := os.MkdirAll(filepath.Join(folder, below), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	var questions strings.Builder
	n := 0
	for _, category := range []string{"adversarial", "popular", "random"} {
		var labels strings.Builder
		for i := range popeQuestions / 3 {
			n++
			image, object := fmt.Sprintf("finetune-%05d.png", i/2), []string{"circle", "square"}[i%2]
			write(t, filepath.Join(folder, "val2014", image),
				string(read(t, filepath.Join(dir, "data", "images", image))))
			fmt.Fprintf(&questions, `{"question_id": %d, "image": %q, "text": "Is there a %s in the image?\nAnswer `+
				`the question using a single word or phrase.", "category": %q}`+"\n", n, image, object, category)
			fmt.Fprintf(&labels, `{"question_id": %d, "image": %q, "text": "Is there a %s in the image?", "label": %q}`+
				"\n", n, image, object, []string{"yes", "no"}[i%2])
		}
		write(t, filepath.Join(folder, "coco", "coco_pope_"+category+".json"), labels.String())
	}
	write(t, filepath.Join(folder, "llava_pope_test.jsonl"), questions.String())
	return folder
}

// askedPOPE is the flag that has a run asked so many questions of a POPE.
func askedPOPE(stage, folder string, questions, every int) string {
	return fmt.Sprintf("--set=%s.eval={benchmarks: [{name: pope, data: %s, questions: %d, every: %d}]}", stage, folder,
		questions, every)
}

// benchmarked are the lines of eval.jsonl that are about benchmarks.
func benchmarked(t *testing.T, runDir string) (list []runs.Benchmarked) {
	t.Helper()
	for line := range strings.Lines(string(read(t, filepath.Join(runDir, "eval.jsonl")))) {
		var l runs.EvalLine
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		if l.Benchmark != nil {
			list = append(list, *l.Benchmark)
		}
	}
	return list
}

// A run that is asked a benchmark trains as one that is not, and its figures are those of `benchmark run`.
func TestBenchmarksDuringTraining(t *testing.T) {
	dir := world(t)
	recipe, pope := filepath.Join(dir, "world.yaml"), popeFolder(t, dir)
	command(t, 0, "pretrain", recipe)
	runDir := filepath.Join(dir, "runs", "world", "finetune")
	command(t, 0, "finetune", recipe)
	want := outcomeOf(t, runDir)
	told := command(t, 0, "finetune", recipe, "--overwrite", askedPOPE("finetune", pope, 1000, 8))
	requireSame(t, "with a benchmark", want, outcomeOf(t, runDir))
	list := benchmarked(t, runDir)
	var steps []int
	for _, b := range list {
		steps = append(steps, b.Step)
	}
	if diff := cmp.Diff([]int{8, 16, 20}, steps); diff != "" {
		t.Fatalf("asked after steps (-want +got):\n%s", diff)
	}
	for _, want := range []string{fmt.Sprintf("%d questions of pope every 8 steps and at the end", popeQuestions),
		"step 16/20  pope by rule original: f1 ", fmt.Sprintf("  %d questions\n", popeQuestions)} {
		if !strings.Contains(told, want) {
			t.Errorf("the messages lack %q:\n%s", want, told)
		}
	}
	out := filepath.Join(dir, "out")
	command(t, 0, "benchmark", "run", "pope", runDir, "--data", pope, "--out", out)
	var result benchmarks.Result
	if err := json.Unmarshal(read(t, filepath.Join(out, "result.json")), &result); err != nil {
		t.Fatal(err)
	}
	last := list[len(list)-1]
	if last.Questions != result.Answered || last.Rule != result.Rule || len(last.Metrics) != len(result.Metrics) {
		t.Errorf("the run's figures are %+v, those of benchmark run %+v", last, result)
	}
	for name, v := range result.Metrics {
		if float64(last.Metrics[name]) != v || float64(last.Errors[name]) != result.Errors[name] {
			t.Errorf("%s is %v ± %v, of benchmark run %v ± %v", name, last.Metrics[name], last.Errors[name], v,
				result.Errors[name])
		}
	}
}

// Where answers need more memory than a step, that is predicted.
func TestMemoryOfBenchmarks(t *testing.T) {
	dir := world(t)
	recipe, small := filepath.Join(dir, "world.yaml"), set("pretrain.batch", "{global: 2, micro: 1}")
	command(t, 0, "pretrain", recipe, small, askedPOPE("pretrain", popeFolder(t, dir), popeQuestions, 9))
	last := lastPrediction(t, filepath.Join(dir, "runs", "world", "pretrain"))
	if off := float64(last.PredictedBytes)/float64(last.MeasuredBytes) - 1; math.Abs(off) > 0.1 {
		t.Errorf("%d bytes predicted, %d measured: off by %.0f %%", last.PredictedBytes, last.MeasuredBytes, 100*off)
	}
	command(t, 0, "pretrain", recipe, small, "--overwrite")
	without := lastPrediction(t, filepath.Join(dir, "runs", "world", "pretrain"))
	if without.MeasuredBytes >= last.MeasuredBytes {
		t.Errorf("%d bytes without answers, %d with: the step is the larger one", without.MeasuredBytes,
			last.MeasuredBytes)
	}
}

// lastPrediction is the last prediction of a run's memory.
func lastPrediction(t *testing.T, runDir string) (last runs.Event) {
	t.Helper()
	for line := range strings.Lines(string(read(t, filepath.Join(runDir, "events.jsonl")))) {
		var e runs.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if e.Event == runs.Predicted {
			last = e
		}
	}
	return last
}

// However a run is stopped and resumed, the figures are the same bytes.
func TestBenchmarksSurviveResume(t *testing.T) {
	dir := world(t)
	recipe, pope := heldOut(t, dir, 4), popeFolder(t, dir)
	runDir := filepath.Join(dir, "runs", "eval", "pretrain")
	args := []string{"pretrain", recipe, fmt.Sprintf("--set=pretrain.eval={data: [{path: %s, images: %s}], every: 4, "+
		"benchmarks: [{name: pope, data: %s, questions: 9, every: 6}]}", filepath.Join(dir, "held.json"),
		filepath.Join(dir, "data", "images"), pope)}
	command(t, 0, args...)
	_, want := readEvaluations(t, runDir)
	if len(want) != 5+4 || len(benchmarked(t, runDir)) != 4 {
		t.Fatalf("%d lines", len(want))
	}
	require := func(what string) {
		t.Helper()
		_, got := readEvaluations(t, runDir)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: eval.jsonl differs (-want +got):\n%s", what, diff)
		}
		removeAside(t, runDir)
	}
	for _, k := range []int{5, 6, 12, 19} {
		command(t, 0, append(args, "--overwrite", fmt.Sprintf("--stop-at=%d", k))...)
		command(t, 0, append(args, "--resume")...)
		require(fmt.Sprintf("stopped at %d", k))
	}
	command(t, 0, append(args, "--overwrite", "--stop-at=12")...)
	kept := strings.Join(want[:4], "\n") // as after an interrupt between the loss and the benchmark of step 12
	if !strings.Contains(want[4], `"step":12`) || !strings.Contains(want[4], "pope") {
		t.Fatalf("lines %q", want)
	}
	lines := strings.SplitAfter(string(read(t, filepath.Join(runDir, "eval.jsonl"))), "\n")
	write(t, filepath.Join(runDir, "eval.jsonl"), strings.Join(lines[:4], ""))
	command(t, 0, append(args, "--resume")...)
	require("the benchmark was lost beside " + kept)
	code, text := signalled(t, []string{"step 6/20  pope"}, []syscall.Signal{syscall.SIGTERM}, append(args,
		"--overwrite")...)
	if code != 143 {
		t.Fatalf("exit code %d:\n%s", code, text)
	}
	command(t, 0, append(args, "--resume")...)
	require("terminated")
}

// Of several processes rank 0 answers, as a process alone does.
func TestBenchmarksOfSeveralProcesses(t *testing.T) {
	dir := world(t)
	recipe, pope := filepath.Join(dir, "world.yaml"), popeFolder(t, dir)
	runDir := filepath.Join(dir, "runs", "world", "pretrain")
	held := heldOut(t, dir, 9)
	together(t, 2, "pretrain", held, "--set=name=world", fmt.Sprintf("--set=pretrain.eval={data: [{path: %s, images: "+
		"%s}], every: 9, samples: 2}", filepath.Join(dir, "held.json"), filepath.Join(dir, "data", "images")))
	if list := samplesOf(t, runDir); len(list) != 4*2 || list[2].Step != 9 || list[7].Step != 20 {
		t.Errorf("samples %+v", list)
	}
	together(t, 2, "pretrain", recipe, askedPOPE("pretrain", pope, 7, 9), "--overwrite")
	if list := benchmarked(t, runDir); len(list) != 3 || list[0].Step != 9 || list[0].Questions != 7 {
		t.Fatalf("lines %+v", list)
	}
	want := read(t, filepath.Join(runDir, "eval.jsonl"))
	together(t, 2, "pretrain", recipe, askedPOPE("pretrain", pope, 7, 9), "--overwrite", "--stop-at", "10")
	together(t, 2, "pretrain", recipe, askedPOPE("pretrain", pope, 7, 9), "--resume")
	if diff := cmp.Diff(string(want), string(read(t, filepath.Join(runDir, "eval.jsonl")))); diff != "" {
		t.Errorf("after a resume (-want +got):\n%s", diff)
	}
}

// What is wrong with a benchmark ends the run before it begins, and `check` says it too; `plan` counts its memory.
func TestBadBenchmarksOfARecipe(t *testing.T) {
	dir := world(t)
	recipe, pope := filepath.Join(dir, "world.yaml"), popeFolder(t, dir)
	if out := command(t, 0, "check", recipe, "--stage=pretrain", askedPOPE("pretrain", pope, 7, 9)); !strings.Contains(
		out, "eval.benchmarks[0] pope: 7 questions\n") {
		t.Errorf("check says\n%s", out)
	}
	if out := command(t, 0, "plan", recipe, "--stage=pretrain", askedPOPE("pretrain", pope, 7, 9)); !strings.Contains(
		out, "keys and values for the answers to 8 questions together take ") {
		t.Errorf("plan says\n%s", out)
	}
	gone := popeFolder(t, world(t))
	if err := os.Remove(filepath.Join(gone, "val2014", "finetune-00001.png")); err != nil {
		t.Fatal(err)
	}
	of := func(name, data string) string {
		return fmt.Sprintf("--set=pretrain.eval={benchmarks: [{name: %s, data: %s}]}", name, data)
	}
	for what, c := range map[string]struct {
		set  string
		want []string
	}{
		"no such benchmark": {of("pop", pope),
			[]string{"eval.benchmarks[0]: benchmark must be one of", "pope", `not "pop"`}},
		"no such folder": {of("pope", filepath.Join(dir, "none")), []string{"eval.benchmarks[0]: ", "none"}},
		"no such rule": {"--set=pretrain.eval={benchmarks: [{name: pope, data: " + pope + ", rule: best}]}",
			[]string{"rule of pope must be one of original, lmms"}},
		"a judge": {of("llavabench", shared(t, "parity-bench", "llavabench")),
			[]string{"eval.benchmarks[0]: llavabench: ", "judge"}},
		"no pictures": {of("pope", shared(t, "parity-bench", "pope")),
			[]string{"eval.benchmarks[0]: pope: image folder ", "no such file"}},
		"a picture is missing": {of("pope", gone),
			[]string{"pope: question 3: ", "finetune-00001.png", "no such file", "take the benchmark out of"}},
	} {
		for _, args := range [][]string{{"pretrain"}, {"check", "--stage=pretrain"}} {
			if args[0] == "check" {
				out := command(t, 2, append(args, recipe, c.set)...)
				for _, want := range c.want {
					if !strings.Contains(out, want) {
						t.Errorf("%s: check lacks %q:\n%s", what, want, out)
					}
				}
				continue
			}
			complain(t, 2, append(c.want, "pretrain."), append(args, recipe, c.set)...)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "runs", "world", "pretrain")); err == nil {
		t.Error("a run folder was made")
	}
}
