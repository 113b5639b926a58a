package picture

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/data/datatest"
)

// newTiling is a tiling with spatial_unpad, with pinpoints in the form of ParsePinpoints.
func newTiling(t testing.TB, edge, side int, pinpoints string, most int) *Tiling {
	t.Helper()
	list, err := ParsePinpoints(pinpoints, edge)
	if err != nil {
		t.Fatal(err)
	}
	tiling := &Tiling{Edge: edge, Side: side, Pinpoints: list, Max: most,
		Merge: MergeSpatialUnpad, Features: side * side}
	if err := tiling.Check(); err != nil {
		t.Fatal(err)
	}
	return tiling
}

// swapped is the tiling with the list of pinpoints read the other way round.
func swapped(t *Tiling) *Tiling {
	other := *t
	other.Pinpoints = swapPinpoints(t.Pinpoints)
	return &other
}

// publishedTilings are those of LLaVA-1.6 and LLaVA-OneVision, by the names that compare.tsv has for them.
func publishedTilings(t testing.TB) map[string]*Tiling {
	return map[string]*Tiling{
		"336": newTiling(t, 336, 24, "[(336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008)]", 0),
		"384": newTiling(t, 384, 27, "(1x1),...,(6x6)", 9),
	}
}

// layoutOfLLaVANeXT is the layout with the fraction in unpad rounded down: what LLaVA-NeXT's own code gives, and the
// only thing in which it differs from transformers once both read the list of pinpoints alike.
func layoutOfLLaVANeXT(t *Tiling, width, height int) Layout {
	l := t.Layout(width, height)
	rows, columns := l.Rows*t.Side, l.Columns*t.Side
	if float64(width)/float64(height) > float64(columns)/float64(rows) {
		shown := int(float64(height) * (float64(columns) / float64(width)))
		rows -= (rows - shown) / 2 * 2
	} else {
		shown := int(float64(width) * (float64(rows) / float64(height)))
		columns -= (columns - shown) / 2 * 2
	}
	l.Kept.Rows, l.Kept.Columns = rows, columns
	l.ShrunkRows, l.ShrunkColumns = t.shrink(l.Kept)
	return l
}

// sameCanvas reports whether two layouts give the same tiles.
func sameCanvas(a, b Layout) bool {
	return a.Pinpoint == b.Pinpoint && a.Width == b.Width && a.Height == b.Height && a.Left == b.Left && a.Top == b.Top
}

// equallyGood reports whether two pinpoints show as many of the picture's pixels and waste as many of their own: only
// their order in the list decides.
func equallyGood(a, b Pinpoint, width, height int) bool {
	return choose([]Pinpoint{a, b}, width, height) == a && choose([]Pinpoint{b, a}, width, height) == b
}

// TestTilingEqualsOriginals compares with both codes on every size of compare.tsv, and its counts with comparison.json.
// Two causes make the codes differ, and no other: transformers reads the published list of pinpoints as (height,
// width), so that of equally good ones it takes another; and LLaVA-NeXT rounds down where unpad's fraction is whole but
// for rounding.
func TestTilingEqualsOriginals(t *testing.T) {
	lines := readTable(t, datatest.Shared(t, "parity-connectors", "compare.tsv"))
	var want map[string]map[string]int
	text := readTestFile(t, datatest.Shared(t, "parity-connectors", "comparison.json"))
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	tilings := publishedTilings(t)
	counts := map[string]map[string]int{}
	for name := range want {
		if tilings[name] == nil {
			t.Fatalf("no tiling is known by the name %q", name)
		}
		counts[name] = map[string]int{}
		for key := range want[name] {
			counts[name][key] = 0
		}
		for _, line := range lines {
			compareLine(t, tilings[name], name, line, counts[name])
		}
	}
	if diff := cmp.Diff(want, counts); diff != "" || len(lines) == 0 {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	t.Logf("%d sizes, each in %d settings", len(lines), len(want))
}

// compareLine compares one size in one setting, and counts as comparison.json does.
func compareLine(t *testing.T, tiling *Tiling, name string, line map[string]string, counts map[string]int) {
	width, height := number(t, line["width"]), number(t, line["height"])
	l, transposed := tiling.Layout(width, height), swapped(tiling).Layout(width, height)
	tiles := map[bool]string{true: "=", false: "x"}
	got := map[string]string{
		"original_grid":                    fmt.Sprintf("%dx%d", l.Columns, l.Rows),
		"original_tokens":                  fmt.Sprint(layoutOfLLaVANeXT(tiling, width, height).Positions()),
		"transformers_grid":                fmt.Sprintf("%dx%d", transposed.Columns, transposed.Rows),
		"transformers_tokens":              fmt.Sprint(transposed.Positions()),
		"transformers_tokens_swapped_list": fmt.Sprint(l.Positions()),
		"tiles":                            tiles[sameCanvas(l, transposed)],
		"tiles_swapped_list":               "=",
	}
	for key, value := range got {
		if line[name+"_"+key] != value {
			t.Errorf("%dx%d: %s_%s is %s, want %s", width, height, name, key, value, line[name+"_"+key])
		}
	}
	if l.Pinpoint != transposed.Pinpoint && !equallyGood(l.Pinpoint, transposed.Pinpoint, width, height) {
		t.Errorf("%dx%d: %v and %v are not equally good", width, height, l.Pinpoint, transposed.Pinpoint)
	}
	small := max(width, height) <= tiling.Edge
	differs := got["original_grid"] != got["transformers_grid"]
	for key, yes := range map[string]bool{
		"sizes":                       true,
		"both sides at most one tile": small,
		"grid differs":                differs,
		"grid differs, both sides at most one tile": differs && small,
		"tokens differ":               got["original_tokens"] != got["transformers_tokens"],
		"tokens differ, swapped list": got["original_tokens"] != got["transformers_tokens_swapped_list"],
		"tiles differ":                got["tiles"] == "x",
		"no tile row or column left":  l.Positions() == l.Features, // without columns, rows still have newlines
	} {
		if yes {
			counts[key]++
		}
	}
}

// readTable reads a table with tabs, each line by the names in the first one.
func readTable(t *testing.T, path string) (lines []map[string]string) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	reader := csv.NewReader(file)
	reader.Comma = '\t'
	rows, err := reader.ReadAll() // which refuses lines of different lengths
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows[1:] {
		line := map[string]string{}
		for i, name := range rows[0] {
			line[strings.TrimSpace(name)] = row[i]
		}
		lines = append(lines, line)
	}
	return lines
}

func number(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// swapPinpoints returns the list with width and height of each pinpoint exchanged, in the same order: transformers
// reads (height, width) where LLaVA-NeXT reads (width, height).
func swapPinpoints(list []Pinpoint) []Pinpoint {
	swapped := make([]Pinpoint, len(list))
	for i, p := range list {
		swapped[i] = Pinpoint{p.Height, p.Width}
	}
	return swapped
}

// Tiles of another size have the same grid, map and positions, and the picture lies on them as a tiling of that size
// with the same canvas would place it.
func TestALayoutWithAnotherEdge(t *testing.T) {
	tiling, twice := newTiling(t, 64, 4, "(1x1),...,(3x3)", 2), newTiling(t, 56, 4, "(1x1)", 2)
	for _, size := range [][2]int{{640, 480}, {100, 300}, {57, 1000}, {1000, 19}, {1, 1}, {64, 64}, {333, 334}} {
		l := tiling.Layout(size[0], size[1])
		twice.Pinpoints = []Pinpoint{{Width: 56 * l.Columns, Height: 56 * l.Rows}}
		if got, want := l.WithEdge(56, size[0], size[1]), twice.Layout(size[0], size[1]); got != want {
			t.Errorf("%v: %+v, want %+v", size, got, want)
		}
		if got := l.WithEdge(64, size[0], size[1]); got != l {
			t.Errorf("%v: the same edge gives %+v, want %+v", size, got, l)
		}
	}
	single := twice.Single()
	single.Edge = 64
	if got := single.WithEdge(56, 10, 20); got != twice.Single() {
		t.Errorf("one tile: %+v", got)
	}
}
