package picture

import (
	"fmt"
	"math"
)

// Tiling is the any-resolution layout of a model (LLaVA-1.6, LLaVA-OneVision): how an image becomes tiles, and how the
// tiles' features become positions. Its numbers are those of transformers 5.17 (image_processing_llava_next.py,
// modeling_llava_next.py and their llava_onevision counterparts), which differ from those of LLaVA-NeXT
// (llava/mm_utils.py, llava/model/llava_arch.py) only in where a fraction counts as whole; see cut.
//
// Every image gives tile 0, the whole picture squeezed to a square. The others are cut by rows from a black canvas of
// one of the sizes in Pinpoints, on which the picture, resized with its proportions kept, lies in the middle.
type Tiling struct {
	Edge      int        // S, side of a tile in pixels
	Side      int        // s, patches along a side of a tile
	Pinpoints []Pinpoint // sizes of the canvas to choose from, in order: the first of equally good ones is taken
	Max       int        // M of anyres_max_M: larger maps are shrunk to about M·Side² features. 0: no limit
	Merge     Merge
	Features  int  // N, features that the connector makes of a tile: Side², or any number with MergeFlat
	TileAll   bool // whether one of several images of a row is tiled too; if not, it is one tile
}

// Merge is how the features of an image's tiles become positions: mm_patch_merge_type of LLaVA-NeXT.
type Merge string

const (
	MergeFlat         Merge = "flat"          // tile after tile
	MergeSpatial      Merge = "spatial"       // tile 0, then the map that the other tiles form, row by row
	MergeSpatialUnpad Merge = "spatial_unpad" // the same, without the map's padding, and a newline behind each row
)

// Newline is the row of a position whose features are the learned newline, not those of a patch.
const Newline = -1

// Layout is everything about one image that follows from its size. Layouts are equal if all their numbers are.
type Layout struct {
	Edge, Side, Features int // as in Tiling
	Merge                Merge

	Pinpoint      Pinpoint // the canvas; zero for an image that is one tile
	Columns, Rows int      // tiles of the canvas; 0 for an image that is one tile
	Width, Height int      // of the resized picture in pixels
	Left, Top     int      // where it lies on the canvas, in pixels
	Kept          Window   // of the map; zero with MergeFlat

	ShrunkRows, ShrunkColumns int // to which Kept is interpolated; 0 if it is not
}

// Window is a part of the map that tiles 1, 2, … form: Rows·Side by Columns·Side features. Rows or Columns may be 0.
type Window struct{ Top, Left, Rows, Columns int }

// Check returns an error that says what to set if the fields do not describe a tiling.
func (t *Tiling) Check() error {
	switch {
	case t.Edge < 1 || t.Edge > maxImageSize:
		return fmt.Errorf("tiles of %d pixels a side: the side must be from 1 to %d", t.Edge, maxImageSize)
	case t.Side < 1 || t.Side > t.Edge:
		return fmt.Errorf("%d patches along a tile of %d pixels: there must be from 1 to %d", t.Side, t.Edge, t.Edge)
	case t.Max < 0:
		return fmt.Errorf("anyres_max_%d: the limit must be positive, or 0 for none", t.Max)
	case t.Merge != MergeFlat && t.Merge != MergeSpatial && t.Merge != MergeSpatialUnpad:
		return fmt.Errorf("mm_patch_merge_type %q is not supported: it must be %s, %s or %s",
			t.Merge, MergeFlat, MergeSpatial, MergeSpatialUnpad)
	case t.Merge != MergeFlat && t.Features != t.Side*t.Side:
		return fmt.Errorf("mm_patch_merge_type %s needs a feature for each of a tile's %d patches, but the projector "+
			"makes %d: set %s, or a projector that keeps patches", t.Merge, t.Side*t.Side, t.Features, MergeFlat)
	case t.Features < 1:
		return fmt.Errorf("%d features of a tile: there must be at least one", t.Features)
	}
	return CheckPinpoints(t.Pinpoints, t.Edge)
}

// Of is the layout of an image: that of its size or, for one of several images of a row, Single.
func (t *Tiling) Of(several bool, size Size) (Layout, error) {
	if several && !t.TileAll {
		return t.Single(), nil
	}
	width, height, err := size()
	if err != nil {
		return Layout{}, err
	}
	return t.Layout(width, height), nil
}

// String names every field, since each may change the number of an image's positions.
func (t *Tiling) String() string {
	return fmt.Sprintf("tiles of %d pixels, %d×%d patches and %d features, %s, anyres_max %d, several %v, from %v",
		t.Edge, t.Side, t.Side, t.Features, t.Merge, t.Max, t.TileAll, t.Pinpoints)
}

// Single is the layout of an image that is one tile: one of several images of a row, padded to a square
// (LLaVA-NeXT, llava/train/train.py, process_image), or any image prepared by Processor.Prepare for a tiling's model.
// With MergeSpatialUnpad it has one newline at its end.
func (t *Tiling) Single() Layout {
	return Layout{Edge: t.Edge, Side: t.Side, Features: t.Features, Merge: t.Merge}
}

// Layout lays out a picture of width × height pixels, which must be positive. All fractions are IEEE doubles, computed
// in the reference's order.
func (t *Tiling) Layout(width, height int) Layout {
	l := t.Single()
	l.Pinpoint = choose(t.Pinpoints, width, height)
	l.Columns, l.Rows = l.Pinpoint.Width/t.Edge, l.Pinpoint.Height/t.Edge
	l = l.WithEdge(t.Edge, width, height)
	if t.Merge == MergeFlat {
		return l
	}
	l.Kept = Window{Rows: l.Rows * t.Side, Columns: l.Columns * t.Side}
	if t.Merge == MergeSpatialUnpad {
		l.Kept = l.Kept.unpad(width, height)
		l.ShrunkRows, l.ShrunkColumns = t.shrink(l.Kept)
	}
	return l
}

// WithEdge is the layout of the same picture, width × height, in as many tiles of another size: the canvas has the same
// grid of tiles, and the picture lies on it as a tiling of that size would place it. What is kept of a map of as many
// patches is the same, since it follows from the grid.
func (l Layout) WithEdge(edge, width, height int) Layout {
	l.Edge = edge
	if l.Columns == 0 {
		return l
	}
	l.Pinpoint = Pinpoint{Width: l.Columns * edge, Height: l.Rows * edge}
	l.Width, l.Height = l.Pinpoint.fit(width, height)
	l.Left, l.Top = (l.Pinpoint.Width-l.Width)/2, (l.Pinpoint.Height-l.Height)/2
	return l
}

// choose is the pinpoint that shows most of the picture's pixels, then the one that wastes fewest of its own, then the
// first (LLaVA-NeXT, llava/mm_utils.py, select_best_resolution).
func choose(list []Pinpoint, width, height int) (best Pinpoint) {
	most, least := -1, 0
	for _, p := range list {
		scale := min(float64(p.Width)/float64(width), float64(p.Height)/float64(height))
		shown := int(float64(width)*scale) * int(float64(height)*scale)
		shown = min(shown, width*height)
		wasted := p.Width*p.Height - shown
		if shown > most || shown == most && wasted < least {
			best, most, least = p, shown, wasted
		}
	}
	return best
}

// fit is the size of the picture on the canvas: one side is filled, the other rounded up (LLaVA-NeXT,
// llava/mm_utils.py, resize_and_pad_image).
func (p Pinpoint) fit(width, height int) (fitted, fittedHeight int) {
	across, down := float64(p.Width)/float64(width), float64(p.Height)/float64(height)
	if across < down {
		return p.Width, min(int(math.Ceil(float64(height)*across)), p.Height)
	}
	return min(int(math.Ceil(float64(width)*down)), p.Width), p.Height
}

// unpad is the part of the whole map w that shows a picture of width × height. What is cut off is the same on both
// sides, so that one row or column of padding may stay (transformers, modeling_llava_next.py, unpad_image).
func (w Window) unpad(width, height int) Window {
	if float64(width)/float64(height) > float64(w.Columns)/float64(w.Rows) {
		rows := cut(float64(height) * (float64(w.Columns) / float64(width)))
		w.Top = (w.Rows - rows) / 2
		w.Rows -= 2 * w.Top
	} else {
		columns := cut(float64(width) * (float64(w.Rows) / float64(height)))
		w.Left = (w.Columns - columns) / 2
		w.Columns -= 2 * w.Left
	}
	return w
}

// cut rounds down, but takes as whole what rounding to 7 decimals makes whole, as transformers does. LLaVA-NeXT rounds
// 26.999999999999996 down to 26, and drops two rows of which one shows the picture.
func cut(x float64) int {
	if up := math.Ceil(x); x >= up-5e-8 {
		return int(up)
	}
	return int(x)
}

// shrink is the size to which a map is interpolated: 0 up to 1.21 times the limit, and the limit's own area or a
// little less beyond (LLaVA-NeXT, llava/model/llava_arch.py, anyres_max). No side becomes 0, where torch would fail.
func (t *Tiling) shrink(w Window) (rows, columns int) {
	if t.Max == 0 {
		return 0, 0
	}
	limit := float64(t.Max) * float64(t.Side*t.Side)
	times := math.Sqrt(float64(w.Rows*w.Columns) / limit)
	if times <= 1.1 {
		return 0, 0
	}
	return max(floorDivide(w.Rows, times), 1), max(floorDivide(w.Columns, times), 1)
}

// floorDivide is Python's n // x for positive numbers (CPython, Objects/floatobject.c): it can be less than the floor
// of the rounded quotient.
func floorDivide(n int, x float64) int {
	whole := float64(n) - math.Mod(float64(n), x)
	return int(math.Round(whole / x))
}

// Tiles is the number of an image's tiles, with tile 0.
func (l Layout) Tiles() int { return 1 + l.Columns*l.Rows }

// Positions is the number of positions that the image takes in a sample.
func (l Layout) Positions() int {
	if l.Merge == MergeFlat {
		return l.Tiles() * l.Features
	}
	rows, columns := l.mapSize()
	if l.Merge == MergeSpatialUnpad {
		columns++
		if l.Columns == 0 {
			rows, columns = 1, 1
		}
	}
	return l.Features + rows*columns
}

// mapSize is the size of the map whose rows become positions.
func (l Layout) mapSize() (rows, columns int) {
	if l.ShrunkRows > 0 {
		return l.ShrunkRows, l.ShrunkColumns
	}
	return l.Kept.Rows, l.Kept.Columns
}

// AppendRows appends, for each position in order, its row in the image's features [Tiles·Features, width], which is
// tile·Features + patch, or Newline. If the map is shrunk, it is a row of [Features +
// ShrunkRows·ShrunkColumns, width]: tile 0, then the shrunk map row by row.
func (l Layout) AppendRows(dst []int64) []int64 {
	first := l.Features
	if l.Merge == MergeFlat {
		first *= l.Tiles()
	}
	for row := range first {
		dst = append(dst, int64(row))
	}
	rows, columns := l.mapSize()
	for y := range rows {
		for x := range columns {
			dst = append(dst, l.row(y, x))
		}
		if l.Merge == MergeSpatialUnpad {
			dst = append(dst, Newline)
		}
	}
	if l.Merge == MergeSpatialUnpad && l.Columns == 0 {
		dst = append(dst, Newline)
	}
	return dst
}

// AppendKept appends the rows of [Tiles·Features, width] that the kept part of the map consists of, row by row: what a
// shrunk map is interpolated from.
func (l Layout) AppendKept(dst []int64) []int64 {
	l.ShrunkRows, l.ShrunkColumns = 0, 0
	for y := range l.Kept.Rows {
		for x := range l.Kept.Columns {
			dst = append(dst, l.row(y, x))
		}
	}
	return dst
}

// row is the row of the map's feature (y, x).
func (l Layout) row(y, x int) int64 {
	if l.ShrunkRows > 0 {
		return int64(l.Features + y*l.ShrunkColumns + x)
	}
	y, x = y+l.Kept.Top, x+l.Kept.Left
	tile := 1 + y/l.Side*l.Columns + x/l.Side
	return int64(tile*l.Features + y%l.Side*l.Side + x%l.Side)
}
