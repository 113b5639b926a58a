package picture

import (
	"fmt"
	"image"
	"io"

	"github.com/llavatrain/llavatrain/data/picture/tiff"
)

// tiffHeader gives the size after turning: Pillow turns TIFF files, and no others, by their orientation.
func tiffHeader(file []byte) (image.Config, error) {
	m, err := tiff.Parse(file)
	if err != nil {
		return image.Config{}, err
	}
	if swapsSides(tiffOrientation(file, m)) {
		m.Width, m.Height = m.Height, m.Width
	}
	return image.Config{Width: m.Width, Height: m.Height}, nil
}

func tiffDecode(file []byte) (*RGB, error) {
	m, err := tiff.Parse(file)
	if err != nil {
		return nil, err
	}
	pix, err := m.RGB(jpegSamples)
	if err != nil {
		return nil, err
	}
	return turned(&RGB{m.Width, m.Height, pix}, tiffOrientation(file, m)), nil
}

func tiffOrientation(file []byte, m *tiff.Image) int {
	return metadata{exif: file, xmp: m.XMP}.orientation()
}

// tiffMetadata is for a whole file.
func tiffMetadata(f io.ReaderAt, size int64) metadata {
	file := make([]byte, size)
	if _, err := io.ReadFull(io.NewSectionReader(f, 0, size), file); err != nil {
		return metadata{}
	}
	m, err := tiff.Parse(file)
	if err != nil {
		return metadata{}
	}
	return metadata{exif: file, xmp: m.XMP}
}

// jpegSamples decodes a strip or tile of a TIFF for [tiff.JPEG]. Its colours are what the TIFF says, not what its
// markers do.
func jpegSamples(stream []byte, width, rows, area int, colour bool) ([]uint8, error) {
	d, err := readJPEG(stream, markerSOF0)
	if err != nil {
		return nil, err
	}
	if d.width != width || d.height < rows || d.height > area/width {
		return nil, fmt.Errorf("its JPEG is of %dx%d pixels, not %dx%d", d.width, d.height, width, rows)
	}
	for _, c := range d.components {
		if !colour && (c.across != d.acrossMax || c.down != d.downMax) {
			return nil, fmt.Errorf("its JPEG has sampling factors that only YCbCr may have")
		}
	}
	if d, err = decodeComponents(stream); err != nil {
		return nil, err
	}
	if !colour {
		return d.convert(len(d.components), interleave), nil
	}
	if len(d.components) != 3 {
		return nil, fmt.Errorf("its JPEG has %d components, not 3", len(d.components))
	}
	return d.convert(3, func(dst []uint8, rows [][]uint8) { jfifRow(dst, rows[0], rows[1], rows[2]) }), nil
}
