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

	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/train/score"
)

// heldOut writes held.json into a world, with images of two folders, a text-only row and a bad row, and returns a
// recipe with an eval section.
func heldOut(t *testing.T, dir string, every int) (recipe string) {
	t.Helper()
	images := filepath.Join(dir, "data", "images")
	if err := os.MkdirAll(filepath.Join(images, "coco", "train2017"), 0o777); err != nil {
		t.Fatal(err)
	}
	var rows []json.RawMessage
	for i := range 5 {
		file := fmt.Sprintf("finetune-%05d.png", i)
		write(t, filepath.Join(images, "coco", "train2017", file), string(read(t, filepath.Join(images, file))))
		rows = append(rows, json.RawMessage(pictureRow("coco/train2017/"+file)), json.RawMessage(pictureRow(file)))
	}
	rows = append(rows, json.RawMessage(turnsRow("", "human", "what is red", "gpt", "a red square")),
		json.RawMessage(pictureRow("gone.png")))
	writeRows(t, filepath.Join(dir, "held.json"), rows)
	recipe = filepath.Join(dir, "eval.yaml")
	section := fmt.Sprintf("  eval: {data: [{path: held.json, images: data/images}], every: %d}\n", every)
	write(t, recipe, strings.Replace(worldRecipe, "name: world", "name: eval", 1)+section)
	return recipe
}

func readEvaluations(t *testing.T, runDir string) (list []runs.Evaluation, text []string) {
	t.Helper()
	for line := range strings.Lines(string(read(t, filepath.Join(runDir, "eval.jsonl")))) {
		var e runs.Evaluation
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("eval.jsonl: %q: %v", line, err)
		}
		list, text = append(list, e), append(text, compared(t, line))
	}
	return list, text
}

// Evaluation does not change the training and computes what score computes, also with adapters that use dropout.
func TestEvaluationChangesNothing(t *testing.T) {
	for name, part := range map[string]string{"whole": "{lr: 1e-3}",
		"adapters": "{lr: 1e-2, lora: {r: 4, alpha: 8, dropout: 0.2}}"} {
		t.Run(name, func(t *testing.T) {
			dir := world(t)
			recipe := heldOut(t, dir, 6)
			command(t, 0, "pretrain", recipe)
			projector := set("model.projector.weights", filepath.Join(dir, "runs", "eval", "pretrain", "export",
				"mm_projector.safetensors"))
			command(t, 0, "finetune", filepath.Join(dir, "world.yaml"), projector, set("finetune.train.language", part))
			messages := command(t, 0, "finetune", recipe, projector, set("finetune.train.language", part))
			runDir := filepath.Join(dir, "runs", "eval", "finetune")
			requireSame(t, "with evaluations", outcomeOf(t, filepath.Join(dir, "runs", "world", "finetune")),
				outcomeOf(t, runDir))
			requireEvaluated(t, messages, runDir)
			evaluations, _ := readEvaluations(t, runDir)
			requireScores(t, dir, runDir, evaluations[len(evaluations)-1])
		})
	}
}

// requireEvaluated checks the files and messages of a run of 20 steps with an evaluation every 6 steps.
func requireEvaluated(t *testing.T, messages, runDir string) {
	t.Helper()
	var steps []int
	evaluations, _ := readEvaluations(t, runDir)
	for _, e := range evaluations {
		steps = append(steps, e.Step)
		if e.Samples != 11 || e.Skipped != 1 || len(e.LossBy) != 2 || len(e.LossBySource) != 3 {
			t.Errorf("evaluation %+v", e)
		}
	}
	if diff := cmp.Diff([]int{6, 12, 18, 20}, steps); diff != "" {
		t.Fatalf("evaluated steps (-want +got):\n%s", diff)
	}
	for _, fragment := range []string{"evaluation on 12 samples every 6 steps and at the end",
		"step 18/20  evaluation loss", "11 samples, 1 rows skipped"} {
		if !strings.Contains(messages, fragment) {
			t.Errorf("the messages lack %q:\n%s", fragment, messages)
		}
	}
}

// requireScores compares an evaluation of the finished model with the scores of its export.
func requireScores(t *testing.T, dir, runDir string, want runs.Evaluation) {
	t.Helper()
	out := filepath.Join(dir, "scores.jsonl")
	command(t, 0, "score", runDir, filepath.Join(dir, "held.json"), "--images", filepath.Join(dir, "data", "images"),
		"--out", out)
	totals, rows := map[string]score.Total{}, 0
	for line := range strings.Lines(string(read(t, out))) {
		var row score.RowScore
		if err := json.Unmarshal([]byte(line), &row); err != nil || row.Row != rows {
			t.Fatalf("line %d of the scores: %q, %v", rows, line, err)
		}
		if rows++; row.Scored != nil {
			totals["all"], totals[row.Source] = totals["all"].Add(*row.Scored), totals[row.Source].Add(*row.Scored)
		} else if !strings.Contains(row.Skipped, `image "gone.png": no such file`) {
			t.Errorf("row %d was skipped: %q", row.Row, row.Skipped)
		}
	}
	if rows != 12 {
		t.Errorf("%d lines for 12 rows", rows)
	}
	losses := map[string]runs.Number{"all": want.Loss, "coco/train2017": want.LossBySource["coco/train2017"],
		".": want.LossBySource["."], "text": want.LossBySource["text"]}
	for name, loss := range losses {
		if got := totals[name].Mean(); !(math.Abs(got-float64(loss)) <= 1e-5*got) {
			t.Errorf("%s: score has a loss of %v, the evaluation %v", name, got, loss)
		}
	}
	if totals["all"].SupervisedTokens != want.SupervisedTokens {
		t.Errorf("score counts %d tokens, the evaluation %d", totals["all"].SupervisedTokens, want.SupervisedTokens)
	}
}

// However a run is stopped and resumed, eval.jsonl is the same as that of an uninterrupted run: an interrupted
// evaluation is repeated before the next step.
func TestEvaluationsSurviveResume(t *testing.T) {
	dir := world(t)
	recipe := heldOut(t, dir, 6)
	evaluation := func(every int) string {
		return fmt.Sprintf("--set=pretrain.eval={data: [{path: %s, images: %s}], every: %d}",
			filepath.Join(dir, "held.json"), filepath.Join(dir, "data", "images"), every)
	}
	runDir := filepath.Join(dir, "runs", "eval", "pretrain")
	command(t, 0, "pretrain", recipe, evaluation(3))
	_, want := readEvaluations(t, runDir)
	if len(want) != 7 {
		t.Fatalf("%d evaluations, want 7", len(want))
	}
	requireEvaluations := func(what string) {
		t.Helper()
		_, got := readEvaluations(t, runDir)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: eval.jsonl differs (-want +got):\n%s", what, diff)
		}
		removeAside(t, runDir)
	}
	for _, k := range []int{1, 5, 6, 7, 19} {
		command(t, 0, "pretrain", recipe, evaluation(3), "--overwrite", fmt.Sprintf("--stop-at=%d", k))
		command(t, 0, "pretrain", recipe, evaluation(3), "--resume")
		requireEvaluations(fmt.Sprintf("stopped at %d", k))
	}
	command(t, 0, "pretrain", recipe, evaluation(3), "--overwrite", "--stop-at=6")
	_, lines := readEvaluations(t, runDir)
	first, _, _ := strings.Cut(string(read(t, filepath.Join(runDir, "eval.jsonl"))), "\n")
	write(t, filepath.Join(runDir, "eval.jsonl"), first+"\n") // as after an interrupt during the second evaluation
	command(t, 0, "pretrain", recipe, evaluation(3), "--resume")
	if requireEvaluations("the last evaluation was lost"); len(lines) != 2 {
		t.Errorf("%d evaluations in six steps", len(lines))
	}
	code, text := signalled(t, []string{"step 3/20  evaluation"}, []syscall.Signal{syscall.SIGTERM}, "pretrain", recipe,
		evaluation(3), "--overwrite")
	if code != 143 {
		t.Fatalf("exit code %d:\n%s", code, text)
	}
	command(t, 0, "pretrain", recipe, evaluation(3), "--resume")
	requireEvaluations("terminated")
}

func TestBadEvaluationData(t *testing.T) {
	dir := world(t)
	recipe := heldOut(t, dir, 6)
	projector := set("model.projector.weights", filepath.Join(dir, "none.safetensors"))
	complain(t, 2, []string{"finetune.eval.data[0].path", "nope.json", "no such file"}, "finetune", recipe, projector,
		set("finetune.eval.data.0.path", filepath.Join(dir, "nope.json")))
	command(t, 0, "pretrain", recipe)
	complain(t, 2, []string{"evaluation after step 6: eval.data[0] row 11: ", `image "gone.png": no such file`},
		"finetune", recipe, set("finetune.bad_samples", "fail"))
	if n := len(readMetrics(t, filepath.Join(dir, "runs", "eval", "finetune"))); n != 6 {
		t.Errorf("%d steps before the evaluation that failed", n)
	}
	complain(t, 2, []string{"resuming from", "(step 6)", "evaluation after step 6"}, "finetune", recipe,
		set("finetune.bad_samples", "fail"), "--resume")
}

// A mean of no samples is not a number: training reports it and continues.
func TestEvaluationOfNothing(t *testing.T) {
	dir := world(t)
	recipe := heldOut(t, dir, 20)
	writeRows(t, filepath.Join(dir, "held.json"), []json.RawMessage{json.RawMessage(pictureRow("gone.png"))})
	command(t, 0, "pretrain", recipe)
	messages := command(t, 0, "finetune", recipe)
	if !strings.Contains(messages, "no row of eval.data can be scored, all 1 were skipped") {
		t.Errorf("messages are %s", messages)
	}
	if list, _ := readEvaluations(t, filepath.Join(dir, "runs", "eval", "finetune")); len(list) != 0 {
		t.Errorf("evaluations are %v", list)
	}
}
