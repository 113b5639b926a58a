// Package bmp decodes Windows and OS/2 bitmaps to the RGB bytes that Pillow gives (BmpImagePlugin.py): [Parse] reads
// the header and says how pixels are stored, and [Image.RGB] converts them, after undoing run-length coding (runs.go).
// The layout is that of Microsoft's documentation of BITMAPINFOHEADER and its forerunner and successors.
package bmp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Image is a bitmap, not decoded.
type Image struct {
	Width, Height int // pixels

	file        []byte
	bits        int // per pixel
	compression uint32
	topDown     bool
	pixels      uint64 // their offset in the file
	masks       [4]uint32
	palette     [][3]uint8
	convert     func(dst, row []byte)
}

const (
	uncompressed = 0
	runs8        = 1
	runs4        = 2
	bitFields    = 3

	fileHeader = 14 // bytes
	coreHeader = 12 // bytes; OS/2's
)

// headerSizes are those of the headers that follow the file header.
var headerSizes = []int{coreHeader, 40, 52, 56, 64, 108, 124}

// Parse reads the header and the palette. An error names what is damaged or not supported.
func Parse(file []byte) (*Image, error) {
	if len(file) < fileHeader+4 {
		return nil, io.ErrUnexpectedEOF
	}
	size := int(binary.LittleEndian.Uint32(file[fileHeader:]))
	if !slices.Contains(headerSizes, size) {
		return nil, fmt.Errorf("header of %d bytes is not supported; save it as PNG", size)
	}
	if len(file) < fileHeader+size {
		return nil, io.ErrUnexpectedEOF
	}
	m := &Image{file: file, pixels: uint64(binary.LittleEndian.Uint32(file[10:]))}
	header, end := file[fileHeader:][:size], fileHeader+size
	colours, entry := 0, 4
	if size == coreHeader {
		m.Width, m.Height = int(binary.LittleEndian.Uint16(header[4:])), int(binary.LittleEndian.Uint16(header[6:]))
		m.bits, entry = int(binary.LittleEndian.Uint16(header[10:])), 3
	} else {
		m.Width = int(binary.LittleEndian.Uint32(header[4:]))
		height := binary.LittleEndian.Uint32(header[8:])
		if m.topDown = header[11] == 0xff; m.topDown {
			height = -height
		}
		m.Height, m.bits = int(height), int(binary.LittleEndian.Uint16(header[14:]))
		m.compression = binary.LittleEndian.Uint32(header[16:])
		colours = int(binary.LittleEndian.Uint32(header[32:]))
	}
	if err := m.readMasks(header, &end); err != nil {
		return nil, err
	}
	if m.pixels == 0 {
		m.pixels = uint64(end)
	}
	if m.bits <= 8 {
		if err := m.readPalette(end, colours, entry); err != nil {
			return nil, err
		}
	}
	return m, m.chooseConverter()
}

// readMasks reads which bits are red, green, blue and alpha: from the header, or behind one of 40 bytes.
func (m *Image) readMasks(header []byte, end *int) error {
	if m.compression != bitFields {
		return nil
	}
	masks := header[min(40, len(header)):]
	if len(header) == 40 {
		masks = m.file[*end:]
		*end += 12
		if len(masks) < 12 {
			return io.ErrUnexpectedEOF
		}
	}
	count := 3
	if len(header) >= 56 {
		count = 4
	}
	for i := range count {
		m.masks[i] = binary.LittleEndian.Uint32(masks[4*i:])
	}
	return nil
}

// readPalette reads as many colours as the header says, or as the bits can number. If the pixels are said to start
// where the palette does, they start behind it.
func (m *Image) readPalette(at, colours, entry int) error {
	if colours == 0 {
		colours = 1 << m.bits
	}
	if colours > 256 {
		return fmt.Errorf("palette of %d colours is not supported; save it as PNG", colours)
	}
	table := m.file[min(at, len(m.file)):]
	if len(table) < colours*entry {
		return io.ErrUnexpectedEOF
	}
	if m.pixels == uint64(at) {
		m.pixels = uint64(at + colours*entry)
	}
	grey := true
	for i := range colours {
		colour := [3]uint8{table[entry*i+2], table[entry*i+1], table[entry*i]}
		level := uint8(i)
		if colours == 2 && i == 1 {
			level = 255
		}
		grey = grey && colour == [3]uint8{level, level, level}
		m.palette = append(m.palette, colour)
	}
	// Pillow then takes the pixels as levels of grey with 1 bit, or with 8.
	if taken := map[bool]int{true: 1, false: 8}[colours <= 2]; grey && taken != m.bits &&
		m.compression == uncompressed {
		return fmt.Errorf("grey palette of %d colours with %d bits is not supported; save it as PNG", colours, m.bits)
	}
	return nil
}

// chooseConverter finds how a row becomes RGB.
func (m *Image) chooseConverter() error {
	switch runs := m.compression == runs8 || m.compression == runs4; {
	case m.compression == 4 || m.compression == 5:
		return errors.New("JPEG or PNG within it is not supported; save it as PNG")
	case m.compression > bitFields, runs && m.bits != 4 && m.bits != 8:
		return fmt.Errorf("compression %d with %d bits is not supported; save it as PNG", m.compression, m.bits)
	case m.compression == bitFields:
		return m.chooseFields()
	case runs:
		m.convert = m.indices(8)
	case m.bits == 1 || m.bits == 4 || m.bits == 8:
		m.convert = m.indices(m.bits)
	case m.bits == 16:
		m.convert = packed(5, 5)
	case m.bits == 24 || m.bits == 32:
		m.convert = m.channels([3]int{2, 1, 0})
	default:
		return fmt.Errorf("%d bits per pixel are not supported; save it as PNG", m.bits)
	}
	return nil
}

// fields are the layouts of bits that Pillow reads, with the bytes of red, green and blue.
var fields = []struct {
	bits  int
	masks [4]uint32
	at    [3]int
}{
	{32, [4]uint32{0xff0000, 0xff00, 0xff, 0}, [3]int{2, 1, 0}},
	{32, [4]uint32{0xff000000, 0xff0000, 0xff00, 0}, [3]int{3, 2, 1}},
	{32, [4]uint32{0xff000000, 0xff00, 0xff, 0}, [3]int{3, 1, 0}},
	{32, [4]uint32{0xff000000, 0xff0000, 0xff00, 0xff}, [3]int{3, 2, 1}},
	{32, [4]uint32{0xff, 0xff00, 0xff0000, 0xff000000}, [3]int{0, 1, 2}},
	{32, [4]uint32{0xff0000, 0xff00, 0xff, 0xff000000}, [3]int{2, 1, 0}},
	{32, [4]uint32{0xff000000, 0xff00, 0xff, 0xff0000}, [3]int{3, 1, 0}},
	{32, [4]uint32{}, [3]int{2, 1, 0}},
	{24, [4]uint32{0xff0000, 0xff00, 0xff}, [3]int{2, 1, 0}},
}

func (m *Image) chooseFields() error {
	masks := m.masks
	if m.bits != 32 {
		masks[3] = 0 // ignored
	}
	for _, f := range fields {
		if f.bits == m.bits && f.masks == masks {
			m.convert = m.channels(f.at)
			return nil
		}
	}
	switch {
	case m.bits == 16 && masks == [4]uint32{0xf800, 0x7e0, 0x1f}:
		m.convert = packed(6, 5)
	case m.bits == 16 && masks == [4]uint32{0x7c00, 0x3e0, 0x1f}:
		m.convert = packed(5, 5)
	default:
		return fmt.Errorf("bit fields %#x of %d bits are not supported; save it as PNG", m.masks, m.bits)
	}
	return nil
}

// channels is for pixels of whole bytes.
func (m *Image) channels(at [3]int) func(dst, row []byte) {
	size := m.bits / 8
	return func(dst, row []byte) {
		for ; len(dst) >= 3; dst, row = dst[3:], row[size:] {
			dst[0], dst[1], dst[2] = row[at[0]], row[at[1]], row[at[2]]
		}
	}
}

// packed is for pixels of 16 bits: blue in the lowest 5, then green and red.
func packed(green, red int) func(dst, row []byte) {
	level := func(v, bits int) uint8 { return uint8(v & (1<<bits - 1) * 255 / (1<<bits - 1)) }
	return func(dst, row []byte) {
		for ; len(dst) >= 3; dst, row = dst[3:], row[2:] {
			v := int(binary.LittleEndian.Uint16(row))
			dst[0], dst[1], dst[2] = level(v>>(5+green), red), level(v>>5, green), level(v, 5)
		}
	}
}

// indices is for numbers of colours. One beyond the palette is black.
func (m *Image) indices(bits int) func(dst, row []byte) {
	var table [256][3]uint8
	copy(table[:], m.palette)
	return func(dst, row []byte) {
		for x := range len(dst) / 3 {
			at := x * bits
			copy(dst[3*x:3*x+3], table[int(row[at/8])>>(8-bits-at%8)&(1<<bits-1)][:])
		}
	}
}

// RGB decodes the pixels: three bytes each, rows from the top. The caller has checked the size, to which the memory is
// proportional.
func (m *Image) RGB() ([]uint8, error) {
	if m.pixels > uint64(len(m.file)) {
		return nil, io.ErrUnexpectedEOF
	}
	stored, bits := m.file[m.pixels:], m.bits
	stride := (m.Width*bits + 31) / 32 * 4
	if m.compression == runs8 || m.compression == runs4 {
		stored, bits, stride = m.unpack(), 8, m.Width
	}
	needed := (m.Width*bits + 7) / 8 // of the last row, which may lack its padding
	if len(stored) < stride*(m.Height-1)+needed {
		return nil, io.ErrUnexpectedEOF
	}
	out := make([]uint8, 3*m.Width*m.Height)
	for i := range m.Height {
		y := i
		if !m.topDown {
			y = m.Height - 1 - i
		}
		m.convert(out[3*y*m.Width:][:3*m.Width], stored[i*stride:][:needed])
	}
	return out, nil
}
