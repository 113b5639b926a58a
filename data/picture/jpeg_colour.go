package picture

// convert upsamples the planes as libjpeg-turbo does by default, and makes rows of size bytes per pixel of theirs.
func (d *jpegDecoder) convert(size int, convert func(dst []uint8, rows [][]uint8)) []uint8 {
	out := make([]uint8, size*d.width*d.height)
	planes := make([]*plane, len(d.components))
	for i, c := range d.components {
		planes[i] = libjpeg.plane(c.pix, c.stride, c.width, c.height, d.acrossMax/c.across, d.downMax/c.down)
	}
	rows := make([][]uint8, len(planes))
	for y := range d.height {
		for i, p := range planes {
			rows[i] = p.row(y)[:d.width]
		}
		convert(out[size*y*d.width:][:size*d.width], rows)
	}
	return out
}

// conversion guesses the colour space of the components, as libjpeg does (jdapimin.c, default_decompress_parms).
func (d *jpegDecoder) conversion() func(dst []uint8, rows [][]uint8) {
	switch c := d.components; {
	case len(c) == 1:
		return func(dst []uint8, rows [][]uint8) { interleaveColours(dst, rows[0], rows[0], rows[0]) }
	case len(c) == 4 && d.adobe && d.transform != 0: // YCCK
		return func(dst []uint8, rows [][]uint8) {
			jfifRow(dst, rows[0], rows[1], rows[2])
			inkRow(dst, rows[3])
		}
	case len(c) == 4:
		return func(dst []uint8, rows [][]uint8) {
			interleaveColours(dst, rows[0], rows[1], rows[2])
			for i, v := range dst {
				dst[i] = 255 - v
			}
			inkRow(dst, rows[3])
		}
	case !d.jfif && d.adobe && d.transform == 0,
		!d.jfif && !d.adobe && c[0].id == 'R' && c[1].id == 'G' && c[2].id == 'B':
		return func(dst []uint8, rows [][]uint8) { interleaveColours(dst, rows[0], rows[1], rows[2]) }
	}
	return func(dst []uint8, rows [][]uint8) { jfifRow(dst, rows[0], rows[1], rows[2]) }
}

func interleaveColours(dst, reds, greens, blues []uint8) {
	greens, blues = greens[:len(reds)], blues[:len(reds)]
	for x, red := range reds {
		d := dst[3*x : 3*x+3 : 3*x+3]
		d[0], d[1], d[2] = red, greens[x], blues[x]
	}
}

// interleave puts the samples of each pixel together.
func interleave(dst []uint8, rows [][]uint8) {
	for i, row := range rows {
		for x, v := range row {
			dst[x*len(rows)+i] = v
		}
	}
}

// inkRow turns inks (cyan, magenta, yellow) into colours, each white reduced by its ink's share. White is what black
// leaves. Pillow takes the inks of every JPEG as Adobe stores them, inverted (JpegImagePlugin.py), and uses no colour
// profile (libImaging/Convert.c).
func inkRow(dst, whites []uint8) {
	for x, v := range whites {
		white := int32(v)
		d := dst[3*x : 3*x+3 : 3*x+3]
		for c, ink := range d {
			t := int32(ink)*white + 128
			d[c] = uint8(max(white-(t>>8+t)>>8, 0)) // t/255, rounded
		}
	}
}
