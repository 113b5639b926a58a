package train

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// write puts a file into the world's folder.
func (w world) write(name, content string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(content), 0o666); err != nil {
		w.t.Fatal(err)
	}
}

// exported says whether the run has written its export.
func (w world) exported() bool {
	files, _ := filepath.Glob(filepath.Join(w.recipe.Runs, w.recipe.Name, "finetune", "export", "*"))
	return len(files) > 0
}

// A run without a usable row, in all or in one of its data sets, is an error of the data, whatever its length.
func TestRunWithoutUsableRows(t *testing.T) {
	bad := "[" + strings.Repeat(`{"id": "a", "conversations": []}, `, 4) + `{"conversations": []}]`
	for name, test := range map[string]struct {
		set  []string
		want string
	}{
		"few steps": {[]string{"finetune.data=[{path: bad.json}]", "finetune.steps=1"},
			"none of the rows drawn in 1 steps can be used"},
		"all rows": {[]string{"finetune.data=[{path: bad.json}]"}, "none of the rows of data[0] can be used"},
		"a data set of a mix": {[]string{"finetune.data=[{path: data/finetune.json, images: data/images}, " +
			"{path: bad.json, weight: 8}]", "finetune.steps=19"}, "none of the rows of data[1] can be used"},
	} {
		w := newWorld(t, test.set...)
		w.write("bad.json", bad)
		told, err := w.run(Options{})
		if !errors.Is(err, failure.ErrInput) || !strings.Contains(fmt.Sprint(err), test.want) || w.exported() {
			t.Errorf("%s: error %v, exported %v, said %q; want %q", name, err, w.exported(), told.said, test.want)
		}
	}
	if data.SkipLimit(5) < 5 {
		t.Error("the test needs bad rows within the limit")
	}
}

// A run in which no weight changed says so at its start, if the schedule shows it, and at its end.
func TestRunThatChangesNoWeight(t *testing.T) {
	w := newWorld(t, "finetune.steps=1")
	told := w.must(Options{})
	if n := told.count("warning: no weight will change", "warm-up of 0.03 takes 1 of 1 steps"); n != 2 {
		t.Errorf("warned %d times: %q", n, told.said)
	}
	w = newWorld(t, "finetune.steps=2")
	if told = w.must(Options{}); told.count("no weight") != 0 {
		t.Errorf("with a second step: %q", told.said)
	}
	// Rows of text do not reach the projector.
	w = newWorld(t, "finetune.data=[{path: text.json}]", "finetune.train={projector: {lr: 1e-3}}", "finetune.steps=2")
	texts := "[" + strings.TrimSuffix(strings.Repeat(`{"conversations": [{"from": "human", "value": "Hi?"},
		{"from": "gpt", "value": "Yes."}]},`, 8), ",") + "]"
	w.write("text.json", texts)
	const start = "warning: no weight will change: the rows are text alone"
	told = w.must(Options{})
	if n := told.count("warning: no weight was changed: the gradient was 0 in every step"); n != 1 ||
		told.count(start) != 1 {
		t.Errorf("text alone: warned %d times: %q", n, told.said)
	}
	// More rows than are read at the start; one image among them; a part that learns from text.
	const both = "finetune.data=[{path: text.json}, {path: data/finetune.json, images: data/images}]"
	for want, set := range map[string][]string{
		"warning: none of the first 1000 rows has an image": {"finetune.data=[{path: text.json}]",
			"finetune.train={projector: {lr: 1e-3}}", "finetune.steps=300"},
		"":  {both, "finetune.train={projector: {lr: 1e-3}}"},
		" ": {"finetune.data=[{path: text.json}]"},
	} {
		w := newWorld(t, set...)
		w.write("text.json", texts)
		told := w.must(Options{StopAt: 1})
		if want = strings.TrimSpace(want); want != "" && told.count(want) != 1 || want == "" && told.says("image") {
			t.Errorf("%q: %q", set, told.said)
		}
	}
}

// A run whose updates all vanish in rounding says so at its end, and one whose last steps were not applied says how
// many.
func TestRunAtUselessRates(t *testing.T) {
	run := func(rate, only string) *teller {
		train := fmt.Sprintf(`{projector: {lr: %s, only: %s}, language: {lr: %[1]s, only: %[2]s}}`, rate, only)
		w := newWorld(t, "finetune.steps=2", "finetune.schedule={type: constant, warmup: 0}", "finetune.train="+train)
		return w.must(Options{})
	}
	const vanished = "warning: no weight was changed: the learning rate is so small that every update vanished"
	matrices := `'2\.weight|layers\.3.*_proj'`
	for rate, want := range map[string]int{"1e-30": 1, "1e-5": 0} {
		if told := run(rate, matrices); told.count(vanished) != want || told.count("were not applied") != 0 {
			t.Errorf("rate %s: %q", rate, told.said)
		}
	}
	told := run("1e10", matrices)
	if !told.says("warning: 1 of 2 steps were not applied", "the last step is among them") || !told.says("finished: ") {
		t.Errorf("rate 1e10: %q", told.said)
	}
}

// Steps that are not finite from the first on end a run as diverged, however few they are, and the weight is named.
func TestRunThatIsNeverFinite(t *testing.T) {
	for _, steps := range []int{1, patience + 1} {
		w := newWorld(t, fmt.Sprintf("finetune.steps=%d", steps))
		name := poison(t, filepath.Join(w.dir, "base"))
		_, err := w.run(Options{})
		if !errors.Is(err, ErrDiverged) || !strings.Contains(err.Error(), "The weight "+name+" held NaN") ||
			w.exported() {
			t.Errorf("%d steps: error %v, want one that names %s", steps, err, name)
		}
	}
}

// A finished run compares its recipe as any other does, and goes on if it has been lengthened.
func TestFinishedRunGoesOn(t *testing.T) {
	w := newWorld(t)
	w.must(Options{})
	w.recipe.Finetune.Steps = runSteps + 2
	told, err := w.run(Options{Resume: true})
	if !errors.Is(err, failure.ErrInput) ||
		!strings.Contains(err.Error(), `finetune.steps: "6" in the checkpoint, "8" now`) {
		t.Errorf("longer, not accepted: %v, said %q", err, told.said)
	}
	told = w.must(Options{Resume: true, Accept: []string{"finetune.steps"}})
	if !slices.Equal(told.steps, []int{7, 8}) || !told.says("goes on after step 6") || !told.says("finished: ") {
		t.Errorf("longer: steps %v, said %q", told.steps, told.said)
	}
	if told = w.must(Options{Resume: true}); !told.says("is finished (8 steps)") || len(told.steps) > 0 {
		t.Errorf("finished again: %q", told.said)
	}
	w.recipe.Seed++
	if _, err = w.run(Options{Resume: true}); !errors.Is(err, failure.ErrInput) ||
		!strings.Contains(err.Error(), "seed: ") {
		t.Errorf("another seed: %v", err)
	}
	w.recipe.Seed--
	w.write("data/finetune.json", string(readFile(t, w.dir, "data/finetune.json"))+"\n")
	if _, err = w.run(Options{Resume: true}); !errors.Is(err, failure.ErrInput) ||
		!strings.Contains(err.Error(), "data.0: ") {
		t.Errorf("other data: %v", err)
	}
}

// poison makes the last value of a folder's weights NaN and returns the weight's name.
func poison(t *testing.T, dir string) (name string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.safetensors"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	content := readFile(t, files[0])
	header := map[string]struct {
		End [2]int `json:"data_offsets"`
	}{}
	head := 8 + int(binary.LittleEndian.Uint64(content))
	if err := json.Unmarshal(content[8:head], &header); err != nil {
		t.Fatal(err)
	}
	copy(content[len(content)-4:], "\xff\xff\xff\xff") // NaN in fp32, bf16 and fp16
	for tensor, at := range header {
		if head+at.End[1] == len(content) {
			name = tensor
		}
	}
	if err := os.WriteFile(files[0], content, 0o666); err != nil {
		t.Fatal(err)
	}
	return name
}
