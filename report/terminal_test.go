package report

import (
	"math"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/llavatrain/llavatrain/report/page"
)

func TestDraw(t *testing.T) {
	dir := writeRun(t, filepath.Join(t.TempDir(), "finetune"), "1e-3", 40)
	text := Draw(opened(t, dir, dir), 60)
	for _, want := range []string{
		"tiny, finetune: finished after 40 steps\n" +
			"loss 2.0250 at the end, 3.0000 at first; 100 tokens/s, 10.0 % waiting",
		"Training loss (loss): all 2.025, image 3.25, text 1.125\n         3 │",
		"Held-out loss (loss): all 3.6, coco/train 3.375, text 1.625\n",
		"Learning rate (learning rate): projector 2.5e-05\n", "Gradient norm (norm, before clipping): 0.5\n",
		"pope f1 100.00 ± 2.75 after step 40, 300 questions, rule original\n",
		"Benchmarks during training (%): pope f1 100\n", "└step 1 ", " 40\n",
	} {
		if strings.Count(text, want) < 2 {
			t.Errorf("%q does not stand there for both runs:\n%s", want, text)
		}
	}
	for line := range strings.Lines(text) {
		drawing := strings.ContainsAny(line, "│└")
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); drawing && n > 60 {
			t.Errorf("a line of %d characters: %q", n, line)
		}
	}
}

// The dots of a curve are where its values are: of a falling line, on the diagonal.
func TestDrawnLine(t *testing.T) {
	var points []page.Point
	for x := range 160 {
		points = append(points, page.Point{X: float64(x), Y: 160 - float64(x)})
	}
	lines := plot(columnMeans(points, 32, false), 2, 158, 16)
	for row, line := range lines {
		for column, r := range []rune(line) {
			bend := (column+1)/2 == row // the line reaches into the next row
			if inked := r != '\u2800'; inked != (column/2 == row) && !bend {
				t.Errorf("row %d, column %d: inked %t", row, column, inked)
			}
		}
	}
	c := chart{title: "x", unit: "u", log: true}
	nan := page.Point{X: 1, Y: math.NaN()}
	if got := c.drawn([]curve{{"", []page.Point{nan, {X: 2, Y: 0}}}}, 20); got != "x (u): 0\n" {
		t.Errorf("a curve without a point to draw: %q", got)
	}
	got := c.drawn([]curve{{"", []page.Point{{X: 1, Y: 10}, {X: 2, Y: 1000}}}}, 20)
	if !strings.Contains(got, "1000 │") || !strings.Contains(got, " 10 │") {
		t.Errorf("a logarithmic curve:\n%s", got)
	}
}
