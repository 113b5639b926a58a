package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/checkpoints"
)

const worldSteps = 20

// outcome is what a finished run must leave, however often it was interrupted.
type outcome struct {
	metrics []string // compared fields of each line
	ledger  []string // lines, all of them
	// weights and optimizer state of the last checkpoint, and all weights of the export, by file and name
	tensors map[string][]byte
}

func outcomeOf(t *testing.T, runDir string) outcome {
	t.Helper()
	o := outcome{tensors: map[string][]byte{}}
	for line := range strings.Lines(string(read(t, filepath.Join(runDir, "metrics.jsonl")))) {
		o.metrics = append(o.metrics, compared(t, line))
	}
	o.ledger = slices.Collect(strings.Lines(string(read(t, filepath.Join(runDir, "ledger.jsonl")))))
	last := filepath.Join(runDir, "checkpoints", fmt.Sprintf("step-%06d", worldSteps))
	for _, file := range []string{"model.safetensors", "optimizer.safetensors"} {
		for name, data := range loadAll(t, checkpoints.Saved(last, file)) {
			o.tensors[filepath.Join(filepath.Base(last), file)+" "+name] = data
		}
	}
	exported, err := filepath.Glob(filepath.Join(runDir, "export", "*.safetensors"))
	if err != nil || len(exported) == 0 {
		t.Fatalf("the export holds no weights: %v", err)
	}
	for _, file := range exported {
		for name, data := range loadAll(t, file) {
			o.tensors[filepath.Join(filepath.Base(filepath.Dir(file)), filepath.Base(file))+" "+name] = data
		}
	}
	return o
}

// compared returns a metrics line without the fields that measure time and memory.
func compared(t *testing.T, line string) string {
	t.Helper()
	var fields map[string]json.RawMessage
	if err := json.Unmarshal([]byte(line), &fields); err != nil {
		t.Fatalf("metrics.jsonl: %q: %v", line, err)
	}
	for key := range fields {
		if strings.HasSuffix(key, "_ms") || strings.HasSuffix(key, "_per_s") || key == "peak_memory_bytes" ||
			key == "slowest" {
			delete(fields, key)
		}
	}
	text, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func requireSame(t *testing.T, what string, want, got outcome) {
	t.Helper()
	if diff := cmp.Diff(want.metrics, got.metrics); diff != "" {
		t.Errorf("%s: metrics differ (-want +got):\n%s", what, diff)
	}
	if diff := cmp.Diff(want.ledger, got.ledger); diff != "" {
		t.Errorf("%s: ledgers differ (-want +got):\n%s", what, diff)
	}
	if len(want.tensors) != len(got.tensors) || len(want.tensors) == 0 {
		t.Fatalf("%s: %d tensors, want %d", what, len(got.tensors), len(want.tensors))
	}
	for name, data := range want.tensors {
		if !bytes.Equal(data, got.tensors[name]) {
			t.Errorf("%s: %s differs", what, name)
		}
	}
}

// resumed are the stages that are stopped and killed: both, and the second also with adapters and dropout.
var resumed = []struct{ name, stage, recipe string }{
	{"pretrain", "pretrain", worldRecipe}, {"finetune", "finetune", worldRecipe}, {"lora", "finetune", loraRecipe},
}

// reference runs one stage without interruption; the finetune stage gets a finished pretrain first.
func reference(t *testing.T, dir, stage string) (recipe string, want outcome) {
	t.Helper()
	recipe = filepath.Join(dir, "world.yaml")
	if stage == "finetune" {
		command(t, 0, "pretrain", recipe)
	}
	command(t, 0, stage, recipe)
	runDir := filepath.Join(dir, "runs", "world", stage)
	want = outcomeOf(t, runDir)
	if len(want.metrics) != worldSteps {
		t.Fatalf("%d steps, want %d", len(want.metrics), worldSteps)
	}
	if len(want.ledger) != 1+worldSteps {
		t.Fatalf("%d lines of ledger, want one for the data and one for each step", len(want.ledger))
	}
	return recipe, want
}

func TestStopAndResumeAtEveryStep(t *testing.T) {
	for _, c := range resumed {
		t.Run(c.name, func(t *testing.T) {
			dir, stage := world(t), c.stage
			write(t, filepath.Join(dir, "world.yaml"), c.recipe)
			recipe, want := reference(t, dir, stage)
			for k := 1; k < worldSteps; k++ {
				command(t, 0, stage, recipe, "--overwrite", fmt.Sprintf("--stop-at=%d", k))
				runDir := filepath.Join(dir, "runs", "world", stage)
				if n := len(readMetrics(t, runDir)); n != k {
					t.Fatalf("stopped at step %d with %d lines of metrics", k, n)
				}
				command(t, 0, stage, recipe, "--resume")
				requireSame(t, fmt.Sprintf("stop at %d", k), want, outcomeOf(t, runDir))
				removeAside(t, runDir)
			}
		})
	}
}

// connectors are changes of worldRecipe's model, and of its stages.
var connectors = map[string][]string{
	"qformer":       {"model.projector={type: qformer, queries: 6, layers: 2, width: 32, heads: 4, mlp: 64}"},
	"resampler":     {"model.projector={type: resampler, queries: 6, layers: 2, heads: 4, head_width: 16}"},
	"pixel shuffle": {"model.projector={type: pixel_shuffle}"},
	"convolution":   {"model.projector={type: pool, mode: conv}"},
	"gated": {"model.projector={type: gated_cross_attention, every: 2, resampler: {queries: 6, layers: 1, heads: 2, " +
		"head_width: 16}}"},
	"tiles": {`model.tiles={pinpoints: "(1x1),...,(2x2)", max: 2}`, "pretrain.image=anyres", "finetune.image=anyres"},
}

// A run of each connector that stops behind every step and goes on ends as one that did not stop: stage 1, and stage 2
// with adapters on the language model.
func TestStopAndResumeConnectors(t *testing.T) {
	for name, sets := range connectors {
		t.Run(name, func(t *testing.T) {
			dir := world(t)
			recipe, args := filepath.Join(dir, "world.yaml"), []string{}
			for _, set := range append(sets, "finetune.train.language.lora={r: 2, alpha: 4, dropout: 0.1}") {
				args = append(args, "--set", set)
			}
			for _, stage := range []string{"pretrain", "finetune"} {
				run := func(parent string, more ...string) {
					line := append([]string{stage, recipe, "--runs", filepath.Join(dir, parent)}, args...)
					command(t, 0, append(line, more...)...)
				}
				run("runs")
				if stage == "finetune" { // which starts from the other run's first stage
					export := filepath.Join(dir, "runs", "world", "pretrain", "export")
					file := filepath.Join(export, "mm_projector.safetensors")
					args = append(args, "--set", "model.projector.weights="+file)
				}
				for step := 1; step <= worldSteps; step++ {
					run("stopped", "--resume", fmt.Sprintf("--stop-at=%d", step))
				}
				runDir := filepath.Join("world", stage)
				requireSame(t, stage, outcomeOf(t, filepath.Join(dir, "runs", runDir)),
					outcomeOf(t, filepath.Join(dir, "stopped", runDir)))
			}
		})
	}
}

// bf16 moments are rounded by random bits that depend only on the step and the element, so that a resumed run repeats
// them; their results differ from those of fp32 moments, and recomputation changes nothing.
func TestMomentsInBF16AreResumed(t *testing.T) {
	dir := world(t)
	write(t, filepath.Join(dir, "world.yaml"),
		strings.ReplaceAll(worldRecipe, "  train:", "  optimizer: {moments: bf16}\n  train:"))
	recipe, want := reference(t, dir, "finetune")
	runDir := filepath.Join(dir, "runs", "world", "finetune")
	for name, data := range want.tensors {
		const first, second = "step-000020/optimizer.safetensors m", "step-000020/optimizer.safetensors v"
		if strings.HasPrefix(name, first+".lm_head") && len(data) != len(want.tensors[second+name[len(first):]]) {
			t.Errorf("%s has %d bytes", name, len(data))
		}
	}
	command(t, 0, "finetune", recipe, "--overwrite", "--stop-at=7")
	out := command(t, 2, "finetune", recipe, "--resume", set("finetune.optimizer.moments", "fp32"))
	if !strings.Contains(out, `moments: "bf16" in the checkpoint, "fp32" now`) {
		t.Errorf("moments of another dtype were refused by\n%s", out)
	}
	command(t, 0, "finetune", recipe, "--resume", set("finetune.recompute", "selective"))
	requireSame(t, "stop at 7", want, outcomeOf(t, runDir))
}

// removeAside removes the folder that --overwrite moved aside.
func removeAside(t *testing.T, runDir string) {
	t.Helper()
	if err := os.RemoveAll(runDir + ".old-1"); err != nil {
		t.Fatal(err)
	}
}

// kills is how often each stage is killed: five times, or as often as the long suite sets.
func kills(t *testing.T) int {
	t.Helper()
	text, long := os.LookupEnv("LLAVATRAIN_KILLS")
	if !long {
		return 5
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("LLAVATRAIN_KILLS is %q: it must be a number of kills", text)
	}
	return n
}

func TestKillAndResume(t *testing.T) {
	total := 0
	for _, c := range resumed {
		t.Run(c.name, func(t *testing.T) {
			dir, stage := world(t), c.stage
			write(t, filepath.Join(dir, "world.yaml"), strings.Replace(c.recipe, "threads: 1", "threads: 2", 1))
			began := time.Now()
			recipe, want := reference(t, dir, stage)
			span := time.Since(began)
			runDir := filepath.Join(dir, "runs", "world", stage)
			command(t, 0, stage, recipe, "--overwrite", "--stop-at=1")
			random := rand.New(rand.NewPCG(7, 7))
			for killed, most := 0, kills(t); killed < most; {
				if killRandomly(t, random, span, stage, recipe) {
					killed++
					total++
					continue
				}
				requireSame(t, fmt.Sprintf("after %d kills", killed), want, outcomeOf(t, runDir))
				removeAside(t, runDir)
				command(t, 0, stage, recipe, "--overwrite", "--stop-at=1")
			}
			command(t, 0, stage, recipe, "--resume")
			requireSame(t, "at the end", want, outcomeOf(t, runDir))
		})
	}
	t.Logf("%d kills", total)
}

// killRandomly resumes in a separate process and kills it at a random moment; it reports whether the kill came before
// the end.
func killRandomly(t *testing.T, random *rand.Rand, span time.Duration, stage, recipe string) bool {
	t.Helper()
	process := exec.Command("llavatrain", stage, recipe, "--resume", "--set="+stage+".save.every=2")
	var messages bytes.Buffer
	process.Stderr = &messages
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(time.Duration(random.Float64()*float64(span)), func() { process.Process.Kill() })
	err := process.Wait()
	timer.Stop()
	if err == nil {
		return false
	}
	if code := process.ProcessState.ExitCode(); code != -1 {
		t.Fatalf("llavatrain ended with exit code %d:\n%s", code, messages.String())
	}
	return true
}

func TestResumeRefusesAnotherRun(t *testing.T) {
	dir := world(t)
	recipe := filepath.Join(dir, "world.yaml")
	command(t, 0, "pretrain", recipe, "--stop-at=5")
	for _, c := range []struct{ change, names string }{
		{set("pretrain.train.projector.lr", 2e-3), "pretrain.train.projector.lr"},
		{set("pretrain.batch.global", 8), "pretrain.batch.global"},
		{set("seed", 7), "seed"},
		{set("threads", 7), "threads"},
		{set("pretrain.batch.micro", 4), "micro"},
	} {
		text := command(t, 2, "pretrain", recipe, "--resume", c.change)
		if !strings.Contains(text, c.names) || !strings.Contains(text, "--accept "+c.names) {
			t.Errorf("resume with %s: the message does not name %s and how to accept it:\n%s", c.change, c.names, text)
		}
	}
	command(t, 0, "pretrain", recipe, "--resume", set("threads", 7), "--accept=threads", "--stop-at=6")
}

// A run folder of an earlier version, in which "source" is the number of a data set, resumes as if nothing had changed:
// a row that was already skipped is not counted again.
func TestResumeReadsOlderKeys(t *testing.T) {
	dir := world(t)
	recipe := rowsWorld(t, dir, pictureRow("gone.png"))
	edited := strings.Replace(rowsRecipe, "data: [", "data: [{path: data/finetune.json, images: data/images}, ", 1)
	write(t, recipe, strings.Replace(edited, "steps: 3", "steps: 26", 1)) // two epochs
	runDir := filepath.Join(dir, "runs", "rows", "finetune")
	skips := func(step int) []json.RawMessage {
		state, err := checkpoints.ReadState(filepath.Join(runDir, "checkpoints", fmt.Sprintf("step-%06d", step)))
		if err != nil {
			t.Fatal(err)
		}
		return state.Skips
	}
	command(t, 0, "finetune", recipe)
	want, quarantine := skips(26), readQuarantine(t, runDir)
	if len(want) != 1 || !strings.HasPrefix(string(want[0]), `{"data":1,"row":4,`) || len(quarantine) != 2 {
		t.Fatalf("skipped %s, in quarantine %+v", want, quarantine)
	}

	command(t, 0, "finetune", recipe, "--overwrite", "--stop-at=20")
	older := func(path string) {
		text := read(t, path)
		old := bytes.ReplaceAll(text, []byte(`{"data":1,"row":4,`), []byte(`{"source":1,"row":4,`))
		if bytes.Equal(text, old) {
			t.Fatalf("%s has no number of a data set: %s", path, text)
		}
		write(t, path, string(old))
	}
	older(filepath.Join(runDir, "quarantine.jsonl"))
	checkpoint := filepath.Join(runDir, "checkpoints", "step-000020")
	again := checkpoints.Publish(checkpoint, func(tmp string) error { // with the hashes of its present contents
		if err := os.CopyFS(tmp, os.DirFS(checkpoint)); err != nil {
			return err
		}
		older(filepath.Join(tmp, "state.json"))
		return os.Remove(filepath.Join(tmp, "manifest.json"))
	})
	if again != nil {
		t.Fatal(again)
	}
	command(t, 0, "finetune", recipe, "--resume")
	if diff := cmp.Diff(want, skips(26)); diff != "" {
		t.Errorf("the state's skips differ (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(quarantine, readQuarantine(t, runDir)); diff != "" {
		t.Errorf("quarantine differs (-want +got):\n%s", diff)
	}
	for _, step := range []string{"12", "25"} {
		const want = `1:4  "odd"  skipped: image "gone.png"`
		if got := command(t, 0, "ledger", runDir, "--step", step); !strings.Contains(got, want) {
			t.Errorf("ledger of step %s lacks %s:\n%s", step, want, got)
		}
	}
}

func TestResumeFallsBackFromADamagedCheckpoint(t *testing.T) {
	dir := world(t)
	recipe, want := reference(t, dir, "pretrain")
	runDir := filepath.Join(dir, "runs", "world", "pretrain")
	command(t, 0, "pretrain", recipe, "--overwrite", "--stop-at=12")
	newest := filepath.Join(runDir, "checkpoints", "step-000012", "optimizer.safetensors")
	damaged := read(t, newest)
	damaged[len(damaged)/2] ^= 1
	if err := os.WriteFile(newest, damaged, 0o666); err != nil {
		t.Fatal(err)
	}
	text := command(t, 0, "pretrain", recipe, "--resume")
	if !strings.Contains(text, "step-000012") || !strings.Contains(text, "step 10") {
		t.Errorf("the message does not name the damaged checkpoint and the one it falls back to:\n%s", text)
	}
	requireSame(t, "after the fall-back", want, outcomeOf(t, runDir))
}

func TestFinishedRunResumesToNothing(t *testing.T) {
	dir := world(t)
	recipe := filepath.Join(dir, "world.yaml")
	command(t, 0, "pretrain", recipe)
	before := read(t, filepath.Join(dir, "runs", "world", "pretrain", "metrics.jsonl"))
	if text := command(t, 0, "pretrain", recipe, "--resume"); !strings.Contains(text, "finished") {
		t.Errorf("resuming a finished run does not say so:\n%s", text)
	}
	if !bytes.Equal(before, read(t, filepath.Join(dir, "runs", "world", "pretrain", "metrics.jsonl"))) {
		t.Error("resuming a finished run changed its metrics")
	}
	if text := command(t, 2, "pretrain", recipe); !strings.Contains(text, "--resume") ||
		!strings.Contains(text, "--overwrite") {
		t.Errorf("a second run without a flag is not refused with both ways on:\n%s", text)
	}
}

func TestStageOneCheckpointIsSmall(t *testing.T) {
	dir := world(t)
	command(t, 0, "pretrain", filepath.Join(dir, "world.yaml"), "--stop-at=5")
	w, err := checkpoints.Open(filepath.Join(dir, "runs", "world", "pretrain", "checkpoints", "step-000005",
		"model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for _, name := range w.Names() {
		if !strings.HasPrefix(name, "model.mm_projector.") {
			t.Errorf("a stage-1 checkpoint holds %s", name)
		}
	}
}
