package page

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Histogram shows how values are spread, such as the lengths of answers. Each group has a plot of its own, and all have
// the same axis and bins.
type Histogram struct {
	Title  string
	Note   string // below the title; may be empty
	X      string // what is measured, with the unit, such as "words"
	Y      string // what is counted, such as "answers"
	Groups []Group
}

// Group is a set of values, in any order. Those that are not finite are counted below the chart.
type Group struct {
	Name   string // may be empty if there is one group
	Values []float64
}

func (Histogram) check() error { return nil }

func (h Histogram) write(w *writer) error { return w.execute("chart", h.chart()) }

const (
	histogramHeight = 110 // of a plot, in CSS pixels
	bins            = 30  // about so many
)

func (h Histogram) chart() chart {
	c := chart{Title: h.Title, Note: h.Note}
	values := Table{Title: h.Title + ", in numbers", Columns: []Column{{Title: h.X}, {h.Y, true}, {"Lowest", true},
		{"5 %", true}, {"Median", true}, {"Mean", true}, {"95 %", true}, {"Highest", true}}}
	groups := make([]spread, len(h.Groups))
	all := newExtent()
	for i, g := range h.Groups {
		groups[i] = newSpread(g, i)
		all.join(groups[i].extent)
		values.Rows = append(values.Rows, groups[i].row())
		if lost := len(g.Values) - len(groups[i].sorted); lost > 0 {
			c.Remarks = append(c.Remarks, fmt.Sprintf("%s: %s of %s values not drawn (not finite).", g.Name,
				grouped(float64(lost), 0), grouped(float64(len(g.Values)), 0)))
		}
	}
	if all.points == 0 {
		c.Empty = "There are no values to draw."
		return c
	}
	b := newBinning(all.lowX, all.highX, all.whole)
	for _, g := range groups {
		c.Frames = append(c.Frames, g.frame(h, b))
	}
	c.Frames[len(c.Frames)-1].XLabel, c.Values = h.X, &tableView{values}
	return c
}

// spread is a group in order.
type spread struct {
	Group
	extent
	number int
	sorted []float64
}

func newSpread(g Group, number int) spread {
	s := spread{Group: g, extent: newExtent(), number: number}
	for _, v := range g.Values {
		if drawable(v, false) {
			s.sorted = append(s.sorted, v)
			s.join(extent{1, v, v, 0, 0, v == math.Trunc(v)})
		}
	}
	slices.Sort(s.sorted)
	return s
}

// quantile is the smallest value that at least a part of all values do not exceed.
func (s spread) quantile(part float64) float64 {
	return s.sorted[max(0, int(math.Ceil(part*float64(len(s.sorted))))-1)]
}

// mean divides before it adds, so that large values do not overflow.
func (s spread) mean() (mean float64) {
	for _, v := range s.sorted {
		mean += v / float64(len(s.sorted))
	}
	return mean
}

func (s spread) row() []string {
	row := []string{s.Name, grouped(float64(s.points), 0)}
	if s.points == 0 {
		return append(row, "–", "–", "–", "–", "–", "–")
	}
	for _, v := range []float64{s.sorted[0], s.quantile(0.05), s.quantile(0.5), s.mean(), s.quantile(0.95),
		s.sorted[s.points-1]} {
		row = append(row, compact(v))
	}
	return row
}

// binning is a division of an axis into bins of equal width.
type binning struct {
	scale
	step  float64
	count int
	whole bool // bins hold whole numbers
}

// newBinning makes bins with round borders. Bins of one whole number each are centred on it.
func newBinning(low, high float64, whole bool) binning {
	low, high = widened(low, high, whole)
	step := niceStep((high-low)/bins, whole)
	low = math.Floor(low/step+slack) * step
	count := int(math.Floor((high-low)/step+slack)) + 1
	if whole && step == 1 {
		low -= 0.5
	}
	high = low + float64(count)*step
	axis := newScale(low, high, 5, false, false, whole)
	return binning{axis, step, count, whole}
}

// of is the bin of a value.
func (b binning) of(v float64) int {
	return min(max(int(math.Floor((v-b.low)/b.step+slack)), 0), b.count-1)
}

// label names the values of a bin.
func (b binning) label(i int) string {
	from, to := b.low+float64(i)*b.step, b.low+float64(i+1)*b.step
	switch {
	case b.whole && b.step == 1:
		return tickLabel(math.Round(from+0.5), 1)
	case b.whole:
		return tickLabel(from, b.step) + " to " + tickLabel(to-1, 1)
	}
	return tickLabel(from, b.step) + " to below " + tickLabel(to, b.step)
}

// frame draws the bins of a group.
func (s spread) frame(h Histogram, b binning) frame {
	counts := make([]float64, b.count)
	for _, v := range s.sorted {
		counts[b.of(v)]++
	}
	y := newScale(0, max(1, slices.Max(counts)), 3, false, true, true)
	f := newFrame(histogramHeight, b.scale, y)
	f.Name, f.YLabel, f.Summary = s.Name, s.amount(h), s.summary(h)
	for i, n := range counts {
		if n > 0 {
			height := max(1, histogramHeight*y.at(n)) // one value among thousands is seen
			const gap = 0.08                          // between bars, in bars
			from, width := (float64(i)+gap/2)/float64(b.count), (1-gap)/float64(b.count)
			f.Bars = append(f.Bars, bar{percent(from), percent(width), pixels(histogramHeight - height), pixels(height),
				b.label(i) + ": " + grouped(n, 0)})
		}
	}
	return f
}

// amount tells how many values there are, and the middle one.
func (s spread) amount(h Histogram) string {
	if s.points == 0 {
		return "no " + h.Y
	}
	return grouped(float64(s.points), 0) + " " + h.Y + ", median " + compact(s.quantile(0.5))
}

func (s spread) summary(h Histogram) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Histogram of %s", h.X)
	if s.Name != "" {
		fmt.Fprintf(&b, ", %s", s.Name)
	}
	fmt.Fprintf(&b, ": %s", s.amount(h))
	if s.points > 0 {
		fmt.Fprintf(&b, ", from %s to %s", compact(s.sorted[0]), compact(s.sorted[s.points-1]))
	}
	return b.String() + "."
}
