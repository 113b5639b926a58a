package page

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

// Each column keeps its first, lowest, highest and last point, and a gap where points between columns are missing.
func TestThinnedKeepsWhatIsSeen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 8000).Draw(t, "points")
		rare := rapid.SampledFrom([]int{2, 50, 1 << 30}).Draw(t, "one of so many is missing")
		seed := rapid.Uint64().Draw(t, "seed")
		points := make([]Point, n)
		for i := range points {
			seed = seed*6364136223846793005 + 1442695040888963407
			points[i] = Point{float64(i), float64(seed >> 40)}
			if int(seed>>33)%rare == 0 {
				points[i].Y = math.NaN()
			}
		}
		x := newScale(0, float64(max(1, n-1)), 5, false, false, true)
		kept := map[int]bool{}
		columns := thinned(points, x, false)
		for _, c := range columns {
			for _, i := range c.indices() {
				if kept[i] || math.IsNaN(points[i].Y) {
					t.Fatalf("point %d is kept twice, or is not a number", i)
				}
				kept[i] = true
			}
		}
		place := func(i int) int { return int(x.at(points[i].X) * 1000) }
		low, high := map[int]float64{}, map[int]float64{}
		for i, p := range points {
			if at := place(i); !math.IsNaN(p.Y) {
				if _, known := low[at]; !known {
					low[at], high[at] = p.Y, p.Y
				}
				low[at], high[at] = min(low[at], p.Y), max(high[at], p.Y)
			}
		}
		if len(columns) != len(low) {
			t.Fatalf("%d columns, want %d", len(columns), len(low))
		}
		for i, c := range columns {
			at := place(c.first)
			if points[c.low].Y != low[at] || points[c.high].Y != high[at] {
				t.Errorf("column %d: from %g to %g, want %g to %g", at, points[c.low].Y, points[c.high].Y, low[at],
					high[at])
			}
			gap := c.first > 0 && math.IsNaN(points[c.first-1].Y)
			if c.gap != gap || i > 0 && columns[i-1].last >= c.first {
				t.Errorf("column %d: gap %t, want %t", at, c.gap, gap)
			}
		}
	})
}

func TestSmoothIsTheMeanAround(t *testing.T) {
	points := []Point{{0, 1}, {1, 3}, {2, math.NaN()}, {3, 8}, {4, 100}}
	for _, test := range []struct {
		at, window int
		log        bool
		want       float64
	}{
		{0, 3, false, 2}, {1, 3, false, 2}, {3, 3, false, 54}, {4, 3, false, 54}, {1, 1, false, 3}, {3, 100, false, 28},
		{3, 3, true, math.Sqrt(800)},
	} {
		got := column{test.at, test.at, test.at, test.at, false}.smooth(points, test.window, test.log)
		if math.Abs(got.Y-test.want) > 1e-9 || got.X != float64(test.at) {
			t.Errorf("%+v: %+v", test, got)
		}
	}
	if got := (column{first: 0, last: 4}).smooth(points, 1, false); got != (Point{2, 28}) {
		t.Errorf("a column of more points than the window: %+v", got)
	}
}

func TestPaths(t *testing.T) {
	x, y := newScale(0, 4, 5, false, false, true), newScale(0, 1, 5, false, true, false)
	nan := math.NaN()
	for want, points := range map[curve][]Point{
		{Raw: "M0 2000l1000-1000l1000 500"}:           {{0, 0}, {1, .5}, {2, .25}},
		{Raw: "M0 0l1000 0m2000 1000l1000 0"}:         {{0, 1}, {1, 1}, {2, nan}, {3, .5}, {4, .5}},
		{Dots: "M2000 1000h0"}:                        {{2, .5}},
		{Raw: "M2000 1000l1000 0", Dots: "M0 1000h0"}: {{0, .5}, {1, nan}, {2, .5}, {3, .5}},
		{Dots: "M0 1000h0m2000 0h0"}:                  {{0, .5}, {1, nan}, {2, .5}, {3, nan}},
	} {
		got := plot(Series{Points: points}, false).curve("", x, y, 0)
		if got != want {
			t.Errorf("%v: %+v", points, got)
		}
	}
	got := plot(Series{Points: []Point{{0, 0}, {1, 1}, {2, .5}}}, false).curve("", x, y, 3)
	if got.Smooth != "M0 1000l1000 0l1000-500" {
		t.Errorf("smooth line %q", got.Smooth)
	}
}

// Points at the same place are a dot, however many they are.
func TestRunsOfOnePlaceAreDots(t *testing.T) {
	x, y := newScale(0, 4, 5, false, false, true), newScale(0, 1, 5, false, true, false)
	got := plot(Series{Points: []Point{{2, .5}, {2, .5}}}, false).curve("", x, y, 3)
	if got != (curve{Dots: "M2000 1000h0"}) {
		t.Errorf("%+v", got)
	}
}
