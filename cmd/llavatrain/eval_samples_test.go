package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image/jpeg"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/runs/tensorboard"
)

func samplesOf(t *testing.T, runDir string) (list []runs.Sample) {
	t.Helper()
	for line := range strings.Lines(string(read(t, filepath.Join(runDir, "samples.jsonl")))) {
		var s runs.Sample
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Fatal(err)
		}
		list = append(list, s)
	}
	return list
}

// The answers that a run keeps are those of generate, at step 0, at each evaluation and at the end; its training is
// that of a run without.
func TestSamplesOfARun(t *testing.T) {
	dir := world(t)
	recipe := heldOut(t, dir, 8)
	command(t, 0, "pretrain", recipe)
	runDir := filepath.Join(dir, "runs", "eval", "finetune")
	args := []string{"finetune", recipe, "--overwrite"}
	command(t, 0, args...)
	want := outcomeOf(t, runDir)
	command(t, 0, append(args, set("finetune.eval.samples", 3))...)
	requireSame(t, "with samples", want, outcomeOf(t, runDir))
	list := samplesOf(t, runDir)
	var at []string
	for _, s := range list {
		at = append(at, fmt.Sprintf("%d %d", s.Step, s.Sample))
		if first := list[s.Sample]; s.ID != first.ID || s.Question != first.Question || s.Expected != first.Expected ||
			s.Picture == "" || s.Question == "" || strings.Contains(s.Question, "<image>") || s.Expected == "" {
			t.Errorf("sample %+v, at first %+v", s, first)
		}
	}
	var steps []string
	for _, step := range []int{0, 8, 16, 20} {
		for i := range 3 {
			steps = append(steps, fmt.Sprintf("%d %d", step, i))
		}
	}
	if diff := cmp.Diff(steps, at); diff != "" {
		t.Fatalf("samples (-want +got):\n%s", diff)
	}
	requireGenerated(t, dir, runDir, list[len(list)-3:])
	requirePictures(t, runDir, 3)
	text := read(t, filepath.Join(runDir, "samples.jsonl"))
	for _, k := range []int{7, 8} {
		command(t, 0, append(args, set("finetune.eval.samples", 3), fmt.Sprintf("--stop-at=%d", k))...)
		command(t, 0, "finetune", recipe, set("finetune.eval.samples", 3), "--resume")
		if got := read(t, filepath.Join(runDir, "samples.jsonl")); !bytes.Equal(got, text) {
			t.Errorf("stopped at %d: samples.jsonl differs:\n%s", k, cmp.Diff(string(text), string(got)))
		}
		requirePictures(t, runDir, 3)
	}
}

// requireGenerated compares answers with those of the finished model.
func requireGenerated(t *testing.T, dir, runDir string, list []runs.Sample) {
	t.Helper()
	var questions strings.Builder
	for _, s := range list {
		fmt.Fprintf(&questions, `{"question_id": %d, "image": %q, "text": %q}`+"\n", s.Sample, s.Picture, s.Question)
	}
	write(t, filepath.Join(dir, "questions.jsonl"), questions.String())
	out := filepath.Join(dir, "answers.jsonl")
	command(t, 0, "generate", runDir, "--batch", filepath.Join(dir, "questions.jsonl"), "--images",
		filepath.Join(dir, "data", "images"), "--max-tokens", "128", "--out", out)
	answers, _ := texts(t, out)
	for i, s := range list {
		if answers[i][1] != s.Answer {
			t.Errorf("%s is answered %q, by generate %q", s.ID, s.Answer, answers[i][1])
		}
	}
}

// requirePictures checks the pictures of samples, in their folder and in TensorBoard, and their answers there.
func requirePictures(t *testing.T, runDir string, n int) {
	t.Helper()
	shown := map[string]int{}
	files, err := filepath.Glob(filepath.Join(runDir, "tensorboard", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if _, err := tensorboard.Read(bytes.NewReader(read(t, file)), func(e tensorboard.Event) bool {
			for _, v := range e.Values {
				shown[v.Tag]++
			}
			return true
		}); err != nil {
			t.Error(err)
		}
	}
	for i := range n {
		picture, err := jpeg.Decode(bytes.NewReader(read(t, runs.ThumbnailFile(runDir, i))))
		if err != nil || picture.Bounds().Dx() < 8 {
			t.Errorf("picture %d: %v", i, err)
		}
		if shown[fmt.Sprintf("eval/picture/%d", i)] != 1 || shown[fmt.Sprintf("eval/answer/%d", i)] != 4 {
			t.Errorf("TensorBoard shows of sample %d: %v", i, shown)
		}
	}
}

func TestBadSamplesOfARecipe(t *testing.T) {
	dir := world(t)
	recipe, runDir := heldOut(t, dir, 8), filepath.Join(dir, "runs", "eval", "pretrain")
	writeRows(t, filepath.Join(dir, "held.json"), []json.RawMessage{
		json.RawMessage(turnsRow("", "human", "what is red", "gpt", "a red square"))})
	held := fmt.Sprintf("--set=pretrain.eval={data: [{path: %s}], samples: 2}", filepath.Join(dir, "held.json"))
	complain(t, 2, []string{"pretrain.eval.samples: no row of eval.data has pictures"}, "pretrain", recipe, held)
	if _, err := os.Stat(runDir); err == nil {
		t.Error("a run folder was made")
	}
}
