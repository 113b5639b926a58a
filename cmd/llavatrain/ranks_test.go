package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/model/torch/torchtest"
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

// curveCase is a recorded curve, and how processes follow it.
type curveCase struct {
	name, stage, loss string
	ranked
	batch     string // in place of the recorded micro-batches; "": those
	recompute string
}

func (c curveCase) String() string {
	return fmt.Sprintf("%s on %v %s %s", c.name, c.ranked, c.batch, c.recompute)
}

// curveCases are some of all combinations that cover each of its members, or all if LLAVATRAIN_LONG is set.
func curveCases() (list []curveCase) {
	const one, two, tokens = "stage1", "stage2", "stage2-token-mean"
	if os.Getenv("LLAVATRAIN_LONG") == "" {
		return []curveCase{
			{one, "pretrain", "micro_mean", ranked{3, "0"}, "", "none"},
			{two, "finetune", "micro_mean", ranked{2, "1"}, "", "selective"},
			{tokens, "finetune", "token_mean", ranked{3, "1"}, "micro: 1", "layers"},
			{tokens, "finetune", "token_mean", ranked{4, "0"}, "tokens: 200", "none"},
			{tokens, "finetune", "token_mean", ranked{3, "2"}, "micro: 1", "none"},
			{two, "finetune", "micro_mean", ranked{2, "2"}, "", "layers"},
			{one, "pretrain", "micro_mean", ranked{2, "3"}, "", "none"},
			{two, "finetune", "micro_mean", ranked{3, "3"}, "", "selective"},
			{tokens, "finetune", "token_mean", ranked{2, "3"}, "micro: 1", "layers"},
		}
	}
	for _, n := range []int{1, 2, 3, 4} {
		for _, zero := range []string{"0", "1", "2", "3"} {
			list = append(list, curveCase{one, "pretrain", "micro_mean", ranked{n, zero}, "", "none"})
			for _, recompute := range []string{"none", "selective", "layers"} {
				list = append(list, curveCase{two, "finetune", "micro_mean", ranked{n, zero}, "", recompute})
				for _, batch := range []string{"", "micro: 1", "tokens: 200"} {
					list = append(list, curveCase{tokens, "finetune", "token_mean", ranked{n, zero}, batch, recompute})
				}
			}
		}
	}
	return list
}

// The recorded curves of the original, on several processes.
func TestRanksFollowTheOriginal(t *testing.T) {
	for _, c := range curveCases() {
		t.Run(c.String(), func(t *testing.T) {
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
			args := []string{c.stage, filepath.Join(dir, "curve.yaml"), set(c.stage+".recompute", c.recompute)}
			command(t, 0, append(args, "--runs", filepath.Join(dir, "one"))...)
			c.run(t, args...)
			runDir := filepath.Join(dir, "runs", "curve", c.stage)
			compareCurve(t, recorded, runDir)
			requireAsOne(t, "several", filepath.Join(dir, "one", "curve", c.stage), runDir, asOne)
			final := filepath.Join(parity, c.name+"-final.safetensors")
			compareFinal(t, final, filepath.Join(runDir, "export"), c.stage)
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
	start := startFrom(dir, "world")
	for _, c := range []struct {
		n    int
		args []string
	}{
		{3, nil},
		{2, []string{set("finetune.batch", "{global: 4, tokens: 150}")}},
		{2, []string{set("finetune.batch.micro", 4)}}, // one micro-batch: the others are idle
		{3, []string{set("finetune.train",
			"{projector: {lr: 1e-4}, language: {lr: 1e-4, lora: {r: 4, alpha: 8, dropout: 0.2}}}")}},
		{3, []string{set("distributed.zero", 2), set("finetune.batch.micro", 1)}},
		{3, []string{set("distributed.zero", 3)}},
		{2, []string{set("distributed.zero", 3), set("finetune.train",
			"{projector: {lr: 1e-4}, language: {lr: 1e-4, lora: {r: 4, alpha: 8, dropout: 0.2}}}")}},
		{3, []string{set("distributed.zero", 3), set("finetune.train", "{projector: {lr: 1e-4}}")}},
	} {
		one, several := filepath.Join(t.TempDir(), "one"), filepath.Join(t.TempDir(), "several")
		args := append([]string{"finetune", recipe, start}, c.args...)
		command(t, 0, append(args, "--runs", one)...)
		together(t, c.n, append(args, "--runs", several)...)
		requireAsOne(t, fmt.Sprint(c.args, " on ", c.n), filepath.Join(one, "mixed", "finetune"),
			filepath.Join(several, "mixed", "finetune"), asOne)
	}
}

// Connectors of every kind train so too, beside rows of text alone: all of them with all that can be divided if
// LLAVATRAIN_LONG is set, or else two.
func TestRanksWithConnectors(t *testing.T) {
	long := os.Getenv("LLAVATRAIN_LONG") != ""
	for name, sets := range connectors {
		if !long && name != "gated" && name != "tiles" {
			continue
		}
		dir := world(t)
		var given []string
		for _, value := range sets {
			given = append(given, "--set="+value)
		}
		command(t, 0, append([]string{"pretrain", filepath.Join(dir, "world.yaml")}, given...)...)
		args := append(append([]string{"finetune", mixedRows(t, dir)}, given...), startFrom(dir, "world"))
		one := t.TempDir()
		command(t, 0, append(args, "--runs", one)...)
		for _, zero := range []string{"0", "1", "2", "3"} {
			if !long && zero != map[string]string{"gated": "3", "tiles": "2"}[name] {
				continue
			}
			several := t.TempDir()
			ranked{3, zero}.run(t, append(args, "--runs", several)...)
			requireAsOne(t, name+", zero "+zero, filepath.Join(one, "mixed", "finetune"),
				filepath.Join(several, "mixed", "finetune"), asOne)
		}
	}
}

// The same run on the same processes has the same bits, twenty times (twice without LLAVATRAIN_LONG).
func TestRanksRepeat(t *testing.T) {
	dir := world(t)
	recipe := filepath.Join(dir, "world.yaml")
	repeats := 2
	if os.Getenv("LLAVATRAIN_LONG") != "" {
		repeats = 20
	}
	var first outcome
	for i := range repeats {
		runs := t.TempDir()
		ranked{3, "3"}.run(t, "pretrain", recipe, "--runs", runs, set("pretrain.batch.micro", 1))
		got := outcomeOf(t, filepath.Join(runs, "world", "pretrain"))
		if i == 0 {
			first = got
		}
		requireSame(t, fmt.Sprint("repeat ", i), first, got)
	}
}

// Over an emulated NCCL, which takes tensors of the CPU, two processes have the bits that they have over Gloo.
func TestRanksOverNCCL(t *testing.T) {
	library := torchtest.FakeNCCL(t)
	t.Cleanup(torchtest.RemoveFakes)
	dir := world(t)
	recipe := filepath.Join(dir, "world.yaml")
	command(t, 0, "pretrain", recipe)
	start := startFrom(dir, "world")
	var gloo outcome
	for _, zero := range []string{"0", "1", "3"} {
		for _, nccl := range []string{"", library} {
			t.Setenv("LLAVATRAIN_NCCL", nccl)
			runs := t.TempDir()
			ranked{2, zero}.run(t, "finetune", recipe, start, "--runs", runs)
			got := outcomeOf(t, filepath.Join(runs, "world", "finetune"))
			if gloo.metrics == nil {
				gloo = got
			}
			requireSame(t, "zero "+zero+" over "+nccl, gloo, got)
		}
	}
}

// torchrun is PyTorch's launcher, of the Python that REFERENCE_PYTHON names or in the path.
func torchrun(t *testing.T) string {
	t.Helper()
	beside := filepath.Join(filepath.Dir(os.Getenv("REFERENCE_PYTHON")), "torchrun")
	for _, name := range []string{beside, "torchrun"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skip("no torchrun: pip install torch, and put it into the path or name its Python in REFERENCE_PYTHON")
	return ""
}

// startedBy runs a launcher's command line and returns what it prints.
func startedBy(t *testing.T, launcher string, args ...string) string {
	t.Helper()
	process := exec.Command(launcher, args...)
	process.Env = append(os.Environ(), "OMP_NUM_THREADS=1", "MASTER_ADDR=127.0.0.1",
		fmt.Sprint("MASTER_PORT=", freePort(t)))
	out, err := process.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", launcher, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// torchrun starts the processes, and starts them again after a fault; by themselves they go on to the same bytes.
func TestRanksUnderTorchrun(t *testing.T) {
	launcher := torchrun(t)
	dir := world(t)
	recipe := filepath.Join(dir, "world.yaml")
	want, got := t.TempDir(), t.TempDir()
	args := []string{"pretrain", recipe, set("pretrain.save.every", 1)}
	together(t, 2, append(args, "--runs", want)...)
	// the first start of rank 1 ends in the middle of the run
	program := `if [ $RANK = 1 ] && [ $TORCHELASTIC_RESTART_COUNT = 0 ]; then
		llavatrain "$@" & sleep 2.5; kill -9 $!; wait $!; exit $?; fi; exec llavatrain "$@"`
	text := startedBy(t, launcher, append([]string{"--no-python", "--nproc-per-node", "2", "--max-restarts", "2",
		"--master-port", strconv.Itoa(freePort(t)), "sh", "-c", program, "sh"}, append(args, "--runs", got,
		"--resume")...)...)
	requireSame(t, "under torchrun", outcomeOf(t, filepath.Join(want, "world", "pretrain")),
		outcomeOf(t, filepath.Join(got, "world", "pretrain")))
	if !strings.Contains(text, "resuming from") && !strings.Contains(text, "finished") {
		t.Errorf("no word of a resume:\n%s", text)
	}
}

// mpirun starts the processes too.
func TestRanksUnderMPI(t *testing.T) {
	launcher, err := exec.LookPath("mpirun")
	if err != nil {
		t.Skip("no mpirun: apt-get install openmpi-bin")
	}
	dir := world(t)
	recipe := filepath.Join(dir, "world.yaml")
	want, got := t.TempDir(), t.TempDir()
	together(t, 2, "pretrain", recipe, "--runs", want)
	startedBy(t, launcher, "--allow-run-as-root", "--oversubscribe", "-np", "2", "-x", "MASTER_ADDR", "-x",
		"MASTER_PORT", "llavatrain", "pretrain", recipe, "--runs", got)
	requireSame(t, "under mpirun", outcomeOf(t, filepath.Join(want, "world", "pretrain")),
		outcomeOf(t, filepath.Join(got, "world", "pretrain")))
}

// startFrom starts a second stage from the projector of a run's first.
func startFrom(dir, run string) string {
	return set("model.projector.weights", filepath.Join(dir, "runs", run, "pretrain", "export",
		"mm_projector.safetensors"))
}

// ranked is a number of processes and what they divide.
type ranked struct {
	n    int
	zero string
}

func (r ranked) String() string { return fmt.Sprintf("%d, zero %s", r.n, r.zero) }

// run runs a command so.
func (r ranked) run(t *testing.T, args ...string) (text string) {
	t.Helper()
	if r.n == 1 {
		return command(t, 0, args...)
	}
	return together(t, r.n, append(args, set("distributed.zero", r.zero))...)
}

// Sharding the optimizer's state changes no bit of metrics, checkpoint and export, in no dtype. Nor does sharding
// gradients where each process has one micro-batch; of several it adds up the sums, in place of summing what is added.
// Sharding weights too changes nothing more.
func TestShardingChangesNothing(t *testing.T) {
	dir := world(t)
	recipe := filepath.Join(dir, "world.yaml")
	command(t, 0, "pretrain", recipe)
	start := startFrom(dir, "world")
	adapters := set("finetune.train", "{language: {lr: 1e-3, lora: {r: 4, alpha: 8, dropout: 0.2}}}")
	for _, c := range []struct {
		n     int
		zeros []string
		args  []string
	}{
		{2, []string{"0", "1"}, []string{set("finetune.optimizer.clip", "0.5")}},
		{3, []string{"0", "1"}, []string{set("dtype", "bf16"), set("finetune.optimizer.moments", "bf16")}},
		{3, []string{"0", "1"}, []string{adapters}},
		{3, []string{"0", "2"}, []string{set("dtype", "bf16"), set("finetune.batch.micro", 3)}},
		{2, []string{"0", "2"}, []string{adapters, set("finetune.batch.micro", 4)}},
		{2, []string{"2", "3"}, []string{set("dtype", "bf16"), set("finetune.batch.micro", 1)}},
		{3, []string{"2", "3"}, []string{adapters, set("finetune.batch.micro", 1)}},
	} {
		t.Run(fmt.Sprint(c.n, c.zeros, c.args), func(t *testing.T) {
			var whole outcome
			for _, zero := range c.zeros {
				runs := t.TempDir()
				ranked{c.n, zero}.run(t, append([]string{"finetune", recipe, start, "--runs", runs}, c.args...)...)
				got := outcomeOf(t, filepath.Join(runs, "world", "finetune"))
				if zero == c.zeros[0] {
					whole = got
					continue
				}
				requireSame(t, "zero "+zero, whole, got)
			}
		})
	}
}

// Sums in fp32 are rounded once, whether they are sharded or not.
func TestGradientsAreSummedInFP32(t *testing.T) {
	dir := world(t)
	recipe := filepath.Join(dir, "world.yaml")
	command(t, 0, "pretrain", recipe)
	start := startFrom(dir, "world")
	args := []string{"finetune", recipe, set("finetune.batch.micro", 1), start}
	runOf := func(r ranked, more ...string) (dir string) {
		runs := t.TempDir()
		r.run(t, append(slices.Concat(args, more), "--runs", runs)...)
		return filepath.Join(runs, "world", "finetune")
	}
	run := func(r ranked, more ...string) outcome { return outcomeOf(t, runOf(r, more...)) }
	wide, half := set("distributed.reduce", "fp32"), set("dtype", "bf16")
	whole := run(ranked{3, "0"}, half, wide)
	requireSame(t, "sharded", whole, run(ranked{3, "1"}, half, wide))
	if plain := run(ranked{3, "0"}, half); cmp.Equal(plain.tensors, whole.tensors) {
		t.Error("bf16 gradients are summed in bf16, though fp32 is asked for")
	}
	requireAsOne(t, "gradients sharded", runOf(ranked{1, "0"}), runOf(ranked{3, "2"}, wide), asOne)
}

// The same number of processes and mode gives the same bytes, whether the run was stopped or not; any other goes on
// from its checkpoint.
func TestRanksResume(t *testing.T) {
	dir := world(t)
	recipe, alone := reference(t, dir, "finetune")
	one := filepath.Join(dir, "runs", "world", "finetune")
	start := startFrom(dir, "world")
	for _, c := range changes(t) {
		t.Run(fmt.Sprintf("%v then %v", c[0], c[1]), func(t *testing.T) {
			unbroken, stopped := t.TempDir(), t.TempDir()
			c[0].run(t, "finetune", recipe, start, "--runs", stopped, "--stop-at", "7")
			text := c[1].run(t, "finetune", recipe, start, "--runs", stopped, "--resume")
			runDir := filepath.Join(stopped, "world", "finetune")
			if c[0] == c[1] {
				c[0].run(t, "finetune", recipe, start, "--runs", unbroken)
				requireSame(t, "stopped", outcomeOf(t, filepath.Join(unbroken, "world", "finetune")),
					outcomeOf(t, runDir))
				return
			}
			want := fmt.Sprintf("the number of processes is now %d, and was %d", c[1].n, c[0].n)
			if c[0].n != c[1].n && !strings.Contains(text, want) {
				t.Errorf("nobody says %q:\n%s", want, text)
			}
			got := outcomeOf(t, runDir)
			if diff := cmp.Diff(alone.ledger, got.ledger); diff != "" {
				t.Error(diff)
			}
			worst := 0.0
			for i, m := range readMetrics(t, runDir) {
				worst = max(worst, relative(float64(m.Loss), float64(readMetrics(t, one)[i].Loss)))
			}
			if t.Logf("the loss differs by %.2g", worst); worst > 1e-5 {
				t.Errorf("the loss differs by %.2g", worst)
			}
		})
	}
}

// changes are pairs of what a run is stopped and resumed with: all of them if LLAVATRAIN_LONG is set.
func changes(t *testing.T) (list [][2]ranked) {
	t.Helper()
	kinds := []ranked{{1, "0"}, {2, "0"}, {2, "1"}, {3, "1"}, {3, "2"}, {2, "3"}}
	if os.Getenv("LLAVATRAIN_LONG") == "" {
		return [][2]ranked{{kinds[2], kinds[2]}, {kinds[2], kinds[3]}, {kinds[3], kinds[0]}, {kinds[0], kinds[2]},
			{kinds[4], kinds[4]}, {kinds[4], kinds[1]}, {kinds[1], kinds[4]},
			{kinds[5], kinds[5]}, {kinds[5], kinds[0]}, {kinds[0], kinds[5]}, {kinds[5], kinds[3]}}
	}
	for _, a := range kinds {
		for _, b := range kinds {
			list = append(list, [2]ranked{a, b})
		}
	}
	return list
}

// Each process needs what plan says, whatever is divided.
func TestMemoryOfRanksIsPredicted(t *testing.T) {
	dir := world(t)
	recipe := filepath.Join(dir, "world.yaml")
	command(t, 0, "pretrain", recipe)
	peak := regexp.MustCompile(`([0-9.]+) MB predicted for the largest micro-batch \(\d+ positions\), ` +
		`([0-9.]+) MB measured`)
	start := startFrom(dir, "world")
	before := math.Inf(1)
	for _, zero := range []string{"0", "1", "2", "3"} {
		text := ranked{3, zero}.run(t, "finetune", recipe, "--runs", t.TempDir(), set("finetune.steps", 2),
			set("finetune.batch.micro", 1), start)
		found := peak.FindStringSubmatch(text)
		if found == nil {
			t.Fatalf("no word of memory:\n%s", text)
		}
		predicted, _ := strconv.ParseFloat(found[1], 64)
		measured, _ := strconv.ParseFloat(found[2], 64)
		t.Logf("zero %s: %v MB predicted, %v measured", zero, predicted, measured)
		if math.Abs(predicted/measured-1) > 0.1 {
			t.Errorf("zero %s: %v MB predicted, %v measured", zero, predicted, measured)
		}
		if measured >= before && zero != "3" { // of two layers, both lie there
			t.Errorf("zero %s takes %v MB, the one before %v", zero, measured, before)
		}
		before = measured
	}
}

// Held-out rows are dealt out; the result is that of one process.
func TestRanksEvaluate(t *testing.T) {
	dir := world(t)
	recipe := heldOut(t, dir, 6)
	command(t, 0, "pretrain", recipe)
	start := startFrom(dir, "eval")
	command(t, 0, "finetune", recipe, start)
	want, _ := readEvaluations(t, filepath.Join(dir, "runs", "eval", "finetune"))
	for _, zero := range []string{"1", "3"} {
		several := t.TempDir()
		ranked{3, zero}.run(t, "finetune", recipe, start, "--runs", several)
		got, _ := readEvaluations(t, filepath.Join(several, "eval", "finetune"))
		requireSameEvaluations(t, slices.Clone(want), got)
	}
}

func requireSameEvaluations(t *testing.T, want, got []runs.Evaluation) {
	t.Helper()
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

// What one process would need whole weights for is refused before anything is loaded.
func TestWhatShardedWeightsCannot(t *testing.T) {
	dir := world(t)
	recipe := heldOut(t, dir, 6)
	for change, says := range map[string]string{
		set("finetune.train", `{language: {lr: 1e-3, only: "layers.0"}}`): "train.language must train all",
		set("finetune.eval.samples", 2):                                   "one process answers eval.samples",
	} {
		code, text := launched(t, 2, "finetune", recipe, set("distributed.zero", 3), change)
		if code != 2 || !strings.Contains(text, says) {
			t.Errorf("%s: exit code %d, not 2 with %q:\n%s", change, code, says, text)
		}
	}
}

// startJob starts a job of n ranks, and does something once a word has been printed. The returned function waits for
// its end.
func startJob(t *testing.T, n int, word string, do func(launch int), args ...string) (ends func() (int, string)) {
	t.Helper()
	process := exec.Command("llavatrain", append([]string{"launch", "--nproc", strconv.Itoa(n), "--", "llavatrain"},
		args...)...)
	process.Env = append(os.Environ(), "OMP_NUM_THREADS=1")
	w := &onLine{word: word, do: func() { do(process.Process.Pid) }}
	process.Stdout, process.Stderr = w, w
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	return func() (int, string) {
		_ = process.Wait() // how it ended is in its state
		if trace.MatchString(w.text.String()) {
			t.Errorf("a stack trace:\n%s", w.text.String())
		}
		return process.ProcessState.ExitCode(), w.text.String()
	}
}

// A signal to one rank stops all after the same step, with a checkpoint from which all resume.
func TestASignalToOneRankStopsAll(t *testing.T) {
	dir := world(t)
	runs := filepath.Join(dir, "several")
	code, text := startJob(t, 3, "step 1/2000", func(launch int) { signalRank(t, launch, 1, syscall.SIGTERM) },
		"pretrain", filepath.Join(dir, "world.yaml"), "--runs", runs, set("pretrain.save.every", 10000),
		set("pretrain.steps", 2000))()
	if code != 130 && code != 143 || !strings.Contains(text, "interrupted after step") {
		t.Errorf("exit code %d:\n%s", code, text)
	}
	runDir := filepath.Join(runs, "world", "pretrain")
	if steps := len(readMetrics(t, runDir)); fmt.Sprintf("step-%06d\n", steps) !=
		string(read(t, filepath.Join(runDir, "checkpoints", "latest"))) {
		t.Errorf("%d steps, and the newest checkpoint is another", steps)
	}
}

// A rank that is gone, or does not answer, is named by all others, which end within seconds.
func TestARankThatIsGoneIsNamed(t *testing.T) {
	dir := world(t)
	for _, c := range []struct {
		signal syscall.Signal
		code   int
	}{{syscall.SIGKILL, 137}, {syscall.SIGSTOP, 6}} {
		t.Run(c.signal.String(), func(t *testing.T) {
			var began time.Time
			code, text := startJob(t, 3, "step 1/4000", func(launch int) {
				began = time.Now()
				signalRank(t, launch, 1, c.signal)
			}, "pretrain", filepath.Join(dir, "world.yaml"), "--runs", t.TempDir(),
				set("pretrain.save.every", 1000000), set("pretrain.steps", 4000))()
			took := time.Since(began)
			if code != c.code || !strings.Contains(text, "llavatrain: rank 1 (") {
				t.Errorf("exit code %d, want %d:\n%s", code, c.code, text)
			}
			t.Logf("all are gone after %.1f s", took.Seconds())
		})
	}
}

// Whenever a rank is killed, also inside of a save, the run goes on from its newest checkpoint to the same bytes.
func TestRanksAreKilledAndResume(t *testing.T) {
	dir := world(t)
	recipe := filepath.Join(dir, "world.yaml")
	command(t, 0, "pretrain", recipe)
	start := startFrom(dir, "world")
	args := []string{"finetune", recipe, start, set("finetune.save.every", 1), set("distributed.zero", 1)}
	unbroken, killed := t.TempDir(), t.TempDir()
	together(t, 2, append(args, "--runs", unbroken)...)
	random := rand.New(rand.NewPCG(1, 2))
	for range 3 {
		startJob(t, 2, "step", func(launch int) {
			go func() {
				time.Sleep(time.Duration(random.IntN(700)) * time.Millisecond)
				signalRank(t, launch, random.IntN(2), syscall.SIGKILL)
			}()
		}, append(args, "--runs", killed, "--resume")...)()
	}
	together(t, 2, append(args, "--runs", killed, "--resume")...)
	requireSame(t, "killed", outcomeOf(t, filepath.Join(unbroken, "world", "finetune")),
		outcomeOf(t, filepath.Join(killed, "world", "finetune")))
}

// onLine does something once a word has been printed.
type onLine struct {
	text bytes.Buffer
	word string
	do   func()
	done bool
}

func (w *onLine) Write(p []byte) (int, error) {
	w.text.Write(p)
	if !w.done && bytes.Contains(w.text.Bytes(), []byte(w.word)) {
		w.done = true
		w.do()
	}
	return len(p), nil
}

// signalRank sends a signal to one of the processes that a launch has started; nothing if it has ended.
func signalRank(t *testing.T, launch, rank int, signal syscall.Signal) {
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
			_ = syscall.Kill(pid, signal)
			return
		}
	}
}
