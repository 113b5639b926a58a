package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/benchmarks"
)

// trainedWorld is a folder of world's with a model that was trained a little.
func trainedWorld(t *testing.T) (dir, trained string) {
	t.Helper()
	dir = world(t)
	runs := filepath.Join(dir, "runs")
	command(t, 0, "pretrain", filepath.Join(dir, "world.yaml"), "--runs", runs)
	command(t, 0, "finetune", filepath.Join(dir, "world.yaml"), "--runs", runs, "--stop-at", "10")
	return dir, filepath.Join(runs, "world")
}

// asQuestionFile writes a benchmark's questions as a file of LLaVA's form, with their pictures in a folder.
func asQuestionFile(t *testing.T, name, data, dir string) (questions string, limit int) {
	t.Helper()
	set, err := benchmarks.Open(name, data, "", benchmarks.ToScore)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	var lines bytes.Buffer
	for i := range set.Questions {
		q := &set.Questions[i]
		images, err := q.Images()
		if err != nil {
			t.Fatal(err)
		}
		names := []string{}
		for k, image := range images {
			file := image.File
			if file == nil {
				file = read(t, filepath.Join(set.PictureFolder, image.Path))
			}
			names = append(names, fmt.Sprintf("%d-%d", i, k))
			write(t, filepath.Join(dir, names[k]), string(file))
		}
		line := map[string]any{"question_id": q.ID, "text": q.Text, "image": names}
		if len(names) == 0 {
			delete(line, "image")
		}
		if err := json.NewEncoder(&lines).Encode(line); err != nil {
			t.Fatal(err)
		}
	}
	questions = filepath.Join(dir, "questions.jsonl")
	write(t, questions, lines.String())
	return questions, set.Benchmark.Limit
}

// texts are the ids and texts of an answer file, and how many answers were cut.
func texts(t *testing.T, path string) (list [][2]string, cut int) {
	t.Helper()
	for line := range bytes.Lines(read(t, path)) {
		var a benchmarks.Answer
		if err := json.Unmarshal(line, &a); err != nil {
			t.Fatal(err)
		}
		list = append(list, [2]string{a.ID.String(), a.Text})
		if a.Metadata.Cut {
			cut++
		}
	}
	return list, cut
}

// A benchmark gets the answers that generate --batch gives to the same questions, whether its pictures have paths, lie
// in parquet files, or in a table as base64, and however many a question has.
func TestBenchmarkRunAnswersAsGenerateDoes(t *testing.T) {
	_, trained := trainedWorld(t)
	for _, set := range []struct{ name, folder string }{
		{"ai2d", "hub/ai2d"}, {"mmmu", "hub/MMMU"}, {"mme", "hub/MME"}, {"gqa", "hub/GQA"},
		{"mmbench_en", "hub/MMBench"}, {"scienceqa", "hub/ScienceQA"}, {"seed", "hub/SEED-Bench"},
		{"mmbench_en", "mmbench_en"},
	} {
		data, dir := shared(t, "parity-bench", set.folder), t.TempDir()
		questions, limit := asQuestionFile(t, set.name, data, dir)
		out := filepath.Join(dir, "out")
		told := command(t, 0, "benchmark", "run", set.name, trained, "--data", data, "--out", out, "--skip-bad")
		command(t, 0, "generate", trained, "--batch", questions, "--max-tokens", fmt.Sprint(limit), "--out",
			filepath.Join(dir, "answers.jsonl"), "--skip-bad")
		want, _ := texts(t, filepath.Join(dir, "answers.jsonl"))
		asked := len(want)
		var could [][2]string
		for _, a := range want {
			if !strings.HasPrefix(a[1], "not answered: ") {
				could = append(could, a)
			}
		}
		got, cut := texts(t, filepath.Join(out, "answers.jsonl"))
		if diff := cmp.Diff(could, got); diff != "" || len(got) == 0 {
			t.Errorf("%s: answers (-generate +run):\n%s", set.name, diff)
		}
		if n := strings.Count(told, " is left out: "); n != asked-len(could) {
			t.Errorf("%s: %d of %d questions were answered, and %d are left out", set.name, len(could), asked, n)
		}
		t.Logf("%s: %d of %d answered, %d cut", set.folder, len(got), asked, cut)
	}
}

// Answers that end at the benchmark's limit of tokens are counted.
func TestBenchmarkRunCountsCutAnswers(t *testing.T) {
	dir := world(t)
	runs, out := filepath.Join(dir, "runs"), filepath.Join(dir, "out")
	command(t, 0, "pretrain", filepath.Join(dir, "world.yaml"), "--runs", runs)
	told := command(t, 0, "benchmark", "run", "ai2d", filepath.Join(runs, "world"), "--data",
		shared(t, "parity-bench", "hub", "ai2d"), "--out", out)
	list, cut := texts(t, filepath.Join(out, "answers.jsonl"))
	if cut == 0 || !strings.Contains(told, fmt.Sprintf("%d of %[1]d questions answered", len(list))) ||
		!strings.Contains(told, fmt.Sprintf(", %d cut at the limit of tokens\n", cut)) {
		t.Errorf("%d of %d answers are cut, and it says\n%s", cut, len(list), told)
	}
}

// With --all-rounds every rotation of the options is asked, and `benchmark score` counts them as the run does.
func TestBenchmarkRunAllRounds(t *testing.T) {
	dir, trained := trainedWorld(t)
	data, out, scored := filepath.Join(dir, "mmbench"), filepath.Join(dir, "out"), filepath.Join(dir, "result.json")
	if err := os.Mkdir(data, 0o777); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(data, "mmbench_dev_20230712.tsv"), string(read(t, shared(t, "parity-bench", "mmbench_en",
		"rounds.tsv"))))
	command(t, 0, "benchmark", "run", "mmbench_en", trained, "--data", data, "--out", out)
	first, _ := texts(t, filepath.Join(out, "answers.jsonl"))
	told := command(t, 0, "benchmark", "run", "mmbench_en", trained, "--data", data, "--out", out, "--all-rounds")
	all, _ := texts(t, filepath.Join(out, "answers.jsonl"))
	if want := fmt.Sprintf("%d of %d questions are already answered", len(first), len(all)); len(all) < 2*len(first) ||
		!strings.Contains(told, want) {
		t.Errorf("%d answers, and with all rounds %d:\n%s", len(first), len(all), told)
	}
	command(t, 0, "benchmark", "score", "mmbench_en", "--data", data, "--answers", filepath.Join(out, "answers.jsonl"),
		"--json", scored)
	if got, want := read(t, scored), read(t, filepath.Join(out, "result.json")); !bytes.Equal(got, want) {
		t.Errorf("the score is\n%s\nthe run's\n%s", got, want)
	}
	command(t, 2, "benchmark", "run", "mmbench_en", trained, "--data", data, "--out", out)
}

// The losses by which options are ranked are those that `score` computes of the options as answers in training, and the
// least one's letter is the answer.
func TestBenchmarkRunRanks(t *testing.T) {
	_, trained := trainedWorld(t)
	data, dir := shared(t, "parity-bench", "hub", "ai2d"), t.TempDir()
	command(t, 0, "benchmark", "run", "ai2d", trained, "--data", data, "--out", dir, "--rank")
	set, err := benchmarks.Open("ai2d", data, "", benchmarks.ToScore)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	if err := set.Ranked(); err != nil {
		t.Fatal(err)
	}
	answers, err := benchmarks.ReadAnswers(filepath.Join(dir, "answers.jsonl"), false)
	if err != nil {
		t.Fatal(err)
	}
	var losses, counts []float64
	var rows []json.RawMessage
	for i := range set.Questions {
		q, a := &set.Questions[i], answers.List[i]
		images, err := q.Images()
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, q.ID.String()), string(images[0].File))
		for _, choice := range q.Choices() {
			turns := []map[string]string{{"from": "human", "value": "<image>\n" + q.Text},
				{"from": "gpt", "value": choice}}
			row, _ := json.Marshal(map[string]any{"id": q.ID, "image": q.ID.String(), "conversations": turns})
			rows = append(rows, row)
		}
		losses = append(losses, a.Losses...)
		for _, n := range a.Tokens {
			counts = append(counts, float64(n))
		}
		if least := slices.Index(a.Losses, slices.Min(a.Losses)); a.Text != string('A'+rune(least)) ||
			!a.Metadata.Ranked || strings.Contains(a.Prompt, "\n") {
			t.Errorf("losses %v make %+v", a.Losses, a)
		}
	}
	writeRows(t, filepath.Join(dir, "rows.json"), rows)
	scored := command(t, 0, "score", trained, filepath.Join(dir, "rows.json"), "--images", dir)
	for line := range strings.Lines(scored) {
		var row struct {
			Loss   float64
			Tokens float64 `json:"supervised_tokens"`
		}
		if json.Unmarshal([]byte(line), &row) != nil || row.Tokens == 0 {
			continue // a table for people
		}
		if len(losses) == 0 || len(counts) != len(losses) || counts[0] != row.Tokens ||
			math.Abs(losses[0]-row.Loss/row.Tokens) > 1e-4 {
			t.Fatalf("losses %v over %v tokens, and training's is %v of %v", losses, counts, row.Loss, row.Tokens)
		}
		losses, counts = losses[1:], counts[1:]
	}
	if len(losses) > 0 {
		t.Errorf("%d losses were not scored:\n%s", len(losses), scored)
	}
}

// Killed again and again, and run to the end, a benchmark has the answers and the result of a run that was not killed.
func TestBenchmarkRunKilled(t *testing.T) {
	dir, trained := trainedWorld(t)
	data := shared(t, "parity-bench", "mmbench_en")
	args := func(out string) []string {
		return []string{"benchmark", "run", "mmbench_en", trained, "--data", data, "--out", filepath.Join(dir, out)}
	}
	command(t, 0, args("whole")...)
	answers, kills := filepath.Join(dir, "killed", "answers.jsonl"), 0
	for range 3 {
		if killWhenGrown(t, answers, args("killed")...) {
			kills++
		}
	}
	if kills == 0 {
		t.Error("every run had ended before it was killed")
	}
	command(t, 0, args("killed")...)
	for _, name := range []string{"answers.jsonl", "result.json", "result.rows.jsonl"} {
		want, got := read(t, filepath.Join(dir, "whole", name)), read(t, filepath.Join(dir, "killed", name))
		if !bytes.Equal(got, want) {
			t.Errorf("after %d kills %s differs:\n%s\nwant\n%s", kills, name, got, want)
		}
	}
}

// killWhenGrown starts a command and kills it once a file has grown. It says whether the command had not ended before.
func killWhenGrown(t *testing.T, path string, args ...string) bool {
	t.Helper()
	size := func() int64 {
		info, err := os.Stat(path)
		if err != nil {
			return 0
		}
		return info.Size()
	}
	before := size()
	process := exec.Command("llavatrain", args...)
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- process.Wait() }()
	for {
		select {
		case err := <-ended:
			if code := process.ProcessState.ExitCode(); err != nil && code != -1 {
				t.Fatalf("%v ended with code %d", process.Args, code)
			}
			return err != nil
		case <-time.After(time.Millisecond):
			if size() > before {
				process.Process.Kill()
			}
		}
	}
}
