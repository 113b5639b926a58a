package picture

// PrepareTiles returns the tiles of img as [tiles,3,S,S], channel first, not yet normalised; S is l.Edge and l the
// layout of an image of img's size. Tile 0 is the whole picture squeezed to S×S. The others are cut by rows from the
// canvas: black, with the picture resized by p's filter in the middle (LLaVA-NeXT, llava/mm_utils.py,
// process_anyres_image, and transformers 5.17, image_processing_pil_llava_next.py). p.Edge changes nothing, since a
// tile has its final size.
//
// The layout of Tiling.Single gives the one tile of Prepare with the aspect "pad", of p's own size.
func (p *Processor) PrepareTiles(img *RGB, l Layout) []uint8 {
	if l.Columns == 0 {
		return p.Prepare(img, "pad")
	}
	size := 3 * l.Edge * l.Edge
	tiles := make([]uint8, l.Tiles()*size)
	whole := span{to: l.Edge}
	copy(tiles, resizePillow13(img, p.part(img.W, l.Edge, whole), p.part(img.H, l.Edge, whole), [3]uint8{}))
	for i := range l.Columns * l.Rows {
		p.cutTile(tiles[(1+i)*size:][:size], img, l, i%l.Columns, i/l.Columns)
	}
	return tiles
}

// span is a stretch of the resized picture's pixels in one direction.
type span struct{ from, to int }

// part resizes a line of the picture to a new length, of which the stretch is kept.
func (p *Processor) part(length, resized int, kept span) axis {
	return axis{bilinear: p.Filter == bilinear, length: length, pixels: length, resized: resized,
		from: kept.from, count: kept.to - kept.from}
}

// cutTile writes the tile at a place of the grid to [3,S,S], which is black. Only what it shows of the picture is
// resized: there is no canvas.
func (p *Processor) cutTile(tile []uint8, img *RGB, l Layout, column, row int) {
	left, top := column*l.Edge-l.Left, row*l.Edge-l.Top // of the tile, from the picture's corner
	across := span{max(left, 0), min(left+l.Edge, l.Width)}
	down := span{max(top, 0), min(top+l.Edge, l.Height)}
	if across.from >= across.to || down.from >= down.to {
		return
	}
	shown := resizePillow13(img, p.part(img.W, l.Width, across), p.part(img.H, l.Height, down), [3]uint8{})
	width, height := across.to-across.from, down.to-down.from
	for c := range 3 {
		for y := range height {
			at := (c*l.Edge+down.from-top+y)*l.Edge + across.from - left
			copy(tile[at:], shown[(c*height+y)*width:][:width])
		}
	}
}
