package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/synth/shapes"
)

// TestMain lets the test binary be run as the command itself, by scripts and by the tests that kill it.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"llavatrain": main})
}

// TestScripts runs testdata/script. $WORLD is a world that all scripts share: they write only to $WORK.
func TestScripts(t *testing.T) {
	dir := world(t)
	testscript.Run(t, testscript.Params{
		Dir:   "testdata/script",
		Setup: func(e *testscript.Env) error { e.Setenv("WORLD", dir); return nil },
		Cmds:  map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
	})
}

// exits is the script command `exits CODE ARGUMENTS…`: llavatrain must end with that code, and without a stack trace.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec("llavatrain", args[1:]...)
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		err = nil
		if code := strconv.Itoa(exit.ExitCode()); code != args[0] {
			ts.Fatalf("exit code %s, want %s", code, args[0])
		}
	} else if args[0] != "0" {
		ts.Fatalf("exit code 0, want %s", args[0])
	}
	ts.Check(err)
	if trace.MatchString(ts.ReadFile("stderr")) {
		ts.Fatalf("stack trace on stderr")
	}
}

// trace matches stack traces, which no user should see.
var trace = regexp.MustCompile(`goroutine \d|panic:|\.go:\d`)

// command runs one command line in this process and fails the test unless it ends with the wanted exit code.
func command(t *testing.T, want int, args ...string) string {
	t.Helper()
	var out, messages bytes.Buffer
	if code := run(args, &out, &messages); code != want {
		t.Fatalf("llavatrain %s: exit code %d, want %d\n%s", strings.Join(args, " "), code, want, messages.String())
	}
	return out.String() + messages.String()
}

// shared returns a path in the shared data next to the repository. Without the data the test is skipped, or fails if
// CI=true.
func shared(t *testing.T, elements ...string) string {
	t.Helper()
	path := filepath.Join(append([]string{"..", "..", "..", "shared"}, elements...)...)
	if _, err := os.Stat(path); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is needed under CI: %v", path, err)
		}
		t.Skipf("%s is absent", path)
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return absolute
}

func readMetrics(t *testing.T, runDir string) (lines []runs.Metrics) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(runDir, "metrics.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var m runs.Metrics
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("metrics.jsonl: %q: %v", line, err)
		}
		lines = append(lines, m)
	}
	return lines
}

// worldRecipe trains a small model with random weights on a few drawn shapes: both stages take 20 steps in about a
// second.
const worldRecipe = `
name: world
threads: 1
model:
  vision: {config: base/tower.json, select_layer: -1}
  language: {config: base/language.json, tokenizer: {path: base}, max_length: 256}
pretrain:
  data: [{path: data/pretrain.json, images: data/images}]
  template: plain
  train: {projector: {lr: 1e-3}}
  batch: {global: 4, micro: 2}
  steps: 20
  save: {every: 5, keep: 3}
finetune:
  data: [{path: data/finetune.json, images: data/images}]
  template: vicuna_v1
  order: grouped
  train: {projector: {lr: 1e-3}, language: {lr: 1e-3}}
  batch: {global: 4, micro: 2}
  steps: 20
  save: {every: 5, keep: 3}
`

// world makes a folder with everything that worldRecipe needs, including world.yaml.
func world(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	base := filepath.Join(dir, "base")
	if err := os.MkdirAll(base, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := shapes.WriteConfigs(base); err != nil {
		t.Fatal(err)
	}
	options := shapes.Options{Seed: 5, Pretrain: 30, Finetune: 30, Questions: 20}
	if err := shapes.WriteDemo(filepath.Join(dir, "data"), options, func(int, int) {}); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "world.yaml"), worldRecipe)
	return dir
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func writeRows(t *testing.T, path string, rows []json.RawMessage) {
	t.Helper()
	text, err := json.Marshal(rows)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, string(text))
}

func set(key string, value any) string { return fmt.Sprintf("--set=%s=%v", key, value) }
