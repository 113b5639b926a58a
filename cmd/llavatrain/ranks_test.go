package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/runs"
)

// launched runs a command as n processes and returns the exit code and all that they print.
func launched(t *testing.T, n int, args ...string) (code int, text string) {
	t.Helper()
	process := exec.Command("llavatrain", append([]string{"launch", "--nproc", strconv.Itoa(n), "--", "llavatrain"},
		args...)...)
	process.Env = append(os.Environ(), "OMP_NUM_THREADS=1")
	out, _ := process.CombinedOutput() // how it ended is in its state
	if trace.Match(out) {
		t.Errorf("a stack trace:\n%s", out)
	}
	return process.ProcessState.ExitCode(), string(out)
}

// together is launched for a command that succeeds.
func together(t *testing.T, n int, args ...string) (text string) {
	t.Helper()
	code, text := launched(t, n, args...)
	if code != 0 {
		t.Fatalf("%d processes, %s: exit code %d:\n%s", n, strings.Join(args, " "), code, text)
	}
	return text
}

// requireAsOne compares a run of several processes with that of one: what is counted byte for byte, loss and gradient
// norm to within a relative difference.
func requireAsOne(t *testing.T, what, one, several string, within float64) {
	t.Helper()
	worst := 0.0
	read := func(dir string) (counted []string, measured []runs.Metrics) {
		measured = readMetrics(t, dir)
		for _, m := range measured {
			m.Loss, m.LossBy, m.GradNorm = 0, nil, 0
			line, err := json.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			counted = append(counted, compared(t, string(line)))
		}
		return counted, measured
	}
	wantCounted, want := read(one)
	gotCounted, got := read(several)
	if diff := cmp.Diff(wantCounted, gotCounted); diff != "" {
		t.Fatalf("%s: counts differ (-one +several):\n%s", what, diff)
	}
	for i := range want {
		worst = max(worst, difference(got[i].Loss, want[i].Loss), difference(got[i].GradNorm, want[i].GradNorm))
		if len(want[i].LossBy) != len(got[i].LossBy) {
			t.Fatalf("%s: step %d has losses of %v, want %v", what, i+1, got[i].LossBy, want[i].LossBy)
		}
		for kind, loss := range want[i].LossBy {
			worst = max(worst, difference(got[i].LossBy[kind], loss))
		}
		if (got[i].Slowest == nil) != (several == one) {
			t.Errorf("%s: step %d names %v as the slowest", what, i+1, got[i].Slowest)
		}
	}
	t.Logf("%s: loss and gradient norm differ by %.2g", what, worst)
	if worst > within || math.IsNaN(worst) {
		t.Errorf("%s: loss or gradient norm differs by %.2g relative, more than %g", what, worst, within)
	}
	for _, file := range []string{"ledger.jsonl", "quarantine.jsonl"} {
		if a, b := readIfThere(one, file), readIfThere(several, file); !bytes.Equal(a, b) {
			t.Errorf("%s: %s differs:\n%s\n%s", what, file, a, b)
		}
	}
}

func readIfThere(dir, file string) []byte {
	text, _ := os.ReadFile(filepath.Join(dir, file))
	return text
}

// difference is relative; of two zeros it is 0.
func difference(got, want runs.Number) float64 {
	if got == want {
		return 0
	}
	return relative(float64(got), float64(want))
}

const asOne = 1e-6 // fp32

// The recorded curves of the original, on several processes.
func TestRanksFollowTheOriginal(t *testing.T) {
	for _, c := range []struct {
		name, stage, loss string
		ranks             int
		batch             string // in place of the recorded one
		args              []string
	}{
		{"stage1", "pretrain", "micro_mean", 3, "", nil},
		{"stage2", "finetune", "micro_mean", 2, "", nil},
		{"stage2-token-mean", "finetune", "token_mean", 3, "micro: 1", []string{set("finetune.recompute", "layers")}},
		{"stage2-token-mean", "finetune", "token_mean", 4, "tokens: 200", nil},
	} {
		t.Run(fmt.Sprint(c.name, " on ", c.ranks, " ", c.batch, c.args), func(t *testing.T) {
			parity := shared(t, "parity")
			var recorded curve
			if err := json.Unmarshal(read(t, filepath.Join(parity, c.name+".json")), &recorded); err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			writeRecordedOrder(t, recorded, filepath.Join(dir, "rows.json"))
			recipe := strings.Replace(recorded.recipe(t, c.stage, c.loss), "threads: 2", "threads: 1", 1)
			if c.batch != "" {
				recipe = strings.Replace(recipe, fmt.Sprintf("micro: %d", recorded.Batch), c.batch, 1)
			}
			write(t, filepath.Join(dir, "curve.yaml"), recipe)
			args := append([]string{c.stage, filepath.Join(dir, "curve.yaml")}, c.args...)
			command(t, 0, append(args, "--runs", filepath.Join(dir, "one"))...)
			together(t, c.ranks, args...)
			runDir := filepath.Join(dir, "runs", "curve", c.stage)
			compareCurve(t, recorded, runDir)
			requireAsOne(t, "several", filepath.Join(dir, "one", "curve", c.stage), runDir, asOne)
			compareFinal(t, filepath.Join(parity, c.name+"-final.safetensors"), filepath.Join(runDir, "export"), c.stage)
		})
	}
}

// mixedRows writes mixed.json into a world: steps of text alone, a step with one picture, rows that are bad in their
// text and pictures that are found to be bad by the rank that decodes them.
func mixedRows(t *testing.T, dir string) (recipe string) {
	t.Helper()
	torn := read(t, filepath.Join(dir, "data", "images", "finetune-00000.png"))
	write(t, filepath.Join(dir, "data", "images", "torn.png"), string(torn[:len(torn)/2]))
	text := func(n int) json.RawMessage {
		return json.RawMessage(turnsRow("", "human", strings.Repeat("what is red ", n%5+1), "gpt", "a red square"))
	}
	picture := func(n int) json.RawMessage {
		return json.RawMessage(pictureRow(fmt.Sprintf("finetune-%05d.png", n%20)))
	}
	rows := []json.RawMessage{text(1), text(2), text(3), text(4)} // text alone
	rows = append(rows, text(5), picture(1), text(6), text(7))    // one picture
	bad := json.RawMessage(pictureRow("torn.png"))
	rows = append(rows, bad, picture(2), bad, picture(3), bad, bad, bad, bad) // a rank whose rows are bad; all are
	rows = append(rows, json.RawMessage(pictureRow("gone.png")), picture(4), picture(5), text(8))
	for i := range 20 {
		rows = append(rows, picture(i), text(i))
	}
	writeRows(t, filepath.Join(dir, "mixed.json"), rows)
	recipe = filepath.Join(dir, "mixed.yaml")
	changed := strings.NewReplacer("name: world", "name: mixed", "data/finetune.json", "mixed.json", "grouped",
		"sequential", "1e-3", "1e-4").Replace(worldRecipe)
	write(t, recipe, changed+"  bad_samples: {limit: 20}\n")
	return recipe
}

// What is in a step, which processes are idle in it and what is bad in it change nothing.
func TestRanksWithEveryKindOfStep(t *testing.T) {
	dir := world(t)
	recipe := mixedRows(t, dir)
	command(t, 0, "pretrain", filepath.Join(dir, "world.yaml"))
	start := set("model.projector.weights", filepath.Join(dir, "runs", "world", "pretrain", "export",
		"mm_projector.safetensors"))
	for _, args := range [][]string{
		nil,
		{set("finetune.batch", "{global: 4, tokens: 150}")},
		{set("finetune.batch.micro", 4)}, // one micro-batch: the others are idle
		{set("finetune.train", "{projector: {lr: 1e-4}, language: {lr: 1e-4, lora: {r: 4, alpha: 8, dropout: 0.2}}}")},
	} {
		one := filepath.Join(t.TempDir(), "one")
		args = append([]string{"finetune", recipe, start}, args...)
		command(t, 0, append(args, "--runs", one)...)
		for _, n := range []int{2, 3} {
			several := filepath.Join(t.TempDir(), "several")
			together(t, n, append(args, "--runs", several)...)
			requireAsOne(t, fmt.Sprint(args[3:], " on ", n), filepath.Join(one, "mixed", "finetune"),
				filepath.Join(several, "mixed", "finetune"), asOne)
		}
	}
}

// The same number of processes gives the same bytes, whether the run was stopped or not; another number goes on from
// its checkpoint.
func TestRanksResume(t *testing.T) {
	dir := world(t)
	recipe, alone := reference(t, dir, "finetune")
	one := filepath.Join(dir, "runs", "world", "finetune")
	start := set("model.projector.weights", filepath.Join(dir, "runs", "world", "pretrain", "export",
		"mm_projector.safetensors"))
	for _, c := range []struct{ first, then int }{{2, 2}, {2, 3}, {3, 1}, {1, 2}} {
		t.Run(fmt.Sprintf("%d then %d", c.first, c.then), func(t *testing.T) {
			unbroken, stopped := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")
			run := func(n int, args ...string) string {
				args = append([]string{"finetune", recipe, start}, args...)
				if n == 1 {
					return command(t, 0, args...)
				}
				return together(t, n, args...)
			}
			run(c.first, "--runs", stopped, "--stop-at", "7")
			text := run(c.then, "--runs", stopped, "--resume")
			runDir := filepath.Join(stopped, "world", "finetune")
			if c.first == c.then {
				run(c.first, "--runs", unbroken)
				requireSame(t, "stopped", outcomeOf(t, filepath.Join(unbroken, "world", "finetune")),
					outcomeOf(t, runDir))
				requireAsOne(t, "several", one, runDir, 1e-5)
				return
			}
			if want := fmt.Sprintf("goes on with %d processes, after %d", c.then, c.first); !strings.Contains(text, want) {
				t.Errorf("nobody says %q:\n%s", want, text)
			}
			got := outcomeOf(t, runDir)
			if diff := cmp.Diff(alone.ledger, got.ledger); diff != "" {
				t.Error(diff)
			}
			for i, m := range readMetrics(t, runDir) {
				if d := relative(float64(m.Loss), float64(readMetrics(t, one)[i].Loss)); d > 1e-5 {
					t.Errorf("step %d: the loss differs by %.2g", i+1, d)
				}
			}
		})
	}
}

// Held-out rows are dealt out; the result is that of one process.
func TestRanksEvaluate(t *testing.T) {
	dir := world(t)
	recipe := heldOut(t, dir, 6)
	command(t, 0, "pretrain", recipe)
	start := set("model.projector.weights", filepath.Join(dir, "runs", "eval", "pretrain", "export",
		"mm_projector.safetensors"))
	command(t, 0, "finetune", recipe, start)
	several := filepath.Join(dir, "several")
	together(t, 3, "finetune", recipe, start, "--runs", several)
	want, _ := readEvaluations(t, filepath.Join(dir, "runs", "eval", "finetune"))
	got, _ := readEvaluations(t, filepath.Join(several, "eval", "finetune"))
	if len(want) == 0 || len(got) != len(want) {
		t.Fatalf("%d evaluations, want %d", len(got), len(want))
	}
	for i := range want {
		if d := difference(got[i].Loss, want[i].Loss); d > asOne {
			t.Errorf("evaluation %d differs by %.2g", i, d)
		}
		want[i].Loss, want[i].LossBy, want[i].LossBySource, want[i].EvalMS = 0, nil, nil, 0
		got[i].Loss, got[i].LossBy, got[i].LossBySource, got[i].EvalMS = 0, nil, nil, 0
		if diff := cmp.Diff(want[i], got[i]); diff != "" {
			t.Error(diff)
		}
	}
}

// separately starts ranks by hand, each with arguments of its own, and returns how they ended.
func separately(t *testing.T, each ...[]string) (codes []int, texts []string) {
	t.Helper()
	port := freePort(t)
	codes, texts = make([]int, len(each)), make([]string, len(each))
	var all sync.WaitGroup
	for rank, args := range each {
		process := exec.Command("llavatrain", args...)
		process.Env = append(os.Environ(), "OMP_NUM_THREADS=1", fmt.Sprint("RANK=", rank),
			fmt.Sprint("WORLD_SIZE=", len(each)), fmt.Sprint("LOCAL_RANK=", rank),
			fmt.Sprint("LOCAL_WORLD_SIZE=", len(each)), "MASTER_ADDR=127.0.0.1", fmt.Sprint("MASTER_PORT=", port))
		all.Go(func() {
			out, _ := process.CombinedOutput()
			codes[rank], texts[rank] = process.ProcessState.ExitCode(), string(out)
		})
	}
	all.Wait()
	return codes, texts
}

func freePort(t *testing.T) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// Ranks that cannot train together say why, all of them.
func TestRanksThatDiffer(t *testing.T) {
	dir := world(t)
	recipe := filepath.Join(dir, "world.yaml")
	same := []string{"pretrain", recipe}
	for _, c := range []struct {
		name  string
		other []string
		codes []int
		says  string
	}{
		{"another recipe", append(same, set("seed", 3)), []int{6, 6}, "differ in the recipe"},
		{"no recipe", []string{"pretrain", filepath.Join(dir, "none.yaml")}, []int{6, 6}, "cannot be loaded"},
		{"another command", append(same, "--stop-at", "3"), []int{6, 6}, "differ in the command line"},
	} {
		t.Run(c.name, func(t *testing.T) {
			codes, texts := separately(t, same, c.other)
			if diff := cmp.Diff(c.codes, codes); diff != "" {
				t.Errorf("%s%s", diff, texts)
			}
			for rank, text := range texts {
				if !strings.Contains(text, c.says) || trace.MatchString(text) {
					t.Errorf("rank %d does not say %q:\n%s", rank, c.says, text)
				}
			}
		})
	}
}

// More processes than samples in a step are refused; more than micro-batches are a warning.
func TestMoreRanksThanWork(t *testing.T) {
	recipe := filepath.Join(world(t), "world.yaml")
	code, text := launched(t, 3, "pretrain", recipe, set("pretrain.batch.global", 2))
	if code != 2 || !strings.Contains(text, "batch.global is 2 samples, fewer than the 3 processes") {
		t.Errorf("exit code %d:\n%s", code, text)
	}
	text = together(t, 3, "pretrain", recipe)
	if !strings.Contains(text, "keeps 2 of 3 processes busy") {
		t.Errorf("no warning:\n%s", text)
	}
}

// A signal to one rank stops all after the same step, with a checkpoint from which all resume.
func TestASignalToOneRankStopsAll(t *testing.T) {
	dir := world(t)
	recipe := filepath.Join(dir, "world.yaml")
	runs := filepath.Join(dir, "several")
	process := exec.Command("llavatrain", "launch", "--nproc", "3", "--", "llavatrain", "pretrain", recipe, "--runs",
		runs, set("pretrain.save.every", 100), set("pretrain.steps", 2000))
	var out bytes.Buffer
	w := &onLine{to: &out, word: "step 50/2000", do: func() { signalRank(t, process.Process.Pid, 1) }}
	process.Stdout, process.Stderr = w, w
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	_ = process.Wait()
	if code := process.ProcessState.ExitCode(); code != 130 && code != 143 {
		t.Errorf("exit code %d:\n%s", code, out.String())
	}
	if !strings.Contains(out.String(), "interrupted after step") {
		t.Errorf("no word of it:\n%s", out.String())
	}
	runDir := filepath.Join(runs, "world", "pretrain")
	if steps := len(readMetrics(t, runDir)); fmt.Sprintf("step-%06d\n", steps) !=
		string(read(t, filepath.Join(runDir, "checkpoints", "latest"))) {
		t.Errorf("%d steps, and the newest checkpoint is another", steps)
	}
}

// onLine does something once a word has been printed.
type onLine struct {
	to   *bytes.Buffer
	word string
	do   func()
	done bool
}

func (w *onLine) Write(p []byte) (int, error) {
	w.to.Write(p)
	if !w.done && bytes.Contains(w.to.Bytes(), []byte(w.word)) {
		w.done = true
		w.do()
	}
	return len(p), nil
}

// signalRank sends SIGTERM to one of the processes that a launch has started.
func signalRank(t *testing.T, launch, rank int) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", launch))
	if err != nil {
		t.Error(err)
	}
	var children []byte
	for _, file := range files {
		list, _ := os.ReadFile(file) // of a thread that has ended
		children = append(children, list...)
	}
	for _, child := range strings.Fields(string(children)) {
		env, _ := os.ReadFile("/proc/" + child + "/environ")
		if bytes.Contains(env, []byte(fmt.Sprintf("\x00RANK=%d\x00", rank))) {
			pid, _ := strconv.Atoi(child)
			_ = syscall.Kill(pid, syscall.SIGTERM)
			return
		}
	}
	t.Errorf("rank %d is none of %q", rank, children)
}
