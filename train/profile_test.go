package train

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/model/torch"
)

// columns reads a table of a profile's text: name -> the figures beside it, from the line that begins so to the next empty one.
func columns(t *testing.T, text, title string) map[string][]float64 {
	t.Helper()
	_, found, ok := strings.Cut(text, title)
	if !ok {
		t.Fatalf("no table %q in:\n%s", title, text)
	}
	found, _, _ = strings.Cut(found, "\n\n")
	rows := map[string][]float64{}
	for line := range strings.Lines(found[strings.Index(found, "\n")+1:]) {
		var name []string
		var figures []float64
		for _, word := range strings.Fields(line) {
			if figure, err := strconv.ParseFloat(strings.TrimSuffix(word, "%"), 64); err == nil {
				figures = append(figures, figure)
			} else {
				name = append(name, word)
			}
		}
		rows[strings.Join(name, " ")] = figures
	}
	return rows
}

func TestBenchProfile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "profile")
	if _, err := (Bench{Shape: "tiny", Stage: 2, Batch: 4, Steps: 4, Warmup: 1, Threads: 1, Device: "cpu", Dtype: "fp32", Profile: dir}).Run(); err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, name := range []string{profileCPU, profileOps, profileTrace} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = text
	}
	if !bytes.HasPrefix(files[profileCPU], []byte("\x1f\x8b")) { // gzip, as pprof wants it
		t.Errorf("%s is no profile: %d bytes", profileCPU, len(files[profileCPU]))
	}
	checkBenchTable(t, string(files[profileOps]))
	checkBenchTrace(t, files[profileTrace])
}

func checkBenchTable(t *testing.T, text string) {
	if !strings.HasPrefix(text, "steps 2 to 5 on cpu, 1 threads\n") || !strings.Contains(text, "ms without the profiler\n") {
		t.Errorf("the profile begins with %.200q", text)
	}
	heads := regexp.MustCompile(`(?m)^(\d+) operations and (\d+) calls from Go to C a step$`).FindStringSubmatch(text)
	if heads == nil || len(heads[1]) < 3 || len(heads[2]) < 3 {
		t.Errorf("counts are %q", heads)
	}
	kinds, parts, operations := columns(t, text, "where the time goes"), columns(t, text, "\npart "), columns(t, text, "self, ms")
	total := map[string]float64{}
	for name, figures := range kinds {
		total["kinds"] += figures[1]
		if name != "waiting for data" && figures[0] <= 0 {
			t.Errorf("%s took %v ms", name, figures[0])
		}
	}
	for name, figures := range parts {
		total["parts"] += figures[1]
		total["step"] += figures[0]
		total["between"] += figures[3]
		if name == "backward" && math.Abs(figures[3]-kinds["between operations, in backward"][0]) > 0.01 {
			t.Errorf("backward has %v ms between operations, and the kind says %v", figures[3], kinds["between operations, in backward"][0])
		}
	}
	for _, figures := range operations {
		total["operations"] += figures[0]
	}
	if math.Abs(total["kinds"]-100) > 0.5 || math.Abs(total["parts"]-100) > 0.5 {
		t.Errorf("shares sum to %v", total)
	}
	if got := (total["operations"] + total["between"]) / total["step"]; math.Abs(got-1) > 0.01 {
		t.Errorf("operations and the time between them are %.3f of the steps", got)
	}
	// a tower of 3 layers up to the selected one, which is frozen, and a language model of 4
	for name, calls := range map[string]float64{"llavatrain::attention": 7, "llavatrain::attention_backward": 4, "llavatrain::swiglu": 4,
		"llavatrain::cross_entropy_backward": 1, "autograd AttentionHalf": 3, "autograd LateAttentionHalf": 1} {
		if figures := operations[name]; len(figures) != 4 || figures[3] != calls {
			t.Errorf("%s: %v, want %v calls", name, figures, calls)
		}
	}
}

// checkBenchTrace finds steps, their parts and our operations in the trace, each inside of what it belongs to.
func checkBenchTrace(t *testing.T, text []byte) {
	var trace struct{ TraceEvents []traceEvent }
	if err := json.Unmarshal(text, &trace); err != nil {
		t.Fatal(err)
	}
	spans, count := map[string]traceEvent{}, map[string]int{}
	for _, e := range trace.TraceEvents {
		count[e.Name]++
		if _, ok := spans[e.Name]; !ok {
			spans[e.Name] = e
		}
	}
	for name, within := range map[string]string{"vision": "step 2", "language": "step 2", "backward": "step 2", "optimizer": "step 2",
		"llavatrain::rms_norm": "language", "llavatrain::attention_backward": "backward", "llavatrain::adamw": "optimizer"} {
		e, outer := spans[name], spans[within]
		if e.Duration <= 0 || e.Start < outer.Start || e.Start+e.Duration > outer.Start+outer.Duration {
			t.Errorf("%s %+v is not inside %s %+v", name, e, within, outer)
		}
	}
	if count["vision"] != tracedSteps || count["step 4"] != 1 || count["step 5"] != 0 || count["llavatrain::attention"] != 7*tracedSteps {
		t.Errorf("the trace has %v", count)
	}
}

// made is a profile by hand: one step of 100 ms with its wait, a call of an operation in itself, a node of autograd on a thread of its own, work on
// a card, and an operation behind the step.
func made() *profile {
	at := func(ms int) time.Time { return time.Unix(1000, int64(ms)*1e6) }
	call := func(name string, lane int64, parent, from, to, self int) torch.Event {
		ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
		return torch.Event{Name: name, Device: torch.CPU, Lane: lane, Start: at(from), Total: ms(to - from), Self: ms(self), Parent: parent}
	}
	card := call("gemm", 7, 4, 66, 86, 20)
	card.Device = 0
	node := evaluates + "torch::autograd::CppNode<(anonymous namespace)::RMSNorm>"
	return &profile{device: 0, threads: 3,
		steps: []profiledStep{{number: 3, began: at(0), loaded: at(10), ended: at(100), calls: 12, laps: []lap{{"language", at(11), at(50)}, {"backward", at(50), at(99)}}}},
		events: []torch.Event{
			call("aten::sum", 1, -1, 20, 40, 5), call("aten::sum", 1, 0, 22, 37, 15),
			call(node, 2, -1, 60, 80, 4), call(strings.TrimPrefix(node, evaluates), 2, 2, 62, 78, 6), call("llavatrain::rms_norm_backward", 2, 3, 65, 75, 10),
			card, call("aten::add_", 1, -1, 70, 90, 20), call("aten::mul", 1, -1, 110, 120, 10),
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
	if diff := cmp.Diff([]part{{waiting, 10, 10, 0}, {"language", 39, 19, 2}, {"backward", 49, 19, 4}, {"the rest", 2, 2, 0}}, parts); diff != "" {
		t.Error(diff)
	}
	kinds := map[string]int64{}
	for _, k := range p.kinds(p.operations(true), p.parts()) {
		kinds[k.name] = k.took.Milliseconds()
	}
	if diff := cmp.Diff(map[string]int64{"operations of libtorch": 40, "kernels of our own": 10, "nodes of autograd": 10,
		"between operations, in backward": 19, "between operations, elsewhere": 21, waiting: 10}, kinds); diff != "" {
		t.Error(diff)
	}
	var text strings.Builder
	if err := p.writeTable(&text); err != nil {
		t.Fatal(err)
	}
	if head := "step 3 on cuda:0, 3 threads\na step took 100.00 ms (median)\n6 operations and 12 calls from Go to C a step\n"; !strings.HasPrefix(text.String(), head) {
		t.Errorf("the table begins with %.200q", text.String())
	}
	if figures := columns(t, text.String(), "work on the card")["gemm"]; !cmp.Equal(figures, []float64{20, 20, 20, 1}) {
		t.Errorf("the card's row is %v", figures)
	}
}

// On a card, an arrow leads from the call that queued work to the work.
func TestProfileTraceOfACard(t *testing.T) {
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
		if e.Name == "gemm" && (e.Process != cardProcess || e.Thread != 7 || e.Start != 66000 || e.Duration != 20000) {
			t.Errorf("the card's work is %+v", e)
		}
		if e.Name == "aten::mul" {
			t.Errorf("%s ran behind the step", e.Name)
		}
	}
	if len(arrow) != 2 || arrow[0].Start != 65000 || arrow[0].Thread != 2 || arrow[1].Start != 66000 || arrow[1].Thread != 7 || arrow[0].ID != arrow[1].ID {
		t.Errorf("the arrow is %+v", arrow)
	}
}

// What cannot be written is an error of the disk before anything runs, and leaves no empty files.
func TestProfilerFolder(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, profileTrace), 0o777); err != nil { // in the way of one file of three
		t.Fatal(err)
	}
	for _, bad := range []string{filepath.Join(dir, "file"), filepath.Join(dir, "file", "below"), dir} {
		if _, err := openProfiler(bad, torch.CPU, 0, 1, nil); !errors.Is(err, checkpoints.ErrStorage) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	for _, name := range []string{profileCPU, profileOps} {
		if exists(filepath.Join(dir, name)) {
			t.Errorf("%s was left behind", name)
		}
	}
}
