package page

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Lines is a chart of series over a common axis, such as a loss by step.
type Lines struct {
	Title  string
	Note   string // below the title; may be empty
	X, Y   string // what the axes show, with the unit
	Log    bool   // the y axis is logarithmic; values of 0 and less are not drawn
	Smooth int    // a bold line over each: the mean, or with Log the geometric mean, of so many points; 0: none
	Series []Series
}

// Series is a line of a chart. Its points may stand in any order; those that are not finite leave a gap and are counted
// below the chart. However many there are, about 4,000 are drawn, and no spike is lost.
type Series struct {
	Name   string
	Points []Point
}

func (Lines) check() error { return nil }

func (l Lines) write(w *writer) error { return w.execute("chart", l.chart()) }

const lineHeight = 220 // of the plot of a line chart, in CSS pixels

func (l Lines) chart() chart {
	c := chart{Title: l.Title, Note: l.Note}
	plotted := make([]plotted, len(l.Series))
	ranges := newExtent()
	for i, s := range l.Series {
		plotted[i] = plot(s, l.Log)
		ranges.join(plotted[i].extent)
		if lost := plotted[i].remark(l.Log); lost != "" {
			c.Remarks = append(c.Remarks, lost)
		}
	}
	if ranges.points == 0 {
		c.Empty = "There are no points to draw."
		return c
	}
	x := newScale(ranges.lowX, ranges.highX, 5, false, false, ranges.whole)
	y := newScale(ranges.lowY, ranges.highY, 5, l.Log, true, false)
	f := newFrame(lineHeight, x, y)
	f.XLabel, f.YLabel = l.X, l.Y
	for i, p := range plotted {
		c.Legend = append(c.Legend, key{look(i), p.Name})
		f.Curves = append(f.Curves, p.curve(look(i), x, y, l.Smooth))
	}
	f.Summary = l.summary(plotted)
	c.Frames, c.Values = []frame{f}, &tableView{l.values(plotted)}
	if l.Smooth > 1 {
		mean := "mean"
		if l.Log {
			mean = "geometric mean"
		}
		c.Remarks = append([]string{fmt.Sprintf("Bold lines: the %s of the %s points around. Thin lines: every point.",
			mean, grouped(float64(l.Smooth), 0))}, c.Remarks...)
	}
	return c
}

// extent is the range of points that can be drawn.
type extent struct {
	points                   int
	lowX, highX, lowY, highY float64
	whole                    bool // every x is a whole number
}

func newExtent() extent {
	return extent{lowX: math.Inf(1), highX: math.Inf(-1), lowY: math.Inf(1), highY: math.Inf(-1), whole: true}
}

func (e *extent) join(other extent) {
	e.points += other.points
	e.lowX, e.highX = min(e.lowX, other.lowX), max(e.highX, other.highX)
	e.lowY, e.highY = min(e.lowY, other.lowY), max(e.highY, other.highY)
	e.whole = e.whole && other.whole
}

// plotted is a series in the order of x, with its range.
type plotted struct {
	Series
	extent
	log         bool
	first, last Point // of those that can be drawn
	low, high   Point
	lost        int
	firstLost   Point
}

func plot(s Series, log bool) plotted {
	p := plotted{Series: s, extent: newExtent(), log: log}
	if !slices.IsSortedFunc(s.Points, byX) || slices.ContainsFunc(s.Points, offAxis) {
		p.Points = slices.DeleteFunc(slices.Clone(s.Points), offAxis)
		slices.SortStableFunc(p.Points, byX)
		p.lost = len(s.Points) - len(p.Points)
		p.firstLost = Point{X: math.NaN()}
	}
	for _, at := range p.Points {
		if !drawable(at.Y, log) {
			if p.lost++; p.lost == 1 {
				p.firstLost = at
			}
			continue
		}
		if p.points == 0 {
			p.first, p.low, p.high = at, at, at
		}
		if at.Y < p.low.Y {
			p.low = at
		}
		if at.Y > p.high.Y {
			p.high = at
		}
		p.last = at
		p.join(extent{1, at.X, at.X, at.Y, at.Y, at.X == math.Trunc(at.X)})
	}
	return p
}

func byX(a, b Point) int { return cmp.Compare(a.X, b.X) }

func offAxis(p Point) bool { return !drawable(p.X, false) }

// remark says which points are not drawn.
func (p plotted) remark(log bool) string {
	if p.lost == 0 {
		return ""
	}
	why := "not finite"
	if log {
		why = "not finite or not above 0"
	}
	text := fmt.Sprintf("%s: %s of %s points not drawn (%s)", p.Name, grouped(float64(p.lost), 0),
		grouped(float64(p.lost+p.points), 0), why)
	if !math.IsNaN(p.firstLost.X) {
		text += fmt.Sprintf(", the first at %s", compact(p.firstLost.X))
	}
	return text + "."
}

// curve draws the series: its points are thinned, and parted into runs where some cannot be drawn. A run whose points
// all have one place is a dot.
func (p plotted) curve(look string, x, y scale, window int) curve {
	place := func(at Point) spot {
		return spot{int(math.Round(x.at(at.X) * unitsX)), int(math.Round((1 - y.at(at.Y)) * unitsY))}
	}
	var raw, smooth, dots path
	for run := range runs(thinned(p.Points, x, p.log)) {
		var points, means []spot
		for _, c := range run {
			for _, i := range c.indices() {
				points = append(points, place(p.Points[i]))
			}
			if window > 1 {
				means = append(means, place(c.smooth(p.Points, window, p.log)))
			}
		}
		if points = slices.Compact(points); len(points) == 1 {
			dots.dot(points[0])
			continue
		}
		raw.line(points)
		smooth.line(slices.Compact(means))
	}
	return curve{look, string(raw.data), string(smooth.data), string(dots.data)}
}

// summary tells what the lines show.
func (l Lines) summary(series []plotted) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Line chart: %s by %s.", l.Y, l.X)
	for _, p := range series {
		if p.points == 0 {
			fmt.Fprintf(&b, " %s: no points.", p.Name)
			continue
		}
		fmt.Fprintf(&b, " %s: from %s to %s, lowest %s, highest %s.", p.Name, compact(p.first.Y), compact(p.last.Y),
			compact(p.low.Y), compact(p.high.Y))
	}
	return b.String()
}

func (l Lines) values(series []plotted) Table {
	t := Table{Title: l.Title + ", in numbers", Columns: []Column{{Title: cmp.Or(l.Y, "Series")}, {"Points", true},
		{"First", true}, {"Last", true}, {"Lowest", true}, {"at " + l.X, true}, {"Highest", true}, {"at " + l.X, true}}}
	for _, p := range series {
		row := []string{p.Name, grouped(float64(p.points), 0), "–", "–", "–", "–", "–", "–"}
		if p.points > 0 {
			row = append(row[:2], compact(p.first.Y), compact(p.last.Y), compact(p.low.Y), compact(p.low.X),
				compact(p.high.Y), compact(p.high.X))
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}
