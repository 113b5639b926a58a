package main

import (
	"bytes"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"
)

// Steps whose loss is not finite are not applied; the fifth in a row is the last. Their samples are listed, and a
// checkpoint keeps the last finite weights.
func TestDivergence(t *testing.T) {
	dir := world(t)
	recipe := filepath.Join(dir, "world.yaml")
	for _, c := range []struct {
		name   string
		change []string
		sound  int // steps before the first that is not finite
	}{
		// the first update of the warm-up has rate 0
		{"learning rate", []string{set("pretrain.train.projector.lr", 1e30), set("pretrain.optimizer.clip", 0)}, 2},
		{"weights", []string{set("model.projector.weights", nanProjector(t, dir))}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			runs := t.TempDir()
			args := append([]string{"pretrain", recipe, "--runs", runs, set("pretrain.save", "{every: 1, keep: 20}")},
				c.change...)
			last := fmt.Sprintf("step %d", c.sound+5)
			text := complain(t, 5, []string{"training diverged", "5 steps in a row", last, "pretrain-000",
				fmt.Sprintf("the weights are those of step %d", c.sound)}, args...)
			if n := strings.Count(text, "not applied; samples pretrain-000"); n != 5 {
				t.Errorf("%d messages about steps that were not applied, want 5:\n%s", n, text)
			}
			runDir := filepath.Join(runs, "world", "pretrain")
			requireNotFinite(t, runDir, c.sound)
			first := read(t, filepath.Join(runDir, "checkpoints", fmt.Sprintf("step-%06d", max(1, c.sound)),
				"model.safetensors"))
			for step := c.sound + 1; step < c.sound+5; step++ {
				file := filepath.Join(runDir, "checkpoints", fmt.Sprintf("step-%06d", step), "model.safetensors")
				if !bytes.Equal(first, read(t, file)) {
					t.Errorf("step %d was not finite and changed the weights", step)
				}
			}
		})
	}
}

// requireNotFinite checks that metrics have the finite steps and then five that are not finite, as JSON strings.
func requireNotFinite(t *testing.T, runDir string, sound int) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(string(read(t, filepath.Join(runDir, "metrics.jsonl")))), "\n")
	metrics := readMetrics(t, runDir)
	if len(metrics) != sound+5 {
		t.Fatalf("%d lines of metrics, want %d", len(metrics), sound+5)
	}
	for i, m := range metrics {
		finite := !math.IsNaN(float64(m.Loss)) && !math.IsInf(float64(m.Loss), 0)
		if finite != (i < sound) {
			t.Errorf("step %d: loss %v", m.Step, m.Loss)
		}
		if quoted := strings.Contains(lines[i], `"loss":"NaN"`) &&
			strings.Contains(lines[i], `"grad_norm":"NaN"`); quoted != (i >= sound) {
			t.Errorf("line %d: %s", i+1, lines[i])
		}
	}
}
