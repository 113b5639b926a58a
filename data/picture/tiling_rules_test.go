package picture

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// drawTiling draws a tiling of tiles of at most edge pixels, with up to 5 × 5 of them.
func drawTiling(t *rapid.T, edge int) *Tiling {
	tiling := &Tiling{
		Edge:  rapid.IntRange(1, edge).Draw(t, "edge"),
		Max:   rapid.IntRange(0, 4).Draw(t, "max"),
		Merge: rapid.SampledFrom([]Merge{MergeFlat, MergeSpatial, MergeSpatialUnpad}).Draw(t, "merge"),
	}
	tiling.Side = rapid.IntRange(1, tiling.Edge).Draw(t, "side")
	tiling.Features = tiling.Side * tiling.Side
	if tiling.Merge == MergeFlat {
		tiling.Features = rapid.IntRange(1, 9).Draw(t, "features")
	}
	sides := rapid.IntRange(1, 5)
	for range rapid.IntRange(1, 8).Draw(t, "pinpoints") {
		p := Pinpoint{sides.Draw(t, "columns") * tiling.Edge, sides.Draw(t, "rows") * tiling.Edge}
		tiling.Pinpoints = append(tiling.Pinpoints, p)
	}
	if err := tiling.Check(); err != nil {
		t.Fatal(err)
	}
	return tiling
}

// drawSize draws the size of a picture, small or extreme.
func drawSize(t *rapid.T) (width, height int) {
	side := rapid.OneOf(rapid.IntRange(1, 40), rapid.IntRange(1, 1000), rapid.Just(1), rapid.Just(4000),
		rapid.Just(maxSide))
	return side.Draw(t, "width"), side.Draw(t, "height")
}

// TestLayoutHoldsTogether: the picture lies in the middle of the canvas and fills it in one direction; the part kept of
// the map is in its middle; and positions take each row of features at most once, from tile 0 on.
func TestLayoutHoldsTogether(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tiling := drawTiling(t, 14)
		width, height := drawSize(t)
		l := tiling.Layout(width, height)
		across, down := l.Pinpoint.Width-l.Width, l.Pinpoint.Height-l.Height // the padding
		if across < 0 || down < 0 || across*down != 0 || l.Left != across/2 || l.Top != down/2 || l.Width*l.Height < 1 {
			t.Fatalf("%dx%d: canvas of layout %+v", width, height, l)
		}
		whole := Window{Rows: l.Rows * l.Side, Columns: l.Columns * l.Side}
		if l.Merge == MergeFlat {
			whole = Window{}
		}
		middle := whole.Rows == l.Kept.Rows+2*l.Kept.Top && whole.Columns == l.Kept.Columns+2*l.Kept.Left
		if !middle || l.Kept.Rows < 0 || l.Kept.Columns < 0 || l.Merge != MergeSpatialUnpad && l.Kept != whole {
			t.Fatalf("%dx%d: map of layout %+v", width, height, l)
		}
		shrunk := Window{Rows: l.ShrunkRows, Columns: l.ShrunkColumns}
		if shrunk.Rows > l.Kept.Rows || shrunk.Columns > l.Kept.Columns || (shrunk.Rows > 0) != (shrunk.Columns > 0) {
			t.Fatalf("%dx%d: shrunk map of layout %+v", width, height, l)
		}
		checkRows(t, l)
		for _, several := range []bool{false, true} {
			want := l
			if several && !tiling.TileAll {
				want = tiling.Single()
			}
			of, err := tiling.Of(several, func() (int, int, error) { return width, height, nil })
			if of != want || err != nil {
				t.Fatalf("%dx%d, several %v: layout %+v, want %+v, error %v", width, height, several, of, want, err)
			}
		}
		checkRows(t, tiling.Single())
	})
}

// checkRows checks the rows that a layout's positions take.
func checkRows(t *rapid.T, l Layout) {
	rows := l.AppendRows([]int64{7})
	if len(rows) != 1+l.Positions() || rows[0] != 7 {
		t.Fatalf("%d rows for %d positions of layout %+v", len(rows)-1, l.Positions(), l)
	}
	all := l.Tiles() * l.Features
	if l.ShrunkRows > 0 {
		all = l.Features + l.ShrunkRows*l.ShrunkColumns
	}
	taken, newlines := make([]bool, all), 0
	for i, row := range rows[1:] {
		switch {
		case row == Newline:
			newlines++
		case row < 0 || row >= int64(all) || taken[row] || i < l.Features && row != int64(i):
			t.Fatalf("position %d takes row %d of %d of layout %+v", i, row, all, l)
		default:
			taken[row] = true
		}
	}
	want := 0
	if l.Merge == MergeSpatialUnpad {
		want = max(l.Kept.Rows, 1-l.Columns) // one for an image that is one tile
		if l.ShrunkRows > 0 {
			want = l.ShrunkRows
		}
	}
	if newlines != want {
		t.Fatalf("%d newlines of layout %+v, want %d", newlines, l, want)
	}
}

// TestLayoutOfATransposedPicture: a picture and pinpoints turned on their side give the same layout, turned.
func TestLayoutOfATransposedPicture(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tiling := drawTiling(t, 14)
		width, height := drawSize(t)
		want := tiling.Layout(width, height)
		got := swapped(tiling).Layout(height, width)
		got.Pinpoint = Pinpoint{got.Pinpoint.Height, got.Pinpoint.Width}
		got.Columns, got.Rows = got.Rows, got.Columns
		got.Width, got.Height = got.Height, got.Width
		got.Left, got.Top = got.Top, got.Left
		got.Kept = Window{Top: got.Kept.Left, Left: got.Kept.Top, Rows: got.Kept.Columns, Columns: got.Kept.Rows}
		got.ShrunkRows, got.ShrunkColumns = got.ShrunkColumns, got.ShrunkRows
		if got != want {
			t.Fatalf("%dx%d: %+v, transposed %+v", width, height, want, got)
		}
	})
}

// TestLayoutExamples has sizes worked by hand, and those where nothing of the map is left: without rows it has no
// newline, without columns it keeps those of its rows.
func TestLayoutExamples(t *testing.T) {
	tilings := publishedTilings(t)
	next, onevision := tilings["336"], tilings["384"]
	for _, test := range []struct {
		tiling        *Tiling
		width, height int
		pinpoint      Pinpoint
		kept          Window
		shrunk        [2]int
		positions     int
	}{
		{next, 640, 480, Pinpoint{672, 672}, Window{6, 0, 36, 48}, [2]int{}, 576 + 36*49},
		{next, 1000, 300, Pinpoint{1008, 336}, Window{1, 0, 22, 72}, [2]int{}, 576 + 22*73},
		{next, 672, 672, Pinpoint{672, 672}, Window{0, 0, 48, 48}, [2]int{}, 576 + 48*49},
		{next, 1422, 19, Pinpoint{1008, 336}, Window{12, 0, 0, 72}, [2]int{}, 576},
		{next, 19, 1422, Pinpoint{336, 1008}, Window{0, 12, 72, 0}, [2]int{}, 576 + 72},
		{next, 4000, 1, Pinpoint{336, 672}, Window{24, 0, 0, 24}, [2]int{}, 576},
		{next, 1, 4000, Pinpoint{336, 672}, Window{0, 12, 48, 0}, [2]int{}, 576 + 48},
		{next, 1, 1, Pinpoint{336, 672}, Window{12, 0, 24, 24}, [2]int{}, 576 + 24*25},
		{onevision, 1147, 1383, Pinpoint{1152, 1536}, Window{5, 0, 98, 81}, [2]int{}, 729 + 98*82},
		{onevision, 3000, 3000, Pinpoint{2304, 2304}, Window{0, 0, 162, 162}, [2]int{81, 81}, 729 + 81*82},
		{onevision, 1, 1, Pinpoint{384, 384}, Window{0, 0, 27, 27}, [2]int{}, 729 + 27*28},
	} {
		l := test.tiling.Layout(test.width, test.height)
		if l.Pinpoint != test.pinpoint || l.Kept != test.kept || l.Positions() != test.positions ||
			[2]int{l.ShrunkRows, l.ShrunkColumns} != test.shrunk {
			t.Errorf("%dx%d at %d: %d positions of layout %+v", test.width, test.height, l.Edge, l.Positions(), l)
		}
	}
}

// TestRowsOfEachMerge has the rows of two tiles side by side, of 2 × 2 patches, and of an image that is one tile.
func TestRowsOfEachMerge(t *testing.T) {
	for _, test := range []struct {
		merge        Merge
		features     int
		tiled, whole []int64
	}{
		{MergeFlat, 3, []int64{0, 1, 2, 3, 4, 5, 6, 7, 8}, []int64{0, 1, 2}},
		{MergeSpatial, 4, []int64{0, 1, 2, 3, 4, 5, 8, 9, 6, 7, 10, 11}, []int64{0, 1, 2, 3}},
		{MergeSpatialUnpad, 4, []int64{0, 1, 2, 3, 4, 5, 8, 9, Newline, 6, 7, 10, 11, Newline},
			[]int64{0, 1, 2, 3, Newline}},
	} {
		tiling := &Tiling{Edge: 8, Side: 2, Pinpoints: []Pinpoint{{16, 8}}, Merge: test.merge, Features: test.features}
		if err := tiling.Check(); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(test.tiled, tiling.Layout(20, 10).AppendRows(nil)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.merge, diff)
		}
		if diff := cmp.Diff(test.whole, tiling.Single().AppendRows(nil)); diff != "" {
			t.Errorf("%s, one tile (-want +got):\n%s", test.merge, diff)
		}
	}
}

// TestShrunkMapKeepsASide: a long map of single patches would lose its only row.
func TestShrunkMapKeepsASide(t *testing.T) {
	tiling := &Tiling{Edge: 8, Side: 1, Pinpoints: []Pinpoint{{48, 8}}, Max: 1, Merge: MergeSpatialUnpad, Features: 1}
	if l := tiling.Layout(60, 10); l.ShrunkRows != 1 || l.ShrunkColumns != 2 || l.Positions() != 1+1*3 {
		t.Errorf("%d positions of layout %+v", l.Positions(), l)
	}
}

// floorDivide follows Python where the rounded quotient is the next whole number: 6 / 0.1 is 60, 6 // 0.1 is 59.
func TestFloorDivide(t *testing.T) {
	for _, test := range []struct {
		n    int
		x    float64
		want int
	}{{6, 0.1, 59}, {1, 0.1, 9}, {7, 2, 3}, {8, 2, 4}, {0, 3, 0}, {5, 1.1, 4}, {11, 1.1, 9}} {
		if got := floorDivide(test.n, test.x); got != test.want {
			t.Errorf("%d // %v is %d, want %d", test.n, test.x, got, test.want)
		}
	}
}

// Every field that may change a number changes the tiling's name.
func TestTilingString(t *testing.T) {
	names := []string{}
	for _, change := range []func(*Tiling){
		func(*Tiling) {},
		func(t *Tiling) { t.Edge = 16 },
		func(t *Tiling) { t.Side = 3 },
		func(t *Tiling) { t.Pinpoints = t.Pinpoints[:1] },
		func(t *Tiling) { t.Pinpoints = swapPinpoints(t.Pinpoints) },
		func(t *Tiling) { t.Max = 9 },
		func(t *Tiling) { t.Merge = MergeFlat },
		func(t *Tiling) { t.Features = 5 },
		func(t *Tiling) { t.TileAll = true },
	} {
		tiling := newTiling(t, 8, 2, "(1x2),(2x1)", 0)
		change(tiling)
		var positions Positions = tiling
		if slices.Contains(names, positions.String()) {
			t.Errorf("%q names two tilings", positions)
		}
		names = append(names, positions.String())
	}
}

// An error that keeps an image's size from being known is passed on.
func TestTilingOfAnUnknownSize(t *testing.T) {
	gone := errors.New("disk is gone")
	_, err := newTiling(t, 8, 2, "(1x2)", 0).Of(false, func() (int, int, error) { return 0, 0, gone })
	if !errors.Is(err, gone) {
		t.Errorf("error %v", err)
	}
}

func TestTilingCheck(t *testing.T) {
	for _, test := range []struct {
		change  func(*Tiling)
		problem string
	}{
		{func(t *Tiling) { t.Edge = 0 }, "tiles of 0 pixels a side: the side must be from 1 to 4096"},
		{func(t *Tiling) { t.Edge = 5000 }, "tiles of 5000 pixels a side"},
		{func(t *Tiling) { t.Side = 0 }, "0 patches along a tile of 8 pixels: there must be from 1 to 8"},
		{func(t *Tiling) { t.Side = 9 }, "9 patches along a tile of 8 pixels"},
		{func(t *Tiling) { t.Max = -1 }, "anyres_max_-1: the limit must be positive, or 0"},
		{func(t *Tiling) { t.Merge = "spatial_unpad_nobase" },
			`"spatial_unpad_nobase" is not supported: it must be flat, spatial or spatial_unpad`},
		{func(t *Tiling) { t.Features = 3 }, "each of a tile's 4 patches, but the projector makes 3: set flat, or"},
		{func(t *Tiling) { t.Merge, t.Features = MergeFlat, 0 }, "0 features of a tile: there must be at least one"},
		{func(t *Tiling) { t.Pinpoints = nil }, "the list of pinpoints is empty"},
		{func(t *Tiling) { t.Pinpoints[0].Width = 9 }, "pinpoint 9x16 is not a multiple of the tower's 8 pixels"},
	} {
		tiling := newTiling(t, 8, 2, "(1x2),(2x1)", 0)
		test.change(tiling)
		if err := tiling.Check(); err == nil || !strings.Contains(err.Error(), test.problem) {
			t.Errorf("error %v, want %q", err, test.problem)
		}
	}
}
