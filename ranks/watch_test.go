package ranks

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// since is how long after the fault that a rank announced a process ended.
func since(t *testing.T, faulty, p *process) time.Duration {
	t.Helper()
	_, text, _ := strings.Cut(faulty.output.String(), "fault at ")
	text, _, _ = strings.Cut(text, "\n")
	at, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Errorf("no time of the fault: %q", faulty.output)
	}
	return p.after.Sub(time.UnixMilli(at))
}

// Whatever befalls a rank, the others end with 6 and name it.
func TestFaults(t *testing.T) {
	for _, c := range []struct {
		rank  int
		kind  string
		own   int // exit code; -1 for one that does not end by itself
		words []string
	}{
		{1, "killed", 137, []string{"rank 1 (", ") has not been heard of for"}},
		{1, "stopped", -1, []string{"rank 1 (", ") has not been heard of for", "it was at: "}},
		{1, "fails", 1, []string{"rank 1 (", "): no memory, for example"}},
		{0, "fails", 1, []string{"rank 0 (", "): no memory, for example"}}, // it serves the store
		{0, "killed", 137, []string{"the store at 127.0.0.1:", "which rank 0 (", ") serves, is gone: "}},
		{0, "stopped", -1, []string{"the store at 127.0.0.1:", "which rank 0 (", ") serves, is gone: ",
			"has not answered"}},
		{1, "behind", 6, []string{"where all are: rank 0: step 3, computing; rank 1: step 3, lost in a loop; " +
			"rank 2: "}},
	} {
		t.Run(fmt.Sprintf("rank %d %s", c.rank, c.kind), func(t *testing.T) {
			t.Parallel()
			all := startAll(t, "work", 3, freePort(t), fmt.Sprintf("TEST_FAULT=%d %s", c.rank, c.kind))
			var last time.Duration
			for rank, p := range all {
				if rank == c.rank {
					continue
				}
				p.ends(t, fmt.Sprintf("rank %d", rank), 6, c.words...)
				last = max(last, since(t, all[c.rank], p))
			}
			if c.own >= 0 {
				all[c.rank].ends(t, fmt.Sprintf("rank %d", c.rank), c.own)
			}
			line := ""
			for text := range strings.Lines(all[(c.rank+1)%3].output.String()) {
				if said, ok := strings.CutPrefix(text, "ended: "); ok {
					line = said
				}
			}
			t.Logf("the others were gone after %.1f s: %s", last.Seconds(), strings.TrimSpace(line))
		})
	}
}

// A rank that goes on after it was stopped finds that the job has ended.
func TestRankThatWasStoppedReadsWhy(t *testing.T) {
	t.Parallel()
	store, served := agent(t)
	report := filepath.Join(t.TempDir(), "error.json")
	all := startAll(t, "work", 3, store.Port(), served, "TEST_FAULT=1 stopped", "TORCHELASTIC_ERROR_FILE="+report)
	all[0].ends(t, "rank 0", 6, "rank 1 (")
	all[2].ends(t, "rank 2", 6, "rank 1 (")
	if text, err := os.ReadFile(report); err != nil || !strings.Contains(string(text), "has not been heard of") {
		t.Errorf("torchrun is told %s, %v", text, err)
	}
	all[1].goOn(t)
	all[1].ends(t, "rank 1", 6, "has not been heard of")
}

// The store of a launcher that is gone ends all.
func TestLaunchersStoreGoes(t *testing.T) {
	t.Parallel()
	store, served := agent(t)
	all := startAll(t, "work", 3, store.Port(), served)
	for _, p := range all {
		p.waitFor(t, "at work")
	}
	went := time.Now()
	store.Close()
	var last time.Duration
	for rank, p := range all {
		p.ends(t, fmt.Sprintf("rank %d", rank), 6, "which the launcher serves, is gone: ")
		last = max(last, p.after.Sub(went))
	}
	t.Logf("all were gone after %.1f s", last.Seconds())
}

// A SIGTERM to one rank travels with the next agreement: all stop after the same step.
func TestSignalToOneRankStopsAll(t *testing.T) {
	t.Parallel()
	all := startAll(t, "work", 3, freePort(t))
	for _, p := range all {
		p.waitFor(t, "at work")
	}
	all[2].terminate(t)
	step := ""
	for rank, p := range all {
		p.ends(t, fmt.Sprintf("rank %d", rank), 143, "stopped after step ")
		_, mine, _ := strings.Cut(p.output.String(), "stopped after step ")
		if rank > 0 && mine != step {
			t.Errorf("rank %d stopped after step %s, another after step %s", rank, mine, step)
		}
		step = mine
	}
}

// No rank misses another at the end, whoever is through first.
func TestLeaving(t *testing.T) {
	t.Parallel()
	for range 5 {
		for rank, p := range startAll(t, "leave", 3, freePort(t)) {
			p.ends(t, fmt.Sprintf("rank %d", rank), 0, "left")
		}
	}
}
