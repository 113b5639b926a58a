// Package gif decodes the first frame of a GIF file to the RGB bytes that Pillow gives (GifImagePlugin.py): [Parse]
// reads up to the frame's pixels, and [Image.RGB] decodes them (codes.go) onto the canvas. "Section" refers to the
// GIF89a specification.
package gif

import (
	"encoding/binary"
	"errors"
	"io"
)

// Image is the first frame on its canvas, not decoded.
type Image struct {
	Width, Height int // of the canvas, pixels; it grows with a frame that leads beyond it

	x, y, width, height int // of the frame
	interlaced          bool
	background          uint8 // the index around the frame
	colours             [256][3]uint8
	bits                int // of the first codes
	codes               []byte
}

// reader takes the parts of a file in turn.
type reader struct {
	rest   []byte
	failed bool
}

// take is the next n bytes; zeros if the file ends before.
func (r *reader) take(n int) []byte {
	if n > len(r.rest) {
		r.failed, r.rest = true, nil
		return make([]byte, n)
	}
	taken := r.rest[:n]
	r.rest = r.rest[n:]
	return taken
}

// Parse reads the blocks before the first frame, sections 17 to 26. An error names what is damaged.
func Parse(file []byte) (*Image, error) {
	r := &reader{rest: file}
	screen := r.take(13)
	m := &Image{Width: int(binary.LittleEndian.Uint16(screen[6:])), Height: int(binary.LittleEndian.Uint16(screen[8:]))}
	global, named := r.palette(screen[10])
	for !r.failed {
		switch kind := r.take(1)[0]; {
		case kind == ';' && !r.failed:
			return nil, errors.New("it ends without an image")
		case kind == '!':
			m.extension(r)
		case kind == ',':
			m.frame(r, global, named)
			if r.failed {
				return nil, io.ErrUnexpectedEOF
			}
			return m, nil
		}
	}
	return nil, io.ErrUnexpectedEOF
}

// palette reads a table of colours, if the flags announce one (sections 19 and 21). named reports whether it is more
// than the levels of grey in order, which Pillow does not take for a palette.
func (r *reader) palette(flags byte) (table []byte, named bool) {
	if flags&0x80 == 0 {
		return nil, false
	}
	table = r.take(3 << (flags&7 + 1))
	for i, v := range table {
		named = named || int(v) != i/3
	}
	return table, named
}

// extension reads an extension; that of section 23 may name a transparent index.
func (m *Image) extension(r *reader) {
	label := r.take(1)[0]
	for first := true; ; first = false {
		block := r.take(int(r.take(1)[0]))
		if len(block) == 0 {
			return
		}
		if label == 0xf9 && first && len(block) >= 4 && block[0]&1 != 0 {
			m.background = block[3]
		}
	}
}

// frame reads an image descriptor, section 20, and what follows up to the codes. A frame whose own palette is the
// levels of grey gets the global one in Pillow; without a palette indices are levels. One beyond a palette is black.
func (m *Image) frame(r *reader, global []byte, named bool) {
	d := r.take(9)
	m.x, m.y = int(binary.LittleEndian.Uint16(d)), int(binary.LittleEndian.Uint16(d[2:]))
	m.width, m.height = int(binary.LittleEndian.Uint16(d[4:])), int(binary.LittleEndian.Uint16(d[6:]))
	m.Width, m.Height = max(m.Width, m.x+m.width), max(m.Height, m.y+m.height)
	m.interlaced = d[8]&0x40 != 0
	table := global
	if local, ok := r.palette(d[8]); ok {
		table, named = local, true
	}
	for i := range m.colours {
		switch {
		case !named:
			m.colours[i] = [3]uint8{uint8(i), uint8(i), uint8(i)}
		case 3*i < len(table):
			m.colours[i] = [3]uint8(table[3*i:])
		}
	}
	m.bits, m.codes = int(r.take(1)[0]), r.rest
}

// RGB decodes the frame: three bytes a pixel, rows from the top. The caller has checked the size, to which the memory
// is proportional.
func (m *Image) RGB() ([]uint8, error) {
	indices := make([]uint8, m.width*m.height)
	for i := range indices {
		indices[i] = m.background
	}
	if err := m.decode(indices); err != nil {
		return nil, err
	}
	out := make([]uint8, 0, 3*m.Width*m.Height)
	around := m.colours[m.background]
	for y := range m.Height {
		for x := range m.Width {
			colour := around
			if i, j := x-m.x, y-m.y; i >= 0 && i < m.width && j >= 0 && j < m.height {
				colour = m.colours[indices[j*m.width+i]]
			}
			out = append(out, colour[:]...)
		}
	}
	return out, nil
}
