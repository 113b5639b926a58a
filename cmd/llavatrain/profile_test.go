package main

import (
	"path/filepath"
	"testing"
)

// Profiling changes nothing: the run's weights, metrics and ledger are the same, byte for byte.
func TestProfileChangesNothing(t *testing.T) {
	dir := world(t)
	recipe, want := reference(t, dir, "pretrain")
	command(t, 0, "pretrain", recipe, "--overwrite", "--profile")
	requireSame(t, "with a profile", want, outcomeOf(t, filepath.Join(dir, "runs", "world", "pretrain")))
}
