package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	seed  = 15               // of the draw: a different seed draws different mutants
	limit = 90 * time.Second // for the tests of one mutant
)

// room is a package whose tests are measured.
type room struct {
	folder  string
	pure    bool     // built and tested without cgo
	mutants int      // how many are drawn, not counting those that do not build
	files   []string // the files to change; all tests of their package run
}

var rooms = []room{
	{"data", true, 44, []string{
		"order.go", "permutation.go", "grouped.go", "mixture.go", "encode.go", "render.go", "collate.go", "loader.go",
	}},
	{"checkpoints", true, 36, []string{
		"durable.go", "json.go", "jsonl.go", "lock.go", "pickle.go", "publish.go", "run.go", "safetensors.go",
		"state.go", "tensor.go", "torchfile.go", "weights.go", "write.go",
	}},
	{"runs", true, 14, []string{"ledger.go", "ledger_lines.go", "metrics.go"}},
	{"recipes", true, 18, []string{"check.go", "override.go", "paths.go", "problem.go", "resolved.go", "scalar.go"}},
	{"train", false, 64, []string{
		"loop.go", "step.go", "loss_sums.go", "optimizer.go", "schedule.go", "run.go", "checkpoint.go", "resume.go",
		"plan.go",
	}},
	{"loss", false, 8, []string{"loss.go"}},
	{"model", false, 32, []string{"llava.go", "identity.go"}},
}

// choose returns the rooms with these names, or all rooms if none is given.
func choose(names []string) ([]room, error) {
	if len(names) == 0 {
		return rooms, nil
	}
	var chosen []room
	for _, name := range names {
		i := slices.IndexFunc(rooms, func(r room) bool { return r.folder == name })
		if i < 0 {
			var known []string
			for _, r := range rooms {
				known = append(known, r.folder)
			}
			return nil, fmt.Errorf("room %q is unknown; there are %s", name, strings.Join(known, ", "))
		}
		chosen = append(chosen, rooms[i])
	}
	return chosen, nil
}
