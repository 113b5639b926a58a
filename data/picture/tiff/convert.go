package tiff

import (
	"encoding/binary"
	"slices"
)

// area is where a stored row goes: rows of an RGB image, from pix on.
type area struct {
	pix           []uint8
	stride        int // bytes from row to row
	columns, rows int // pixels
}

// converter turns a stored row into pixels, as Pillow's convert("RGB") does: alpha is dropped, not composited; of 16
// bits a channel the upper 8 are kept; numbers of one channel with more than 8 bits are clipped at 0 and 255, and
// fractions cut off (libImaging/Convert.c).
type converter func(to area, row []byte)

// each makes a converter of one that gets one pixel of size bytes at a time.
func each(size int, pixel func(rgb, stored []byte)) converter {
	return func(to area, row []byte) {
		dst := to.pix
		for range to.columns {
			pixel(dst[:3:3], row[:size:size])
			dst, row = dst[3:], row[size:]
		}
	}
}

// levels makes a converter of one sample per pixel, of bits 1, 2, 4 or 8, by a table.
func levels(bits int, table *[256][3]uint8) converter {
	return func(to area, row []byte) {
		dst, mask := to.pix, 1<<bits-1
		for x := range to.columns {
			at := x * bits
			copy(dst[3*x:3*x+3], table[int(row[at/8])>>(8-bits-at%8)&mask][:])
		}
	}
}

func grey(rgb []byte, v uint8) { rgb[0], rgb[1], rgb[2] = v, v, v }

// chooseConverter returns the converter of an image that is not YCbCr; nil if there is none. What Pillow reads is the
// table OPEN_INFO of its TiffImagePlugin.py.
func (m *Image) chooseConverter() converter {
	if m.reversed && (m.samples > 1 && (m.photometric != photometricRGB || m.samples != 3) || m.bits > 16 ||
		m.bits == 16 && (m.order == binary.BigEndian || m.photometric != photometricBlack || m.format != unsigned) ||
		m.format != unsigned) {
		return nil
	}
	if m.format != unsigned && m.samples > 1 {
		return nil
	}
	switch m.photometric {
	case photometricWhite, photometricBlack:
		if m.samples == 2 && m.bits == 8 && len(m.extra) == 1 && (m.extra[0] == 0 || m.extra[0] == 2) {
			return each(2, func(rgb, s []byte) { grey(rgb, s[0]) })
		}
		if m.samples == 1 && len(m.extra) == 0 {
			return m.greyConverter()
		}
	case photometricPalette:
		return m.paletteConverter()
	case photometricRGB:
		return m.rgbConverter()
	case photometricCMYK:
		return m.inkConverter()
	}
	return nil
}

// greyConverter is for one sample per pixel.
func (m *Image) greyConverter() converter {
	little, black := m.order == binary.LittleEndian, m.photometric == photometricBlack
	swapped := !little && m.compression != uncompressed // Pillow then takes the bytes of a number in the wrong order
	inverted := !black
	if m.planes && m.compression == uncompressed { // Pillow then knows the depths 1 and 8 only, and does not invert
		inverted = false
		if m.bits != 1 && m.bits != 8 {
			return nil
		}
	}
	switch {
	case m.format == unsigned && (m.bits == 1 || m.bits == 2 || m.bits == 4 || m.bits == 8),
		m.format == signed && m.bits == 8 && black && !m.reversed:
		var table [256][3]uint8
		for i := range 1 << m.bits {
			v := uint8(i * 255 / (1<<m.bits - 1))
			if inverted {
				v = 255 - v
			}
			grey(table[i][:], v)
		}
		return levels(m.bits, &table)
	case m.format == unsigned && m.bits == 12 && little && black && !m.reversed:
		return twelve
	case m.format == unsigned && m.bits == 16 && (little || black): // not inverted where 0 is white
		return each(2, func(rgb, s []byte) { grey(rgb, clip(int32(m.order.Uint16(s)))) })
	case m.format == signed && m.bits == 16 && black && !swapped:
		return each(2, func(rgb, s []byte) { grey(rgb, clip(int32(int16(m.order.Uint16(s))))) })
	case m.bits == 32 && black && !swapped && (m.format == signed || m.format == unsigned && little):
		return each(4, func(rgb, s []byte) { grey(rgb, clip(int32(m.order.Uint32(s)))) })
	case m.bits == 32 && m.format == floating && !swapped:
		return each(4, func(rgb, s []byte) { grey(rgb, clipFloat(float(m.order, s))) })
	}
	return nil
}

// twelve is for two pixels in three bytes.
func twelve(to area, row []byte) {
	for x := range to.columns {
		at := x / 2 * 3
		v := int32(row[at])<<4 | int32(row[at+1])>>4
		if x%2 == 1 {
			v = int32(row[at+1]&15)<<8 | int32(row[at+2])
		}
		grey(to.pix[3*x:], clip(v))
	}
}

func clip(v int32) uint8 { return uint8(min(max(v, 0), 255)) }

func clipFloat(v float32) uint8 {
	switch {
	case v >= 255:
		return 255
	case v > 0:
		return uint8(v)
	}
	return 0
}

// paletteConverter is for indices, each with one sample behind it that may be alpha or nothing. An index beyond the
// palette is black.
func (m *Image) paletteConverter() converter {
	var table [256][3]uint8
	copy(table[:], m.colours)
	switch {
	case m.planes && m.compression == uncompressed && m.bits < 8: // noise in Pillow
		return nil
	case m.samples == 1 && len(m.extra) == 0 && (m.bits == 1 || m.bits == 2 || m.bits == 4 || m.bits == 8):
		return levels(m.bits, &table)
	case m.samples == 2 && m.bits == 8 && len(m.extra) == 1 && (m.extra[0] == 0 || m.extra[0] == 2):
		return each(2, func(rgb, s []byte) { copy(rgb, table[s[0]][:]) })
	}
	return nil
}

// rgbConverter is for red, green, blue and what follows: unspecified (0), alpha that colours are multiplied by (1), or
// alpha (2).
func (m *Image) rgbConverter() converter {
	kind := uint64(2)
	if len(m.extra) > 0 {
		kind = m.extra[0]
	}
	if kind == 999 && len(m.extra) == 1 && m.samples == 4 && m.bits == 8 { // Corel Draw
		kind = 2
	}
	// the first is alpha, and the others are unspecified
	if kind > 2 || len(m.extra) > 1 && slices.Max(m.extra[1:]) > 0 || len(m.extra) == 0 && m.samples > 4 ||
		len(m.extra) > 0 && len(m.extra) != m.samples-3 || m.samples < 3 {
		return nil
	}
	size, step := m.samples*m.bits/8, m.bits/8
	if m.bits != 8 && (m.bits != 16 || m.samples > 4) {
		return nil
	}
	high := 0 // of the bytes of a sample
	if m.bits == 16 && m.order == binary.LittleEndian {
		high = 1
	}
	if kind == 1 && m.planes && m.compression == uncompressed {
		return nil
	}
	if kind != 1 {
		return each(size, func(rgb, s []byte) { rgb[0], rgb[1], rgb[2] = s[high], s[high+step], s[high+2*step] })
	}
	return each(size, func(rgb, s []byte) {
		alpha := int(s[high+3*step])
		for c := range rgb {
			rgb[c] = divided(int(s[high+c*step]), alpha)
		}
	})
}

// divided undoes the multiplication of a colour by alpha. Fully transparent pixels become black.
func divided(v, alpha int) uint8 {
	switch alpha {
	case 0:
		return 0
	case 255:
		return uint8(v)
	}
	return uint8(min(v*255/alpha, 255))
}

// inkConverter is for cyan, magenta, yellow, black, and unspecified samples. White is what black leaves; each colour is
// white reduced by its ink's share.
func (m *Image) inkConverter() converter {
	extra := len(m.extra)
	if extra != m.samples-4 || extra > 0 && slices.Max(m.extra) > 0 || m.bits != 8 && (m.bits != 16 || extra > 0) {
		return nil
	}
	step, high := m.bits/8, 0
	if m.bits == 16 && m.order == binary.LittleEndian {
		high = 1
	}
	return each(m.samples*step, func(rgb, s []byte) {
		white := 255 - int32(s[high+3*step])
		for c := range rgb {
			t := int32(s[high+c*step])*white + 128
			rgb[c] = uint8(max(white-(t>>8+t)>>8, 0)) // t/255, rounded
		}
	})
}
