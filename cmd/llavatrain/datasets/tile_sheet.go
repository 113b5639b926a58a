package datasets

import (
	"fmt"

	"github.com/llavatrain/llavatrain/data/picture"
)

// preparation says what an image became: one square, or the whole image and tiles of it.
func preparation(l picture.Layout, side int) string {
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

// tileSheet is a prepared image to look at: its squeezed whole, and to the right its tiles as they lie, with gaps.
func tileSheet(prepared picture.Picture, side int) *picture.RGB {
	const gap, grey = 4, 128
	l := prepared.Layout
	sheet := &picture.RGB{W: side, H: side}
	if l.Columns > 0 {
		sheet.W, sheet.H = (1+l.Columns)*(side+gap), l.Rows*(side+gap)-gap
	}
	sheet.Pix = make([]uint8, 3*sheet.W*sheet.H)
	for i := range sheet.Pix {
		sheet.Pix[i] = grey
	}
	size := 3 * side * side
	for tile := range len(prepared.Pixels) / size {
		left, top := 0, 0
		if tile > 0 {
			left = side + 2*gap + (tile-1)%l.Columns*(side+gap)
			top = (tile - 1) / l.Columns * (side + gap)
		}
		paste(sheet, prepared.Pixels[tile*size:][:size], side, left, top)
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
