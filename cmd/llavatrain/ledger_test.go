package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/runs"
)

// readRows returns the rows of each step of a run.
func readRows(t *testing.T, runDir string) (steps [][]data.Drawn) {
	t.Helper()
	err := runs.ReadLedger(bytes.NewReader(read(t, filepath.Join(runDir, "ledger.jsonl"))),
		func(s runs.LedgerEntry) error {
			steps = append(steps, s.Rows)
			return nil
		})
	if err != nil {
		t.Fatal(err)
	}
	return steps
}

// The ledger has the shares of rows that the weights of the data sets give, as many rows as the metrics count, and the
// same rows however steps are divided.
func TestLedgerOfWeightedData(t *testing.T) {
	dir := world(t)
	recipe := filepath.Join(dir, "weighted.yaml")
	text := strings.Replace(worldRecipe, "name: world", "name: weighted", 1)
	text = strings.Replace(text, "data: [{path: data/finetune.json, images: data/images}]",
		"data: [{path: data/finetune.json, images: data/images}, "+
			"{path: rows.json, images: data/images, weight: 0.5}]", 1)
	write(t, recipe, text)
	rows := goodRows(t, dir)[:19]
	writeRows(t, filepath.Join(dir, "rows.json"), append(rows, []byte(pictureRow("gone.png"))))
	command(t, 0, "pretrain", recipe)
	runDir := filepath.Join(dir, "runs", "weighted", "finetune")
	command(t, 0, "finetune", recipe)
	steps := readRows(t, runDir)
	want := outcomeOf(t, runDir)

	var drawn []data.Drawn
	for i, m := range readMetrics(t, runDir) {
		skipped := 0
		for _, row := range steps[i] {
			if row.Skipped {
				skipped++
			}
			if row.Skipped != (row.Data == 1 && row.Row == 19) {
				t.Errorf("step %d: %+v", m.Step, row)
			}
		}
		if m.Samples != len(steps[i])-skipped || m.Skipped != skipped {
			t.Errorf("step %d has %d samples and %d skipped, its rows are %+v", m.Step, m.Samples, m.Skipped, steps[i])
		}
		drawn = append(drawn, steps[i]...)
	}
	const epoch = 30 + 20/2
	counts := map[data.Drawn]int{}
	for _, row := range drawn[:2*epoch] {
		counts[row]++
	}
	for row, n := range counts { // in two epochs
		if n != []int{2, 1}[row.Data] {
			t.Errorf("%+v was drawn %d times", row, n)
		}
	}
	if len(counts) != 30+20 {
		t.Errorf("%d rows were used, want all 50", len(counts))
	}

	command(t, 0, "finetune", recipe, "--overwrite", "--set=finetune.batch={global: 4, tokens: 400}")
	if diff := cmp.Diff(want.ledger, outcomeOf(t, runDir).ledger); diff != "" {
		t.Errorf("packed by tokens, the ledger differs (-want +got):\n%s", diff)
	}
}
