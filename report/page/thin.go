package page

import (
	"iter"
	"math"
	"slices"
	"strconv"
)

// Point is a point of a series.
type Point struct{ X, Y float64 }

// columns is the number of columns that a series is thinned to: more than a plot has pixels on most screens.
const columns = 1000

// column is what is kept of the points whose x falls into one column: the first, lowest, highest and last, by index.
type column struct {
	first, low, high, last int
	gap                    bool // before it lie points that cannot be drawn
}

// thinned parts points, in the order of their x, into columns. Drawn as wide as there are columns, the line through the
// points that are kept covers the same pixels as the whole line, so no spike is lost: M4 of Jugel et al. 2014,
// doi:10.14778/2732951.2732953. Gaps within one column are not seen.
func thinned(points []Point, x scale, log bool) (kept []column) {
	gap, before := false, -1
	for i, p := range points {
		if !drawable(p.Y, log) {
			gap = true
			continue
		}
		if at := int(x.at(p.X) * columns); at != before {
			kept = append(kept, column{i, i, i, i, gap})
			before = at
		}
		c := &kept[len(kept)-1]
		if p.Y < points[c.low].Y {
			c.low = i
		}
		if p.Y > points[c.high].Y {
			c.high = i
		}
		c.last, gap = i, false
	}
	return kept
}

// indices are the points that are kept of a column, each once, in order.
func (c column) indices() []int {
	return slices.Compact([]int{c.first, min(c.low, c.high), max(c.low, c.high), c.last})
}

// runs parts columns at gaps.
func runs(all []column) iter.Seq[[]column] {
	return func(yield func([]column) bool) {
		for from, to := 0, 0; from < len(all); from = to {
			for to++; to < len(all) && !all[to].gap; to++ {
			}
			if !yield(all[from:to]) {
				return
			}
		}
	}
}

// smooth is the mean of the points around the middle of a column: of as many as window says, but at least of the
// column's own. Points that cannot be drawn do not count. On a logarithmic axis it is the geometric mean, which a
// single spike hardly lifts.
func (c column) smooth(points []Point, window int, log bool) Point {
	middle := (c.first + c.last) / 2
	from := max(0, min(c.first, middle-(window-1)/2))
	to := min(len(points), max(c.last, middle+window/2)+1)
	sum, n := 0.0, 0
	for _, p := range points[from:to] {
		switch {
		case !drawable(p.Y, log):
			continue
		case log:
			sum += math.Log10(p.Y)
		default:
			sum += p.Y
		}
		n++
	}
	mean := sum / float64(n)
	if log {
		mean = math.Pow(10, mean)
	}
	return Point{points[c.first].X/2 + points[c.last].X/2, mean}
}

// The plot's inner coordinates are whole numbers, for short paths.
const (
	unitsX = 4 * columns
	unitsY = 2000
)

type spot struct{ x, y int }

// path writes SVG path data. The first command is absolute, and as it starts from 0 it is like the others, which are
// relative.
type path struct {
	data []byte
	at   spot
}

// line adds a line through the spots, not joined to what is there.
func (p *path) line(spots []spot) {
	for i, s := range spots {
		switch {
		case len(p.data) == 0:
			p.data = append(p.data, 'M')
		case i == 0:
			p.data = append(p.data, 'm')
		default:
			p.data = append(p.data, 'l')
		}
		p.data = strconv.AppendInt(p.data, int64(s.x-p.at.x), 10)
		if s.y >= p.at.y { // a minus sign parts numbers as well
			p.data = append(p.data, ' ')
		}
		p.data = strconv.AppendInt(p.data, int64(s.y-p.at.y), 10)
		p.at = s
	}
}

// dot adds a line without length, which is seen by its round ends.
func (p *path) dot(s spot) {
	p.line([]spot{s})
	p.data = append(p.data, "h0"...)
}
