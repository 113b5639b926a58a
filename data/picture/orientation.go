package picture

// swapsSides reports whether turning by an orientation (EXIF 2.32, tag 274) exchanges width and height.
func swapsSides(orientation int) bool { return orientation >= 5 && orientation <= 8 }

// turned is an image turned upright, as Pillow's ImageOps.exif_transpose does it. Where the first row and column of the
// file belong: 1 top and left, 2 top and right, 3 bottom and right, 4 bottom and left, 5 left and top, 6 right and top,
// 7 right and bottom, 8 left and bottom.
func turned(img *RGB, orientation int) *RGB {
	if orientation < 2 || orientation > 8 {
		return img
	}
	out := newRGB(img.W, img.H)
	if swapsSides(orientation) {
		out.W, out.H = img.H, img.W
	}
	fromRight := orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8
	fromBottom := orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7
	dst := out.Pix
	for y := range out.H {
		for x := range out.W {
			column, row := x, y
			if swapsSides(orientation) {
				column, row = y, x
			}
			if fromRight {
				column = img.W - 1 - column
			}
			if fromBottom {
				row = img.H - 1 - row
			}
			copy(dst[:3], img.Pix[3*(row*img.W+column):][:3])
			dst = dst[3:]
		}
	}
	return out
}
