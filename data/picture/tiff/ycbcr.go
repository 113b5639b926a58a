package tiff

import (
	"errors"
	"fmt"
	"slices"
)

// readYCbCr chooses the conversion of brightness and two colours, TIFF 6.0, section 21, as Pillow does. By kind of
// compression:
//
//   - JPEG's own decoder has converted them already.
//   - Without compression Pillow takes full resolution and JFIF's factors.
//   - For the others libtiff repeats the colours over the pixels that share them, and computes tables from the tags.
func (m *Image) readYCbCr(d directory) error {
	sharing := d.numbers(tagSubsampling)
	switch {
	case m.format == unsigned && m.bits == 8 && m.samples == 1 && m.compression == uncompressed && !m.reversed:
		m.convert = each(1, func(rgb, s []byte) { grey(rgb, s[0]) })
		return nil
	case m.bits != 8 || m.samples != 3 || len(m.extra) > 0 || m.format != unsigned || m.reversed:
		return m.refusal()
	case m.compression == jpegInTIFF:
		m.convert = each(3, func(rgb, s []byte) { copy(rgb, s) })
		return nil
	case m.compression == uncompressed:
		if len(sharing) > 0 && slices.Max(sharing) > 1 {
			return errors.New("YCbCr with shared colours and without compression is not supported; save it as PNG")
		}
		m.convert = each(3, jfif)
		return nil
	}
	m.across, m.down = 2, 2
	if len(sharing) == 2 {
		m.across, m.down = int(min(sharing[0], 99)), int(min(sharing[1], 99))
	}
	if !slices.Contains([][2]int{{4, 4}, {4, 2}, {4, 1}, {2, 2}, {2, 1}, {1, 2}, {1, 1}}, [2]int{m.across, m.down}) {
		return fmt.Errorf("colours shared by %dx%d pixels are not supported; save it as PNG", m.across, m.down)
	}
	if m.predictor != noPrediction && m.across*m.down > 1 {
		return errors.New("YCbCr with shared colours and a predictor is not supported; save it as PNG")
	}
	factors, references := d.fractions(tagYCbCrFactors, 3), d.fractions(tagReferences, 6)
	if factors == nil {
		factors = []float32{0.299, 0.587, 0.114}
	}
	if references == nil {
		references = []float32{0, 255, 128, 255, 128, 255}
	}
	if factors[1] == 0 {
		return errors.New("its factors of YCbCr are damaged")
	}
	m.convert = m.shared(newColourTables([3]float32(factors), [6]float32(references)))
	return nil
}

// jfif converts with factors rounded to 6 fractional bits (Pillow, libImaging/ConvertYCbCr.c).
func jfif(rgb, s []byte) {
	y, cb, cr := int32(s[0]), float64(s[1])-128, float64(s[2])-128
	rgb[0] = clip(y + sixBits(1.402*cr)>>6)
	rgb[1] = clip(y + (sixBits(-0.34414*cb)+sixBits(-0.71414*cr))>>6)
	rgb[2] = clip(y + sixBits(1.772*cb)>>6)
}

func sixBits(v float64) int32 { return int32(v*64 + 0.5) } // rounded towards zero

// shared converts groups: their levels row by row, then the two colours.
func (m *Image) shared(t *colourTables) converter {
	across, down := m.across, m.down
	return func(to area, row []byte) {
		size := across*down + 2
		for x := 0; x < to.columns; x += across {
			group := row[x/across*size:][:size]
			cb, cr := group[size-2], group[size-1]
			for y := range to.rows {
				for i := range min(across, to.columns-x) {
					t.convert(to.pix[y*to.stride+3*(x+i):], group[y*across+i], cb, cr)
				}
			}
		}
	}
}

// colourTables are libtiff's (tif_color.c, TIFFYCbCrToRGBInit): the contributions of each value, with 16 fractional
// bits for green, rounded to whole levels for red and blue.
type colourTables struct {
	level, red, blue, greenCb, greenCr [256]int32
}

func newColourTables(factors [3]float32, references [6]float32) *colourTables {
	t := new(colourTables)
	red, blue := 2-2*factors[0], 2-2*factors[2]
	d1, d2 := fixed(red), -fixed(factors[0]*red/factors[1])
	d3, d4 := fixed(blue), -fixed(factors[2]*blue/factors[1])
	for i := range t.level {
		x := int32(i)
		cr := coded(x-128, references[4]-128, references[5]-128, 127)
		cb := coded(x-128, references[2]-128, references[3]-128, 127)
		t.level[i] = coded(x, references[0], references[1], 255)
		t.red[i], t.blue[i] = (d1*cr+1<<15)>>16, (d3*cb+1<<15)>>16
		t.greenCr[i], t.greenCb[i] = d2*cr, d4*cb+1<<15
	}
	return t
}

// fixed is a factor within 0 and 2, with 16 fractional bits.
func fixed(v float32) int32 {
	if !(v >= 0) {
		v = 0
	}
	return int32(float64(min(v, 2))*(1<<16) + 0.5)
}

// coded undoes the coding of a value between its black and white reference, TIFF 6.0, section 20.
func coded(v int32, black, white, rangeOfCodes float32) int32 {
	span := white - black
	if span == 0 {
		span = 1
	}
	value := float32(v-int32(black)) * rangeOfCodes / span
	return int32(min(max(value, -128*32), 128*32))
}

func (t *colourTables) convert(rgb []byte, y, cb, cr uint8) {
	level := t.level[y]
	rgb[0] = clip(level + t.red[cr])
	rgb[1] = clip(level + (t.greenCb[cb]+t.greenCr[cr])>>16)
	rgb[2] = clip(level + t.blue[cb])
}
