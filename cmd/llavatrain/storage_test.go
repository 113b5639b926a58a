package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/data/datatest"
)

// limited runs llavatrain with a limit on the size of files, in KiB: to the program, the disk is full. It returns the
// messages.
func limited(t *testing.T, want, kilobytes int, args ...string) string {
	t.Helper()
	script := fmt.Sprintf(`ulimit -f %d; exec llavatrain "$@"`, kilobytes)
	process := exec.Command("bash", append([]string{"-c", script, "llavatrain"}, args...)...)
	var messages bytes.Buffer
	process.Stderr = &messages
	err := process.Run()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if code := process.ProcessState.ExitCode(); code != want {
		t.Fatalf("exit code %d, want %d:\n%s", code, want, messages.String())
	}
	if trace.MatchString(messages.String()) {
		t.Errorf("the messages hold a stack trace:\n%s", messages.String())
	}
	return messages.String()
}

// A disk that fills up while a checkpoint is written ends the run with the storage code and destroys nothing that was
// saved before.
func TestDiskFullWhileSaving(t *testing.T) {
	dir := world(t)
	recipe, want := reference(t, dir, "pretrain")
	runDir := filepath.Join(dir, "runs", "world", "pretrain")
	command(t, 0, "pretrain", recipe, "--overwrite", "--stop-at=3")
	saved := filepath.Join(runDir, "checkpoints", "step-000003")
	text := limited(t, 3, 150, "pretrain", recipe, "--resume") // the weights fit, the optimizer state does not
	if !strings.Contains(text, "step-000005") || !strings.Contains(text, "storage") {
		t.Errorf("the message does not say what could not be written:\n%s", text)
	}
	if err := checkpoints.Verify(saved); err != nil {
		t.Errorf("the checkpoint before: %v", err)
	}
	entries, err := os.ReadDir(filepath.Join(runDir, "checkpoints"))
	if err != nil || len(entries) != 2 { // step-000003 and latest
		t.Errorf("a failed save left files: %v, %v", entries, err)
	}
	command(t, 0, "pretrain", recipe, "--resume")
	requireSame(t, "after the disk was full", want, outcomeOf(t, runDir))
}

// A folder without a recipe is not a run: with disk space, the same command works.
func TestDiskFullAtTheStart(t *testing.T) {
	dir := world(t)
	recipe := filepath.Join(dir, "world.yaml")
	if text := limited(t, 3, 0, "pretrain", recipe); !strings.Contains(text, "recipe.yaml") {
		t.Errorf("the message does not say what could not be written:\n%s", text)
	}
	command(t, 0, "pretrain", recipe, "--stop-at=1")
}

// If no run folder can be made, nothing is trained.
func TestRunFolderCannotBeMade(t *testing.T) {
	dir := world(t)
	recipe := filepath.Join(dir, "world.yaml")
	file := filepath.Join(dir, "file")
	write(t, file, "")
	complain(t, 3, []string{file, "storage"}, "pretrain", recipe, "--runs", filepath.Join(file, "runs"))
	if os.Geteuid() == 0 {
		t.Log("permissions do not bind root: a folder that may not be written is not tried")
		return
	}
	closed := filepath.Join(dir, "closed")
	if err := os.Mkdir(closed, 0o555); err != nil {
		t.Fatal(err)
	}
	complain(t, 3, []string{closed, "storage"}, "pretrain", recipe, "--runs", filepath.Join(closed, "runs"))
}

// A run whose checkpoints do not fit the disk is refused before its first step.
func TestNoRoomForTheCheckpoints(t *testing.T) {
	dir := world(t)
	recipe, runDir := filepath.Join(dir, "world.yaml"), filepath.Join(dir, "runs", "world", "pretrain")
	complain(t, 3, []string{"checkpoints and export of this run: ", "storage", runDir, " MB free, but "},
		"pretrain", recipe, set("pretrain.save.keep", 1_000_000_000))
	if checkpoints.Exists(runDir) {
		t.Errorf("%s was made", runDir)
	}
}

// A disk that fails under what a run reads is not the user's fault, whichever command meets it. What check finds is no
// verdict then.
func TestDiskFailsUnderWhatIsRead(t *testing.T) {
	t.Setenv("LLAVATRAIN_CACHE", t.TempDir())
	dir := world(t)
	bad := func(elements ...string) string {
		path := filepath.Join(append([]string{dir, "bad"}, elements...)...)
		must(t, os.MkdirAll(filepath.Dir(path), 0o777))
		must(t, os.Symlink(datatest.Unreadable, path))
		return path
	}
	recipe := filepath.Join(dir, "world.yaml")
	weights := bad("weights", "config.json")
	for key, path := range map[string]string{
		"pretrain.data.0.path":          bad("rows.json"),
		"pretrain.data.0.images":        bad("images.tar"),
		"model.language.tokenizer.path": bad("tokenizer.json"),
		"model.vision.config":           bad("tower.json"),
		"model.language.weights":        filepath.Dir(weights),
	} {
		for _, args := range [][]string{
			{"pretrain", recipe, "--runs", filepath.Join(dir, "runs")}, {"check", recipe, "--stage=pretrain"},
			{"preview", recipe, "--stage=pretrain", "--row=0"}, {"plan", recipe, "--stage=pretrain"},
		} {
			if key == "model.language.weights" && args[0] == "preview" { // which needs a tokenizer alone
				continue
			}
			complain(t, 3, []string{"input/output error", "bad/"}, append(args, set(key, path))...)
		}
	}
	complain(t, 3, []string{"recipe: read "}, "check", datatest.Unreadable)
	complain(t, 3, []string{"questions: read "}, "generate", "none", "--batch", datatest.Unreadable)
	requireNoRun(t, filepath.Join(dir, "runs"))
}

// A folder that another process trains in is left alone, also by --overwrite, and named with that process before
// anything is loaded. When the process is gone, however it ended, the folder is free.
func TestRunFolderInUse(t *testing.T) {
	dir := world(t)
	recipe := filepath.Join(dir, "world.yaml")
	runDir := filepath.Join(dir, "runs", "world", "pretrain")
	first := exec.Command("llavatrain", "pretrain", recipe, set("pretrain.steps", 1_000_000),
		set("pretrain.save.every", 1_000_000))
	messages, err := first.StderrPipe()
	must(t, err)
	must(t, first.Start())
	defer first.Process.Kill()
	for lines := bufio.NewScanner(messages); lines.Scan() && !strings.HasPrefix(lines.Text(), "step 1/"); {
	}
	want := []string{
		fmt.Sprintf("run folder is in use: process %d works in %s; wait for it to end", first.Process.Pid, runDir),
	}
	for _, flags := range [][]string{nil, {"--resume"}, {"--overwrite"},
		{"--resume", set("model.vision.config", "gone.json")}} {
		complain(t, 2, want, append([]string{"pretrain", recipe}, flags...)...)
		if _, err := os.Stat(runDir + ".old-1"); err == nil {
			t.Fatalf("%q moved a folder aside that is in use", flags)
		}
	}
	must(t, first.Process.Kill())
	first.Wait()
	command(t, 0, "pretrain", recipe, "--overwrite", "--stop-at=1")
}

// If no checkpoint verifies, --resume does not start over on files that may still be recovered by hand.
func TestNoCheckpointVerifies(t *testing.T) {
	dir := world(t)
	recipe := filepath.Join(dir, "world.yaml")
	command(t, 0, "pretrain", recipe, "--stop-at=2")
	runDir := filepath.Join(dir, "runs", "world", "pretrain")
	weights := filepath.Join(runDir, "checkpoints", "step-000002", "model.safetensors")
	write(t, weights, "torn")
	complain(t, 3, []string{weights, "no checkpoint in " + runDir + " verifies", "--overwrite"}, "pretrain", recipe,
		"--resume")
	if n := len(readMetrics(t, runDir)); n != 2 {
		t.Errorf("metrics were cut to %d lines", n)
	}
}
