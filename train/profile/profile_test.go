package profile

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// made is a profile made by hand: one step of 100 ms with its wait, an operation that calls itself, a node of autograd
// on another thread, work on a GPU, and an operation after the step.
func made() *recorded {
	at := func(ms int) time.Time { return time.Unix(1000, int64(ms)*1e6) }
	call := func(name string, lane int64, parent, from, to, self int) torch.Event {
		ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
		return torch.Event{
			Name: name, Device: torch.CPU, Lane: lane, Parent: parent,
			Start: at(from), Total: ms(to - from), Self: ms(self),
		}
	}
	onGPU := call("gemm", 7, 4, 66, 86, 20)
	onGPU.Device = 0
	node := evaluates + "torch::autograd::CppNode<(anonymous namespace)::RMSNorm>"
	return &recorded{device: 0, threads: 3,
		steps: []profiledStep{{
			number: 3, began: at(0), loaded: at(10), ended: at(100), calls: 12,
			laps: []lap{{"language", at(11), at(50)}, {"backward", at(50), at(99)}},
		}},
		events: []torch.Event{
			call("aten::sum", 1, -1, 20, 40, 5), call("aten::sum", 1, 0, 22, 37, 15),
			call(node, 2, -1, 60, 80, 4), call(strings.TrimPrefix(node, evaluates), 2, 2, 62, 78, 6),
			call("llavatrain::rms_norm_backward", 2, 3, 65, 75, 10),
			onGPU, call("aten::add_", 1, -1, 70, 90, 20), call("aten::mul", 1, -1, 110, 120, 10),
		}}
}

func TestProfileTable(t *testing.T) {
	p := made()
	type row struct {
		Name        string
		Calls       int
		Total, Self int64
	}
	var rows []row
	for _, host := range []bool{true, false} {
		for _, o := range p.operations(host) {
			rows = append(rows, row{o.name, o.calls, o.total.Milliseconds(), o.self.Milliseconds()})
		}
	}
	if diff := cmp.Diff([]row{{"aten::add_", 1, 20, 20}, {"aten::sum", 1, 20, 20}, {"autograd RMSNorm", 1, 20, 10},
		{"llavatrain::rms_norm_backward", 1, 10, 10}, {"gemm", 1, 20, 20}}, rows); diff != "" {
		t.Error(diff)
	}
	type part struct {
		Name          string
		Took, Between int64
		Operations    int
	}
	var parts []part
	for _, s := range p.parts() {
		parts = append(parts, part{s.name, s.took.Milliseconds(), s.between.Milliseconds(), s.operations})
	}
	wantParts := []part{{waiting, 10, 10, 0}, {"language", 39, 19, 2}, {"backward", 49, 19, 4}, {"the rest", 2, 2, 0}}
	if diff := cmp.Diff(wantParts, parts); diff != "" {
		t.Error(diff)
	}
	kinds := map[string]int64{}
	for _, k := range p.kinds(p.operations(true), p.parts()) {
		kinds[k.name] = k.took.Milliseconds()
	}
	if diff := cmp.Diff(map[string]int64{
		"operations of libtorch": 40, "llavatrain's kernels": 10, "nodes of autograd": 10,
		"between operations, in backward": 19, "between operations, elsewhere": 21, waiting: 10,
	}, kinds); diff != "" {
		t.Error(diff)
	}
	var text strings.Builder
	if err := p.writeTable(&text); err != nil {
		t.Fatal(err)
	}
	head := "step 3 on cuda:0, 3 threads\na step took 100.00 ms (median)\n" +
		"6 operations and 12 calls from Go to C a step\n"
	if !strings.HasPrefix(text.String(), head) {
		t.Errorf("the table begins with %.200q", text.String())
	}
	_, onGPU, _ := strings.Cut(text.String(), "work on the GPU")
	if figures := strings.Fields(onGPU); !slices.Equal(figures, []string{"20.000", "20.0%", "20.000", "1.0", "gemm"}) {
		t.Errorf("the GPU's row is %q in %s", figures, text.String())
	}
}

// On a GPU, an arrow leads from the call that queued work to the work.
func TestProfileTraceOfAGPU(t *testing.T) {
	var text bytes.Buffer
	if err := made().writeTrace(&text); err != nil {
		t.Fatal(err)
	}
	var trace struct{ TraceEvents []traceEvent }
	if err := json.Unmarshal(text.Bytes(), &trace); err != nil {
		t.Fatal(err)
	}
	var arrow []traceEvent
	for _, e := range trace.TraceEvents {
		if e.Phase == "s" || e.Phase == "f" {
			arrow = append(arrow, e)
		}
		if e.Name == "gemm" && (e.Process != gpuProcess || e.Thread != 7 || e.Start != 66000 || e.Duration != 20000) {
			t.Errorf("the GPU's work is %+v", e)
		}
		if e.Name == "aten::mul" {
			t.Errorf("%s ran after the step", e.Name)
		}
	}
	if len(arrow) != 2 || arrow[0].ID != arrow[1].ID || arrow[0].Start != 65000 || arrow[0].Thread != 2 ||
		arrow[1].Start != 66000 || arrow[1].Thread != 7 {
		t.Errorf("the arrow is %+v", arrow)
	}
}

// A folder that cannot be written is an error of the disk before anything runs, and no empty files are left.
func TestProfilerFolder(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, TraceFile), 0o777); err != nil { // in the way of one file of three
		t.Fatal(err)
	}
	for _, bad := range []string{filepath.Join(dir, "file"), filepath.Join(dir, "file", "below"), dir} {
		if _, err := OpenProfiler(bad, torch.CPU, 0, 1, nil); !errors.Is(err, failure.ErrStorage) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	for _, name := range []string{CPUFile, OperationsFile} {
		if checkpoints.Exists(filepath.Join(dir, name)) {
			t.Errorf("%s was left behind", name)
		}
	}
}
