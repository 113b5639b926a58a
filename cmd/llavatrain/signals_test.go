package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// signalled runs llavatrain in a separate process and sends it a signal at each of the given lines of its output, in
// turn. It returns the exit code and the messages.
func signalled(t *testing.T, at []string, signals []syscall.Signal, args ...string) (code int, messages string) {
	t.Helper()
	process := exec.Command("llavatrain", args...)
	pipe, err := process.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for lines := bufio.NewScanner(pipe); lines.Scan(); {
		fmt.Fprintln(&text, lines.Text())
		if len(at) > 0 && strings.Contains(lines.Text(), at[0]) {
			process.Process.Signal(signals[0])
			at, signals = at[1:], signals[1:]
		}
	}
	process.Wait()
	if trace.MatchString(text.String()) {
		t.Errorf("the messages hold a stack trace:\n%s", text.String())
	}
	return process.ProcessState.ExitCode(), text.String()
}

// The first signal lets the step finish, saves it and ends with the signal's code; resuming gives the result of an
// uninterrupted run.
func TestSignalSaves(t *testing.T) {
	dir := world(t)
	recipe, want := reference(t, dir, "pretrain")
	runDir := filepath.Join(dir, "runs", "world", "pretrain")
	for _, c := range []struct {
		signal syscall.Signal
		code   int
	}{{syscall.SIGINT, 130}, {syscall.SIGTERM, 143}} {
		t.Run(c.signal.String(), func(t *testing.T) {
			code, text := signalled(t, []string{"step 1/20"}, []syscall.Signal{c.signal}, "pretrain", recipe,
				"--overwrite", set("pretrain.save.every", 100))
			if code != c.code {
				t.Fatalf("exit code %d, want %d:\n%s", code, c.code, text)
			}
			steps := len(readMetrics(t, runDir))
			for _, fragment := range []string{"finishing this step and saving",
				fmt.Sprintf("interrupted after step %d of 20; continue with --resume", steps)} {
				if !strings.Contains(text, fragment) {
					t.Errorf("the messages lack %q:\n%s", fragment, text)
				}
			}
			latest := bytes.TrimSpace(read(t, filepath.Join(runDir, "checkpoints", "latest")))
			if string(latest) != fmt.Sprintf("step-%06d", steps) {
				t.Errorf("after %d steps the newest checkpoint is %s", steps, latest)
			}
			command(t, 0, "pretrain", recipe, "--resume")
			requireSame(t, "after "+c.signal.String(), want, outcomeOf(t, runDir))
		})
	}
}

// A second signal ends the process during a step, with that signal's code and without saving.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	dir := world(t)
	code, text := signalled(t, []string{"run folder", "finishing this step"},
		[]syscall.Signal{syscall.SIGINT, syscall.SIGTERM},
		"pretrain", filepath.Join(dir, "world.yaml"), set("pretrain.batch.global", 2000)) // a step of many seconds
	if code != 143 {
		t.Fatalf("exit code %d, want 143:\n%s", code, text)
	}
	if _, err := os.Stat(filepath.Join(dir, "runs", "world", "pretrain", "checkpoints")); err == nil ||
		strings.Contains(text, "step 1/") {
		t.Errorf("the step was finished, or saved:\n%s", text)
	}
}
