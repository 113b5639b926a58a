package picture

import (
	"bytes"
	"errors"
	"image"
	"image/color"
	"image/jpeg"
	"testing"
)

// withoutTables removes the Huffman tables of a JPEG file for which drop says so, by class<<4 | slot. It stops at the
// first scan.
func withoutTables(t *testing.T, file []byte, drop func(table byte) bool) []byte {
	t.Helper()
	out := bytes.Clone(file[:2])
	for at := 2; ; {
		marker, size := file[at+1], int(file[at+2])<<8|int(file[at+3])
		if marker == markerSOS {
			return append(out, file[at:]...)
		}
		body := file[at+4 : at+2+size]
		if marker != markerDHT {
			out = append(out, file[at:at+2+size]...)
		}
		for marker == markerDHT && len(body) > 0 {
			n := 17
			for _, count := range body[1:17] {
				n += int(count)
			}
			if !drop(body[0]) {
				out = append(append(out, 0xff, markerDHT, byte((n+2)>>8), byte(n+2)), body[:n]...)
			}
			body = body[n:]
		}
		at += 2 + size
	}
}

// Go writes the standard tables. An image without them, or without some, is the same image.
func TestJPEGWithoutHuffmanTables(t *testing.T) {
	colours := image.NewRGBA(image.Rect(0, 0, 61, 43))
	grey := image.NewGray(colours.Bounds())
	for y := range 43 {
		for x := range 61 {
			c := color.RGBA{uint8(x * 4), uint8(y * 5), uint8(x * y), 255}
			colours.Set(x, y, c)
			grey.Set(x, y, color.Gray{uint8(x*x + 3*y)})
		}
	}
	for name, source := range map[string]image.Image{"colours": colours, "grey": grey} {
		for _, quality := range []int{5, 75, 100} { // long and short codes
			var file bytes.Buffer
			if err := jpeg.Encode(&file, source, &jpeg.Options{Quality: quality}); err != nil {
				t.Fatal(err)
			}
			want, err := Decode(file.Bytes())
			if err != nil {
				t.Fatal(err)
			}
			for dropped, drop := range map[string]func(table byte) bool{
				"all":         func(byte) bool { return true },
				"means":       func(table byte) bool { return table>>4 == 0 },
				"luminance":   func(table byte) bool { return table&15 == 0 },
				"chrominance": func(table byte) bool { return table&15 == 1 },
			} {
				short := withoutTables(t, file.Bytes(), drop)
				got, err := Decode(short)
				if err != nil || !bytes.Equal(got.Pix, want.Pix) {
					t.Errorf("%s at quality %d, without %s: another image, error %v", name, quality, dropped, err)
				}
			}
		}
	}
}

// libjpeg refuses a progressive image without tables.
func TestProgressiveJPEGNeedsItsTables(t *testing.T) {
	file := readTestFile(t, "testdata/image_refining.jpg")
	if _, err := Decode(withoutTables(t, file, func(byte) bool { return true })); !errors.Is(err, ErrRow) {
		t.Errorf("error %v", err)
	}
}
