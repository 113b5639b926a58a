package picture

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"encoding/hex"
	"io"
	"regexp"

	"github.com/llavatrain/llavatrain/data/picture/tiff"
)

// metadata is what a file says about its orientation, in the places where Pillow's getexif looks (Image.py).
type metadata struct {
	exif []byte // a TIFF file, perhaps behind "Exif\0\0"
	xmp  []byte
}

// maxMetadata bounds one block that is read; larger ones are left out.
const maxMetadata = 4 << 20

var xmpOrientation = regexp.MustCompile(`tiff:Orientation(?:="|>)([0-9])`)

// orientation is tag 274 of the EXIF data, or what XMP says if they lack it; 1 if it is not 1 to 8.
func (m metadata) orientation() int {
	exif := m.exif
	for bytes.HasPrefix(exif, []byte("Exif\x00\x00")) {
		exif = exif[6:]
	}
	value, ok := tiff.Orientation(exif)
	if found := xmpOrientation.FindSubmatch(m.xmp); !ok && found != nil {
		value = int(found[1][0] - '0')
	}
	if value < 1 || value > 8 {
		return 1
	}
	return value
}

// section reads n bytes of a file, nil if they are not there or too many.
func section(f io.ReaderAt, at, n int64) []byte {
	if n < 0 || n > maxMetadata {
		return nil
	}
	data := make([]byte, n)
	if got, _ := f.ReadAt(data, at); int64(got) < n {
		return nil
	}
	return data
}

// jpegMetadata reads the segments APP1 before the first scan. Several ones of EXIF continue each other.
func jpegMetadata(f io.ReaderAt, _ int64) (m metadata) {
	for at := int64(2); ; {
		head := section(f, at, 4)
		switch {
		case head == nil || head[0] != 0xff:
			return m
		case head[1] == 0xff: // a fill byte
			at++
			continue
		case head[1] == markerSOS || head[1] == markerEOI:
			return m
		}
		size := int64(binary.BigEndian.Uint16(head[2:]))
		if head[1] == markerAPP0+1 {
			body := section(f, at+4, size-2)
			const xmp = "http://ns.adobe.com/xap/1.0/\x00"
			switch {
			case bytes.HasPrefix(body, []byte("Exif\x00\x00")) && m.exif == nil:
				m.exif = body
			case bytes.HasPrefix(body, []byte("Exif\x00\x00")):
				m.exif = append(m.exif, body[6:]...)
			case bytes.HasPrefix(body, []byte(xmp)):
				m.xmp = body[len(xmp):]
			}
		}
		at += 2 + max(size, 2)
	}
}

// webpMetadata reads the chunks that the header announces; they follow the image
// (developers.google.com/speed/webp/docs/riff_container).
func webpMetadata(f io.ReaderAt, size int64) (m metadata) {
	head := section(f, 12, 9)
	if head == nil || string(head[:4]) != "VP8X" || head[8]&(8|4) == 0 {
		return m
	}
	for at := int64(12); at < size; {
		chunk := section(f, at, 8)
		if chunk == nil {
			return m
		}
		length := int64(binary.LittleEndian.Uint32(chunk[4:]))
		switch string(chunk[:4]) {
		case "EXIF":
			if head[8]&8 != 0 && m.exif == nil {
				m.exif = section(f, at+8, length)
			}
		case "XMP ":
			if head[8]&4 != 0 && m.xmp == nil {
				m.xmp = section(f, at+8, length)
			}
		}
		at += 8 + length + length%2
	}
	return m
}

// pngMetadata reads the chunks eXIf, iTXt with XMP, and the text with EXIF data that ImageMagick wrote before eXIf
// existed. They may stand before or after the image.
func pngMetadata(f io.ReaderAt, size int64) (m metadata) {
	var profile []byte
	for at := int64(8); at < size; {
		chunk := section(f, at, 8)
		if chunk == nil {
			break
		}
		length := int64(binary.BigEndian.Uint32(chunk))
		switch string(chunk[4:]) {
		case "eXIf":
			m.exif = section(f, at+8, length)
		case "tEXt", "zTXt", "iTXt":
			switch key, text := pngText(string(chunk[4:]), section(f, at+8, length)); key {
			case "XML:com.adobe.xmp":
				m.xmp = text
			case "Raw profile type exif":
				profile = text
			}
		case "IEND":
			at = size
		}
		at += 12 + length
	}
	if m.exif == nil {
		m.exif = rawProfile(profile)
	}
	return m
}

// pngText is the keyword and text of a chunk (PNG specification, third edition, section 11.3.3).
func pngText(kind string, body []byte) (key string, text []byte) {
	name, text, _ := bytes.Cut(body, []byte{0})
	packed := kind == "zTXt" && len(text) > 0
	if packed {
		text = text[1:] // the method
	}
	if kind == "iTXt" && len(text) > 2 {
		packed = text[0] == 1
		_, text, _ = bytes.Cut(text[2:], []byte{0}) // language
		_, text, _ = bytes.Cut(text, []byte{0})     // translated keyword
	}
	if packed {
		inflated, err := zlib.NewReader(bytes.NewReader(text))
		if err != nil {
			return string(name), nil
		}
		text, _ = io.ReadAll(io.LimitReader(inflated, maxMetadata))
	}
	return string(name), text
}

// rawProfile is hexadecimal text in lines, behind an empty line, a name and a length.
func rawProfile(text []byte) []byte {
	lines := bytes.Split(text, []byte("\n"))
	if len(lines) < 4 {
		return nil
	}
	data, err := hex.DecodeString(string(bytes.Join(lines[3:], nil)))
	if err != nil {
		return nil
	}
	return data
}

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
