package picture

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/png"
)

// plainRGB converts images without subsampled colour as Pillow's convert("RGB") does: alpha is dropped, not composited;
// of 16 bits per channel the upper 8 are kept, but 16-bit grey is clipped at 255 (Pillow's mode "I;16",
// libImaging/Convert.c).
func plainRGB(img image.Image) (*RGB, error) {
	switch m := img.(type) {
	case *image.Gray:
		return pick(m.Rect, m.Pix, m.Stride, 1, [3]int{0, 0, 0}), nil
	case *image.NRGBA:
		return pick(m.Rect, m.Pix, m.Stride, 4, [3]int{0, 1, 2}), nil
	case *image.RGBA: // opaque in every format that gives it
		return pick(m.Rect, m.Pix, m.Stride, 4, [3]int{0, 1, 2}), nil
	case *image.NRGBA64:
		return pick(m.Rect, m.Pix, m.Stride, 8, [3]int{0, 2, 4}), nil
	case *image.RGBA64:
		return pick(m.Rect, m.Pix, m.Stride, 8, [3]int{0, 2, 4}), nil
	case *image.Gray16:
		return gray16RGB(m), nil
	case *image.Paletted:
		return palettedRGB(m), nil
	}
	return nil, fmt.Errorf("pixels of type %T are not supported", img)
}

// pick copies, from each pixel of step bytes, the three bytes at the given offsets.
func pick(bounds image.Rectangle, pix []uint8, stride, step int, at [3]int) *RGB {
	out := newRGB(bounds.Dx(), bounds.Dy())
	dst := out.Pix
	for y := range out.H {
		row := pix[y*stride:][:out.W*step]
		for len(row) >= step {
			dst[0], dst[1], dst[2] = row[at[0]], row[at[1]], row[at[2]]
			dst, row = dst[3:], row[step:]
		}
	}
	return out
}

func gray16RGB(m *image.Gray16) *RGB {
	out := newRGB(m.Rect.Dx(), m.Rect.Dy())
	dst := out.Pix
	for y := range out.H {
		for row := m.Pix[y*m.Stride:][:2*out.W]; len(row) > 0; row, dst = row[2:], dst[3:] {
			v := row[1]
			if row[0] != 0 {
				v = 255
			}
			dst[0], dst[1], dst[2] = v, v, v
		}
	}
	return out
}

func palettedRGB(m *image.Paletted) *RGB {
	var table [256][3]uint8 // an index beyond the palette is black
	for i, entry := range m.Palette[:min(len(m.Palette), 256)] {
		if c, ok := entry.(color.NRGBA); ok {
			table[i] = [3]uint8{c.R, c.G, c.B}
			continue
		}
		r, g, b, _ := entry.RGBA()
		table[i] = [3]uint8{uint8(r >> 8), uint8(g >> 8), uint8(b >> 8)}
	}
	out := newRGB(m.Rect.Dx(), m.Rect.Dy())
	dst := out.Pix
	for y := range out.H {
		for _, index := range m.Pix[y*m.Stride:][:out.W] {
			copy(dst[:3], table[index][:])
			dst = dst[3:]
		}
	}
	return out
}

// decodePNG keeps 16-bit grey with a transparent value as 16-bit grey: the standard decoder expands it to four
// channels.
// What that refuses and Pillow does not look at is left out in a second attempt.
func decodePNG(file []byte) (*RGB, error) {
	img, err := png.Decode(bytes.NewReader(file))
	if err != nil {
		var again error
		if img, again = png.Decode(bytes.NewReader(essentialPNG(file))); again != nil {
			return nil, err
		}
	}
	const colourType = 25 // its place in the file; 0 is grey
	deep, ok := img.(*image.NRGBA64)
	if !ok || file[colourType] != 0 {
		return plainRGB(img)
	}
	grey := image.NewGray16(deep.Rect)
	for i := range len(grey.Pix) / 2 {
		copy(grey.Pix[2*i:2*i+2], deep.Pix[8*i:])
	}
	return gray16RGB(grey), nil
}

// essentialPNG is a file up to its pixels, with their checksums as they should be, and without what follows. The data
// of the pixels has a checksum of its own.
func essentialPNG(file []byte) []byte {
	out, data := append([]byte(nil), file[:min(8, len(file))]...), []byte(nil)
	for at := len(out); len(file)-at >= 8; {
		length := int(binary.BigEndian.Uint32(file[at:]))
		name, end := string(file[at+4:at+8]), min(at+8+length, len(file))
		if name != "IDAT" && data != nil {
			break
		}
		if name == "IDAT" {
			data = append(data, file[at+8:end]...)
		} else {
			out = append(out, file[at:min(end+4, len(file))]...)
		}
		at = end + 4
	}
	for _, chunk := range [][]byte{append([]byte("IDAT"), data...), []byte("IEND")} {
		out = binary.BigEndian.AppendUint32(out, uint32(len(chunk)-4))
		out = append(out, chunk...)
		out = binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(chunk))
	}
	return out
}
