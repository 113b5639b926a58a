package report

import (
	"bytes"
	"errors"
	"image"
	"image/jpeg"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// writeResult writes a result of `benchmark run` where a run's report looks for it.
func writeResult(t *testing.T, dir, name, text string) {
	t.Helper()
	folder := filepath.Join(dir, runs.BenchmarksDir, name)
	if err := os.MkdirAll(folder, 0o777); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(folder, "result.json"), text)
}

const mmeResult = `{"benchmark": "mme", "rule": "original", "metrics": {"perception": 1500.5, "cognition": 300},
	"standard_errors": {"perception": 10}, "figure": "perception", "questions": 2374, "answered": 2370,
	"conditions": {"step": 40}}`

// Figures stand with their intervals, beside published ones if they are by the same rule.
func TestPageOfBenchmarks(t *testing.T) {
	dir := writeRun(t, filepath.Join(t.TempDir(), "finetune"), "1e-3", 40)
	writeResult(t, dir, "mme", mmeResult)
	writeResult(t, dir, "gqa", `{"benchmark": "gqa", "rule": "lmms", "metrics": {"accuracy": 61}, "figure": "accuracy",
		"answered": 9}`)
	_, text := pageOf(t, opened(t, dir))
	requireText(t, text, "tiny gqa lmms accuracy 61.00 – 9 end –",
		"tiny mme original perception 1500.50 1480.9 to 1520.1 2,370 40 1510.7, 1531.3",
		"tiny pope original f1 100.00 94.6 to 105.4 300, a part 40 85.9, 85.9",
		"Benchmarks during training: pope f1")
	if strings.Contains(text, "MME during training") {
		t.Error("MME was not asked during training, and has a chart")
	}
	other := writeRun(t, filepath.Join(t.TempDir(), "finetune"), "1e-3", 20)
	_, text = pageOf(t, opened(t, dir, other))
	requireText(t, text, dir+" pope original f1 100.00", other+" pope original f1 80.00",
		"Benchmarks during training: pope f1")
	write(t, filepath.Join(other, runs.EvalFile), "")
	if _, text = pageOf(t, opened(t, other)); strings.Contains(text, "Benchmark") {
		t.Error("a run without benchmarks has a section of them")
	}
	writeResult(t, other, "pope", "{}")
	if _, err := Open(other); !errors.Is(err, failure.ErrInput) ||
		!strings.Contains(err.Error(), "is no result of `llavatrain benchmark run`") {
		t.Errorf("a file that is no result: %v", err)
	}
}

// Samples stand with their picture, the first answer and the last.
func TestPageOfSamples(t *testing.T) {
	dir := writeRun(t, filepath.Join(t.TempDir(), "finetune"), "1e-3", 40)
	if err := os.Mkdir(filepath.Join(dir, runs.SamplesDir), 0o777); err != nil {
		t.Fatal(err)
	}
	var picture bytes.Buffer
	if err := jpeg.Encode(&picture, image.NewRGBA(image.Rect(0, 0, 30, 20)), nil); err != nil {
		t.Fatal(err)
	}
	write(t, runs.ThumbnailFile(dir, 0), picture.String())
	html, text := pageOf(t, opened(t, dir))
	requireText(t, text, "Held-out samples", "Question What is it? Expected a cat Answer after step 0 the the Answer "+
		"after step 40 a <b>tiger</b>", "Question And this? Expected a dog Answer after step 0 of of")
	if n := strings.Count(html, "data:image/jpeg"); n != 1 || !strings.Contains(html, `alt="picture of cat"`) {
		t.Errorf("%d pictures", n)
	}
	write(t, runs.ThumbnailFile(dir, 0), "no picture")
	if err := Write(&bytes.Buffer{}, opened(t, dir), dawn); !errors.Is(err, failure.ErrInput) {
		t.Errorf("a damaged picture: %v", err)
	}
}

func TestEpochs(t *testing.T) {
	for n, want := range map[float64]string{1: "1 epoch", 0.9999: "1 epoch", 0.5: "0.5 epochs", 2: "2 epochs"} {
		if got := epochs(n); got != want {
			t.Errorf("%v: %q, want %q", n, got, want)
		}
	}
}
