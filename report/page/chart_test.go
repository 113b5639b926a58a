package page_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/llavatrain/llavatrain/report/page"
)

var (
	percentages = regexp.MustCompile(` (x|x1|x2|y|y1|y2|width)="([^"]*)%"`)
	rectangles  = regexp.MustCompile(`<rect x="([^"]*)%" y="([^"]*)" width="([^"]*)%" height="([^"]*)"`)
	paths       = regexp.MustCompile(`<path class="(?:c\d d\d [a-z]+|halo)" d="([^"]*)"`)
	spots       = regexp.MustCompile(`h0|[Mml](-?\d+) ?(-?\d+)`)
)

// checkDrawing fails unless every number of the drawing is finite and inside its plot.
func checkDrawing(t testing.TB, text string) {
	t.Helper()
	readPage(t, []byte(text))
	inside := func(v float64, from, to float64, what string) {
		if !(v >= from-0.01 && v <= to+0.01) {
			t.Errorf("%s: %g is outside of %g to %g", what, v, from, to)
		}
	}
	number := func(s string) float64 {
		v, err := strconv.ParseFloat(s, 64)
		if err != nil {
			t.Errorf("number %q: %v", s, err)
		}
		return v
	}
	for _, m := range percentages.FindAllStringSubmatch(text, -1) {
		inside(number(m[2]), 0, 100, m[0])
	}
	for _, m := range rectangles.FindAllStringSubmatch(text, -1) {
		inside(number(m[1])+number(m[3]), 0, 100, m[0])
		inside(number(m[2]), 0, 110, m[0])
		inside(number(m[2])+number(m[4]), 110, 110, m[0])
	}
	for _, m := range paths.FindAllStringSubmatch(text, -1) {
		if m[1] == "M1 6h30" {
			continue // of the legend
		}
		x, y := 0.0, 0.0
		for _, p := range spots.FindAllStringSubmatch(m[1], -1) {
			if p[0] != "h0" {
				x, y = x+number(p[1]), y+number(p[2])
			}
			inside(x, 0, 4000, "x of a path")
			inside(y, 0, 2000, "y of a path")
		}
	}
}

// anyFloat is mostly a number that makes trouble.
func anyFloat() *rapid.Generator[float64] {
	whole := rapid.Map(rapid.IntRange(-5, 5), func(i int) float64 { return float64(i) })
	trouble := rapid.SampledFrom([]float64{0, 1e-320, 5e-324, -5e-324, 1e-300, 1e300, -1e300, math.MaxFloat64,
		-math.MaxFloat64, math.Nextafter(1, 2), math.NaN(), math.Inf(1), math.Inf(-1)})
	return rapid.OneOf(whole, rapid.Float64(), rapid.Float64Range(-10, 10), trouble)
}

func TestAnyNumbersCanBeDrawn(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		point := rapid.Custom(func(t *rapid.T) page.Point {
			return page.Point{X: anyFloat().Draw(t, "x"), Y: anyFloat().Draw(t, "y")}
		})
		lines := page.Lines{Title: "T", X: "step", Y: "loss", Log: rapid.Bool().Draw(rt, "log"),
			Smooth: rapid.IntRange(-1, 5).Draw(rt, "smooth")}
		histogram := page.Histogram{Title: "T", X: "words", Y: "answers"}
		bars := page.Bars{Title: "T"}
		for i := range rapid.IntRange(0, 3).Draw(rt, "series") {
			name := fmt.Sprint("series ", i)
			points := rapid.SliceOfN(point, 0, 8).Draw(rt, "points")
			values := rapid.SliceOfN(anyFloat(), 0, 8).Draw(rt, "values")
			lines.Series = append(lines.Series, page.Series{Name: name, Points: points})
			histogram.Groups = append(histogram.Groups, page.Group{Name: name, Values: values})
			bars.Bars = append(bars.Bars, page.Bar{Label: name, Value: anyFloat().Draw(rt, "bar")})
		}
		text := block(t, page.Columns{lines, histogram, bars})
		checkDrawing(t, text)
		if t.Failed() {
			rt.Fatalf("%+v\n%+v\n%+v", lines, histogram, bars)
		}
	})
}

// line is a chart of one series, a, through the points.
func line(log bool, points ...page.Point) page.Lines {
	return page.Lines{Log: log, Series: []page.Series{{Name: "a", Points: points}}}
}

func TestChartsOfLittle(t *testing.T) {
	nan := math.NaN()
	for name, test := range map[string]struct {
		block page.Block
		want  string
	}{
		"no series": {page.Lines{}, "There are no points to draw."},
		"no points": {line(false), "There are no points to draw."},
		"no finite points": {line(false, page.Point{1, nan}, page.Point{nan, 1}),
			"a: 2 of 2 points not drawn (not finite)."},
		"no positive points": {line(true, page.Point{7, -1}),
			"a: 1 of 1 points not drawn (not finite or not above 0), the first at 7."},
		"one point": {line(false, page.Point{500, 1.2}), `class="c0 d0 dots" d="M2000 1067h0"`},
		"no groups": {page.Histogram{}, "There are no values to draw."},
		"no finite values": {page.Histogram{Groups: []page.Group{{"a", []float64{nan, 1e301}}}},
			"a: 2 of 2 values not drawn (not finite)."},
		"one empty group": {page.Histogram{Y: "rows", Groups: []page.Group{{"a", []float64{1}}, {Name: "b"}}},
			"<b>b</b> no rows"},
		"no bar": {page.Bars{Bars: []page.Bar{{Label: "a"}}}, `<rect width="0%"`},
		"bad bars": {page.Bars{Bars: []page.Bar{{"a", -1, ""}, {"b", nan, ""}, {"c", 2, ""}}},
			`<td class="n">not a number</td>`},
	} {
		t.Run(name, func(t *testing.T) {
			got := block(t, test.block)
			checkDrawing(t, got)
			if !strings.Contains(got, test.want) {
				t.Errorf("the page lacks %q:\n%s", test.want, got[strings.Index(got, "<main>"):])
			}
		})
	}
}

func TestLongestBarFillsItsCell(t *testing.T) {
	got := block(t, page.Bars{Bars: []page.Bar{{"a", 50, ""}, {"b", 200, ""}, {"c", 0.1, ""}}})
	for _, width := range []string{"25%", "100%", "0.6%"} {
		if !strings.Contains(got, `<rect width="`+width+`"`) {
			t.Errorf("no bar of %s", width)
		}
	}
}

func TestHistogramsCount(t *testing.T) {
	for name, test := range map[string]struct {
		values []float64
		want   string // the titles of the bars
	}{
		"few whole numbers": {[]float64{2, 3, 3, 5}, "2: 1, 3: 2, 5: 1"},
		"whole numbers":     {[]float64{20, 24, 25, 299}, "20 to 29: 3, 290 to 299: 1"},
		"fractions": {[]float64{0, 0.05, 0.0999, 0.1, 1}, "0 to below 0.05: 1, 0.05 to below 0.10: 2, " +
			"0.10 to below 0.15: 1, 1.00 to below 1.05: 1"},
		"one number": {[]float64{7, 7}, "7: 2"},
		"borders": {[]float64{0.1, 0.2, 0.3, 0.7, 3}, "0.1 to below 0.2: 1, 0.2 to below 0.3: 1, " +
			"0.3 to below 0.4: 1, 0.7 to below 0.8: 1, 3.0 to below 3.1: 1"},
	} {
		got := block(t, page.Histogram{X: "words", Groups: []page.Group{{"a", test.values}}})
		var titles []string
		for _, m := range regexp.MustCompile(`<title>(.*?)</title></rect>`).FindAllStringSubmatch(got, -1) {
			titles = append(titles, m[1])
		}
		if strings.Join(titles, ", ") != test.want {
			t.Errorf("%s: %q", name, titles)
		}
	}
}

func TestHistogramNumbers(t *testing.T) {
	var values []float64
	for i := range 100 {
		values = append(values, float64(100-i))
	}
	got := block(t, page.Histogram{X: "words", Y: "answers", Groups: []page.Group{{"a", values}}})
	for _, want := range []string{"100 answers, median 50",
		`<td dir="auto" class="n">1</td><td dir="auto" class="n">5</td><td dir="auto" class="n">50</td>` +
			`<td dir="auto" class="n">50.5</td><td dir="auto" class="n">95</td><td dir="auto" class="n">100</td>`} {
		if !strings.Contains(got, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

func TestLinesInNumbers(t *testing.T) {
	got := block(t, page.Lines{Title: "Loss", X: "step", Y: "loss", Series: []page.Series{
		{"a", []page.Point{{30, 2}, {10, 4}, {20, 1}, {40, math.Inf(1)}}}, {Name: "b"}}})
	for _, want := range []string{
		"Line chart: loss by step. a: from 4 to 2, lowest 1, highest 4. b: no points.",
		"a: 1 of 4 points not drawn (not finite), the first at 40.",
		`>a</th><td dir="auto" class="n">3</td><td dir="auto" class="n">4</td><td dir="auto" class="n">2</td>` +
			`<td dir="auto" class="n">1</td><td dir="auto" class="n">20</td>` +
			`<td dir="auto" class="n">4</td><td dir="auto" class="n">10</td>`,
		`>b</th><td dir="auto" class="n">0</td><td dir="auto" class="n">–</td>`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

func TestLongSeriesStaySmall(t *testing.T) {
	const charts, each, points, limit = 8, 4, 10_000, 2 << 20
	size := func(points int) int {
		var blocks []page.Block
		for i := range charts {
			chart := page.Lines{Title: fmt.Sprint(i), X: "step", Y: "loss", Smooth: 101}
			for j := range each {
				random := rand.New(rand.NewPCG(uint64(i), uint64(j)))
				s := page.Series{Name: fmt.Sprint(j), Points: make([]page.Point, points)}
				for k := range s.Points {
					if s.Points[k] = (page.Point{X: float64(k), Y: random.NormFloat64()}); k%2 == j/3 {
						s.Points[k].Y = math.NaN() // every second point, of one series
					}
				}
				chart.Series = append(chart.Series, s)
			}
			blocks = append(blocks, chart)
		}
		return len(render(t, page.Page{Sections: []page.Section{{Blocks: blocks}}}))
	}
	for _, n := range []int{points, 10 * points} {
		if got := size(n); got > limit {
			t.Errorf("%d series of %d points make %d bytes; the limit is %d", charts*each, n, got, limit)
		}
	}
}

func BenchmarkPage(b *testing.B) {
	chart := page.Lines{Title: "Loss", X: "step", Y: "loss", Smooth: 101}
	for i := range 4 {
		chart.Series = append(chart.Series, page.Series{Name: fmt.Sprint(i), Points: loss(uint64(i), 10_000, 5, 1)})
	}
	p := page.Page{Sections: []page.Section{{Blocks: slices.Repeat([]page.Block{chart}, 8)}}}
	for b.Loop() {
		b.ReportMetric(float64(len(render(b, p))), "bytes")
	}
}
