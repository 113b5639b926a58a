package report

import (
	"fmt"
	"math"
	"strings"

	"github.com/llavatrain/llavatrain/report/page"
)

// A character of a curve in a terminal shows dots of Braille: two columns of four.
const (
	dotsX, dotsY = 2, 4
	curveRows    = 8  // of characters of a curve
	margin       = 12 // characters at the left, for the numbers of the axis
)

// braille are the bits of the dots of a character, by column and row.
var braille = [dotsX][dotsY]rune{{0x01, 0x02, 0x04, 0x40}, {0x08, 0x10, 0x20, 0x80}}

// Draw shows the curves of runs in lines of at most width characters. Each column of dots shows the mean of its steps.
func Draw(list []*Run, width int) string {
	var b strings.Builder
	for i, r := range list {
		if i > 0 {
			b.WriteString("\n")
		}
		s := r.summarise()
		fmt.Fprintf(&b, "%s, %s: %s\n", r.Name, r.Stage, r.progress())
		fmt.Fprintf(&b, "loss %s at the end, %s at first; %s tokens/s, %s waiting for data; peak memory %s\n",
			number(s.loss), number(s.first), s.speed(), s.waited(), gigabytes(s.memory))
		for _, j := range r.judgements() {
			b.WriteString(j.line() + "\n")
		}
		for _, charts := range [][]chart{lossCharts, optimizerCharts, speedCharts, benchmarkCharts} {
			for _, c := range charts {
				if curves := c.curves(r); curves != nil {
					b.WriteString("\n" + c.drawn(curves, max(20, width-margin)))
				}
			}
		}
	}
	return b.String()
}

// drawn draws the first of the curves, and says how the others end.
func (c chart) drawn(curves []curve, width int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s (%s)", c.title, c.unit)
	for i, one := range curves {
		mark := ":"
		if i > 0 {
			mark = ","
		}
		fmt.Fprintf(&b, "%s %s", mark, strings.TrimSpace(one.name+" "+short(c.end(one))))
	}
	points := curves[0].points
	means := columnMeans(points, width*dotsX, c.log)
	low, high := math.Inf(1), math.Inf(-1)
	for _, mean := range means {
		if !math.IsNaN(mean) {
			low, high = min(low, mean), max(high, mean)
		}
	}
	b.WriteString("\n")
	if low > high {
		return b.String()
	}
	for i, line := range plot(means, low, high, width) {
		label := ""
		switch i {
		case 0:
			label = short(c.value(high))
		case curveRows - 1:
			label = short(c.value(low))
		}
		fmt.Fprintf(&b, "%*s │%s\n", margin-2, label, line)
	}
	left := fmt.Sprintf("step %.0f", points[0].X)
	fmt.Fprintf(&b, "%*s└%s%*.0f\n", margin-1, "", left, max(2, width-len(left)), points[len(points)-1].X)
	return b.String()
}

// value is the value at a place of the axis.
func (c chart) value(at float64) float64 {
	if c.log {
		return math.Pow(10, at)
	}
	return at
}

// end is what a curve ends with: the last point, or the mean of as many as are smoothed.
func (c chart) end(of curve) float64 {
	last := 1
	if c.smooth {
		last = max(1, window(len(of.points)))
	}
	sum, n := 0.0, 0
	for _, p := range of.points[len(of.points)-last:] {
		if finite(p.Y) {
			sum += p.Y
			n++
		}
	}
	return sum / float64(n)
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// columnMeans parts points evenly into n columns; a column without a finite one is no number. With log the means are
// those of logarithms.
func columnMeans(points []page.Point, n int, log bool) []float64 {
	sums, counts := make([]float64, n), make([]float64, n)
	first, last := points[0].X, points[len(points)-1].X
	for _, p := range points {
		v := p.Y
		if log {
			v = math.Log10(v) // of 0 it is infinite
		}
		if !finite(v) {
			continue
		}
		at := 0
		if last > first {
			at = max(0, min(n-1, int((p.X-first)/(last-first)*float64(n)))) // a damaged file's steps may not ascend
		}
		sums[at] += v
		counts[at]++
	}
	for i := range sums {
		sums[i] /= counts[i]
	}
	return sums
}

// plot sets the dots of a line through the means, and returns its lines of characters.
func plot(means []float64, low, high float64, width int) []string {
	grid := make([][]rune, curveRows)
	for i := range grid {
		grid[i] = []rune(strings.Repeat("\u2800", width))
	}
	const top = curveRows*dotsY - 1
	before, at := -1, 0
	for x, mean := range means {
		if math.IsNaN(mean) {
			continue
		}
		y := top / 2
		if high > low {
			y = int(math.Round((high - mean) / (high - low) * top))
		}
		if before < 0 {
			before, at = y, x
		}
		for step := at; step <= x; step++ { // a straight line from the last mean
			from := before + (y-before)*(step-at)/max(1, x-at)
			to := before + (y-before)*(min(step+1, x)-at)/max(1, x-at)
			for dot := min(from, to); dot <= max(from, to); dot++ {
				grid[dot/dotsY][step/dotsX] |= braille[step%dotsX][dot%dotsY]
			}
		}
		before, at = y, x
	}
	lines := make([]string, curveRows)
	for i, line := range grid {
		lines[i] = strings.TrimRight(string(line), "\u2800")
	}
	return lines
}

// short is a number of four digits.
func short(v float64) string { return fmt.Sprintf("%.4g", v) }
