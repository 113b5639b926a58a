package datasets

import (
	"fmt"

	"github.com/llavatrain/llavatrain/data/picture"
)

// preparation says what an image became for each tower: one square, or the whole image and tiles of it.
func preparation(l picture.Layout, sides []int) string {
	text := prepared(l, sides[0])
	for _, side := range sides[1:] {
		text += fmt.Sprintf("; for the second tower in the same way at %dx%d", side, side)
	}
	return text
}

func prepared(l picture.Layout, side int) string {
	if l.Columns == 0 {
		return fmt.Sprintf("%dx%d", side, side)
	}
	text := fmt.Sprintf("%dx%d and %dx%d tiles of it", side, side, l.Columns, l.Rows)
	if l.Merge == picture.MergeFlat {
		return text
	}
	text += fmt.Sprintf(", whose map keeps %d rows of %d", l.Kept.Rows, l.Kept.Columns)
	if l.ShrunkRows > 0 {
		text += fmt.Sprintf(", made %d of %d", l.ShrunkRows, l.ShrunkColumns)
	}
	return text
}

// tileSheets are a prepared image to look at, for each tower.
func tileSheets(prepared picture.Picture, sides []int) (sheets []*picture.RGB) {
	all := 0 // values of a tile for all towers
	for _, side := range sides {
		all += 3 * side * side
	}
	at := 0
	for _, side := range sides {
		size := 3 * side * side
		var own []uint8 // [tiles,3,S,S]
		for tile := range len(prepared.Pixels) / all {
			own = append(own, prepared.Pixels[tile*all+at:][:size]...)
		}
		sheets = append(sheets, tileSheet(own, prepared.Layout, side))
		at += size
	}
	return sheets
}

// tileSheet is an image's tiles [tiles,3,S,S] to look at: its squeezed whole, and to the right its tiles as they lie,
// with gaps.
func tileSheet(tiles []uint8, l picture.Layout, side int) *picture.RGB {
	const gap, grey = 4, 128
	sheet := &picture.RGB{W: side, H: side}
	if l.Columns > 0 {
		sheet.W, sheet.H = (1+l.Columns)*(side+gap), l.Rows*(side+gap)-gap
	}
	sheet.Pix = make([]uint8, 3*sheet.W*sheet.H)
	for i := range sheet.Pix {
		sheet.Pix[i] = grey
	}
	size := 3 * side * side
	for tile := range len(tiles) / size {
		left, top := 0, 0
		if tile > 0 {
			left = side + 2*gap + (tile-1)%l.Columns*(side+gap)
			top = (tile - 1) / l.Columns * (side + gap)
		}
		paste(sheet, tiles[tile*size:][:size], side, left, top)
	}
	return sheet
}

// paste copies a tile [3,S,S] into a sheet with interleaved channels.
func paste(sheet *picture.RGB, tile []uint8, side, left, top int) {
	for i := range side * side {
		at := 3 * ((top+i/side)*sheet.W + left + i%side)
		for c := range 3 {
			sheet.Pix[at+c] = tile[c*side*side+i]
		}
	}
}
