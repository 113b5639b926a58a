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

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/train/profile"
)

// The operations for one sample of a 7B model, by hand: 6.476e9 matrix elements in the layers (32 (4 4096^2 + 3 4096
// 11008)), 131e6 in the head, 21e6 in the projector, a tower of 303e6 and its scores at 577 rows.
func TestFlops(t *testing.T) {
	for _, test := range []struct {
		stage              int
		tokens, supervised float64
		teraflops          float64
	}{
		{1, 600, 24, 16.25}, {2, 800, 300, 32.25},
	} {
		var got float64
		rehearse(t, Bench{Device: "cpu", Dtype: "fp32", Shape: "7b", Stage: test.stage}, func(m *model.LLaVA) {
			got = flops(m, sizeOf(m).trains, amounts{test.tokens, test.supervised, 1, test.tokens * test.tokens}) / 1e12
		})
		if math.Abs(got/test.teraflops-1) > 0.005 {
			t.Errorf("stage %d: %.3f Tflop, want %.2f", test.stage, got, test.teraflops)
		}
	}
}

// rehearse declares a shape's model without any weights.
func rehearse(t *testing.T, b Bench, do func(*model.LLaVA)) {
	t.Helper()
	if _, err := torch.Open(); err != nil {
		t.Fatal(err)
	}
	r, stage, err := b.recipe(t.TempDir(), b.parts())
	if err != nil {
		t.Fatal(err)
	}
	p, err := newPlan(r, stage, 1, checkpoints.State{}, noPeers().Place)
	if err != nil {
		t.Fatal(err)
	}
	m, err := model.Rehearse(r.Model, model.OpenOptions{Trains: p.trains})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Free()
	do(m)
}

func TestBench(t *testing.T) {
	bench := Bench{Shape: "tiny", Stage: 2, Batch: 4, Steps: 2, Warmup: 1, Threads: 1, Device: "cpu", Dtype: "fp32"}
	r, err := bench.Run()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for part, share := range r.Share {
		if share <= 0 {
			t.Errorf("%s has a share of %v", part, share)
		}
		sum += share
	}
	if len(r.Share) != 6 || math.Abs(sum-1) > 1e-9 {
		t.Errorf("shares are %v", r.Share)
	}
	if r.Counts != "6N" || r.OfMatmul <= 0 ||
		math.Abs(r.OfMatmul*r.MatmulTflops/r.Tflops-1) > 1e-9 {
		t.Errorf("%s: %v of %v Tflop/s: %v", r.Counts, r.Tflops, r.MatmulTflops, r.OfMatmul)
	}
	if r.PredictedMB == 0 || math.Abs(float64(r.MeasuredMB)/float64(r.PredictedMB)-1) > 0.1 {
		t.Errorf("%d MB predicted, %d measured", r.PredictedMB, r.MeasuredMB)
	}
}

// A shape that does not fit is refused before its weights are made, with what would fit.
func TestBenchDoesNotFit(t *testing.T) {
	for _, test := range []struct {
		bench Bench
		want  string
	}{
		{Bench{Shape: "small", Stage: 2, Batch: 1 << 20}, "--batch "},
		{Bench{Shape: "13b", Stage: 2, Batch: 1}, "not even --batch 1 fits"},
	} {
		test.bench.Steps, test.bench.Device, test.bench.Dtype = 1, "cpu", "fp32"
		_, err := test.bench.Run()
		if !errors.Is(err, failure.ErrInput) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", test.bench.Shape, err)
		}
	}
}

func TestBenchRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		rows, device, dtype, want string
	}{
		"stage 1 without images": {`[{"image": false, "turns": [[1, 2]]}]`, "cpu", "fp32", "has no row with an image"},
		"a row without turns":    {`[{"image": true, "turns": [[1, 2]]}, {"image": true}]`, "cpu", "fp32", "row 1 of"},
		"not rows":               {`{}`, "cpu", "fp32", "rows: "},
		"an unknown device":      {"[]", "gpu", "fp32", `device must be one of auto, cpu, cuda, not "gpu"`},
		"an unknown dtype":       {"[]", "cpu", "fp16", `dtype must be one of auto, fp32, bf16, not "fp16"`},
	} {
		file := filepath.Join(t.TempDir(), "rows.json")
		if err := os.WriteFile(file, []byte(c.rows), 0o666); err != nil {
			t.Fatal(err)
		}
		_, err := Bench{
			Shape: "tiny", Stage: 1, Batch: 2, Steps: 1, Threads: 1, Device: c.device, Dtype: c.dtype, Rows: file,
		}.Run()
		if !errors.Is(err, failure.ErrInput) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v does not say %q", name, err, c.want)
		}
	}
}

func TestBenchProfile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "profile")
	bench := Bench{
		Shape: "tiny", Stage: 2, Batch: 4, Steps: 4, Warmup: 1, Threads: 1, Device: "cpu", Dtype: "fp32", Profile: dir,
	}
	if _, err := bench.Run(); err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, name := range []string{profile.CPUFile, profile.OperationsFile, profile.TraceFile} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = text
	}
	if !bytes.HasPrefix(files[profile.CPUFile], []byte("\x1f\x8b")) { // gzip, as pprof wants it
		t.Errorf("%s is no profile: %d bytes", profile.CPUFile, len(files[profile.CPUFile]))
	}
	checkBenchTable(t, string(files[profile.OperationsFile]))
	checkBenchTrace(t, files[profile.TraceFile])
}

// columns reads a table of a profile's text, from the line that starts with title to the next empty one: name ->
// figures.
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

func checkBenchTable(t *testing.T, text string) {
	if !strings.HasPrefix(text, "steps 2 to 5 on cpu, 1 threads\n") ||
		!strings.Contains(text, "ms without the profiler\n") {
		t.Errorf("the profile begins with %.200q", text)
	}
	heads := regexp.MustCompile(`(?m)^(\d+) operations and (\d+) calls from Go to C a step$`).FindStringSubmatch(text)
	if heads == nil || len(heads[1]) < 3 || len(heads[2]) < 3 {
		t.Errorf("counts are %q", heads)
	}
	kinds, parts := columns(t, text, "where the time goes"), columns(t, text, "\npart ")
	operations := columns(t, text, "self, ms")
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
			t.Errorf("backward has %v ms between operations, and the kind says %v",
				figures[3], kinds["between operations, in backward"][0])
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
	// a tower of 3 layers up to the selected one, which is frozen, and a language model of 4, whose last layer has late
	// queries: q and k, which the other layers rotate in one call, are apart there
	for name, calls := range map[string]float64{"llavatrain::attention": 7, "llavatrain::attention_backward": 4,
		"llavatrain::swiglu": 4, "llavatrain::cross_entropy_backward": 1, "llavatrain::rotary": 5,
		"autograd AttentionHalf": 4, "autograd MLPHalf": 4} {
		if figures := operations[name]; len(figures) != 4 || figures[3] != calls {
			t.Errorf("%s: %v, want %v calls", name, figures, calls)
		}
	}
}

// checkBenchTrace finds steps, their parts and our operations in the trace, each inside of what it belongs to.
func checkBenchTrace(t *testing.T, text []byte) {
	type event struct {
		Name     string  `json:"name"`
		Start    float64 `json:"ts"`
		Duration float64 `json:"dur"`
	}
	const tracedSteps = 3
	var trace struct{ TraceEvents []event }
	if err := json.Unmarshal(text, &trace); err != nil {
		t.Fatal(err)
	}
	spans, count := map[string]event{}, map[string]int{}
	for _, e := range trace.TraceEvents {
		count[e.Name]++
		if _, ok := spans[e.Name]; !ok {
			spans[e.Name] = e
		}
	}
	for name, within := range map[string]string{
		"vision": "step 2", "language": "step 2", "backward": "step 2", "optimizer": "step 2",
		"llavatrain::rms_norm": "language", "llavatrain::attention_backward": "backward",
		"llavatrain::adamw": "optimizer",
	} {
		e, outer := spans[name], spans[within]
		if e.Duration <= 0 || e.Start < outer.Start || e.Start+e.Duration > outer.Start+outer.Duration {
			t.Errorf("%s %+v is not inside %s %+v", name, e, within, outer)
		}
	}
	if count["vision"] != tracedSteps || count["step 4"] != 1 || count["step 5"] != 0 ||
		count["llavatrain::attention"] != 7*tracedSteps {
		t.Errorf("the trace has %v", count)
	}
}
