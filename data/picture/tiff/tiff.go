// Package tiff decodes the first image of a TIFF file to the RGB bytes that Pillow gives.
//
//  1. [Parse] reads the first directory (directory.go) and derives from its tags how pixels are stored. It refuses by
//     name what Pillow does not read, and what Pillow reads as noise (layout.go).
//  2. [Image.RGB] goes through the strips or tiles. A rowReader decompresses one of them a row at a time
//     (compression.go, fax.go; JPEG is the caller's), and undoes the prediction of differences (predictor.go).
//  3. A converter turns stored rows into RGB (convert.go, ycbcr.go).
//
// "TIFF 6.0" is Adobe's specification of 1992. What it leaves to the reader follows Pillow (TiffImagePlugin.py), which
// reads uncompressed files itself and all others by libtiff. The orientation ([Orientation]) is not applied here.
package tiff

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Image is the first image of a file, not decoded.
type Image struct {
	Width, Height int // pixels, as stored
	XMP           []byte

	file        []byte
	order       binary.ByteOrder
	compression int
	photometric int
	planes      bool // each sample of a pixel is stored in a plane of its own
	reversed    bool // bits are filled from the lowest one up (FillOrder 2)
	bits        int  // per sample
	samples     int  // per pixel
	extra       []uint64
	format      int // of samples: unsigned, signed or floating
	predictor   int
	faxOptions  uint64
	jpegTables  []byte
	colours     [][3]uint8 // of a palette

	tiled                   bool
	chunkWidth, chunkHeight int // of a strip or tile, pixels
	offsets, counts         []uint64
	across, down            int // pixels that share one sample of colour; 1 but for YCbCr
	convert                 converter
}

// JPEG decodes one strip or tile, a JPEG stream of the given width with at least the given rows and at most area
// pixels, to interleaved samples. If colour is set, they are converted from YCbCr to RGB; otherwise they stay as they
// are. It checks the size before it allocates.
type JPEG func(stream []byte, width, rows, area int, colour bool) (pix []uint8, err error)

// RGB decodes the image: three bytes a pixel, rows from the top as stored. The caller has checked the size, to which
// the memory is proportional.
func (m *Image) RGB(jpeg JPEG) ([]uint8, error) {
	out := make([]uint8, 3*m.Width*m.Height)
	number := 0
	for y := 0; y < m.Height; y += m.chunkHeight {
		for x := 0; x < m.Width; x += m.chunkWidth {
			if err := m.chunk(out, x, y, number, jpeg); err != nil {
				return nil, fmt.Errorf("%s %d: %w", m.chunkName(), number, err)
			}
			number++
		}
	}
	return out, nil
}

func (m *Image) chunkName() string {
	if m.tiled {
		return "tile"
	}
	return "strip"
}

// chunk decodes the strip or tile whose first pixel is at x, y.
func (m *Image) chunk(out []uint8, x, y, number int, jpeg JPEG) error {
	columns, rows := min(m.chunkWidth, m.Width-x), min(m.chunkHeight, m.Height-y)
	reader, err := m.open(number, rows, jpeg)
	if err != nil {
		return err
	}
	row := make([]byte, m.rowBytes(m.storedPlanes())*m.storedPlanes())
	stored := rows
	if m.tiled && m.compression != uncompressed && m.compression != jpegInTIFF {
		stored = m.chunkHeight // damage below the image counts
	}
	for done := 0; done < stored; done += m.down {
		if err := reader.row(row); err != nil {
			return err
		}
		if done >= rows {
			continue
		}
		m.convert(area{pix: out[3*((y+done)*m.Width+x):], stride: 3 * m.Width, columns: columns,
			rows: min(m.down, rows-done)}, row)
	}
	return reader.finish()
}

// storedPlanes is how many planes hold the samples of a pixel.
func (m *Image) storedPlanes() int {
	if m.planes {
		return m.samples
	}
	return 1
}

// rowBytes is the size of a stored row of a strip or tile, in each of several planes. Rows end at whole bytes (TIFF
// 6.0, section 3). With shared colours, a row holds groups of across x down levels with their two colours (section 21).
func (m *Image) rowBytes(planes int) int {
	if m.across*m.down > 1 {
		return ceilDiv(m.chunkWidth, m.across) * (m.across*m.down + 2)
	}
	return ceilDiv(m.chunkWidth*m.bits*m.samples/planes, 8)
}

// open returns the reader of the strip or tile with this number. Planes follow each other (TIFF 6.0, page 38).
func (m *Image) open(number, rows int, jpeg JPEG) (rowReader, error) {
	planes := m.storedPlanes()
	if planes == 1 {
		return m.openPlane(number, rows, 1, jpeg)
	}
	perPlane := m.chunks()
	joined := &planeReader{bytes: m.bits / 8, rows: make([][]byte, planes)}
	for p := range planes {
		reader, err := m.openPlane(p*perPlane+number, rows, planes, jpeg)
		if err != nil {
			return nil, err
		}
		joined.readers = append(joined.readers, reader)
		joined.rows[p] = make([]byte, m.rowBytes(planes))
	}
	return joined, nil
}

// chunks is the number of strips or tiles of one plane.
func (m *Image) chunks() int {
	return ceilDiv(m.Width, m.chunkWidth) * ceilDiv(m.Height, m.chunkHeight)
}

// stored returns the bytes of a strip or tile. As in Pillow, one without compression ends where its pixels do, whatever
// its count says.
func (m *Image) stored(number int) ([]byte, error) {
	offset, size := m.offsets[number], uint64(len(m.file))
	if offset > size {
		return nil, io.ErrUnexpectedEOF
	}
	rest := m.file[offset:]
	if m.compression == uncompressed || number >= len(m.counts) {
		return rest, nil
	}
	if count := m.counts[number]; count <= uint64(len(rest)) {
		return rest[:count], nil
	}
	return nil, io.ErrUnexpectedEOF
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }
