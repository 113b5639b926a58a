package picture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"image"
	"image/jpeg"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// That whole images equal libjpeg's is tested with those of every format, in TestDecodeEqualsPillow.

// TestTransform compares with the definition, T.81 A.3.3, in floating point.
func TestTransform(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b jpegBlock
		var places uint8
		for _, k := range rapid.SliceOfN(rapid.IntRange(0, 63), 0, 20).Draw(t, "places") {
			b[k] = int16(rapid.IntRange(-300, 300).Draw(t, "coefficient"))
			places |= uint8(k)
		}
		c := &jpegComponent{pix: make([]uint8, 128), stride: 16}
		c.transform(&b, places < 8, 1, 0)
		for i := range 64 {
			if got, want := float64(c.pix[i/8*16+8+i%8]), cosineSum(&b, i%8, i/8); math.Abs(got-want) > 0.6 {
				t.Fatalf("sample %d of %v: %v, want %v", i, b, got, want)
			}
		}
	})
}

func cosineSum(b *jpegBlock, x, y int) float64 {
	sum := 0.0
	for i, v := range b {
		u, w := i%8, i/8
		term := float64(v) / 4 * math.Cos(float64((2*x+1)*u)*math.Pi/16) * math.Cos(float64((2*y+1)*w)*math.Pi/16)
		if u == 0 {
			term /= math.Sqrt2
		}
		if w == 0 {
			term /= math.Sqrt2
		}
		sum += term
	}
	return min(max(sum+128, 0), 255)
}

// TestTransformSaturates: values that no undamaged image holds end as in the vector code of libjpeg-turbo: a row
// alone wraps.
func TestTransformSaturates(t *testing.T) {
	for _, test := range []struct {
		first, below int16
		want         uint8
	}{
		{first: 8191, want: 255}, {first: 8192, want: 0}, {first: -8193, want: 255}, {first: 8192, below: 1, want: 255},
	} {
		c := &jpegComponent{pix: make([]uint8, 64), stride: 8}
		c.transform(&jpegBlock{0: test.first, 8: test.below}, test.below == 0, 0, 0)
		if got := c.pix[0]; got != test.want {
			t.Errorf("%+v: %d", test, got)
		}
	}
}

func TestHuffmanTable(t *testing.T) {
	table, err := newHuffmanTable([16]uint8{0: 1, 2: 1, 10: 2}, []uint8{7, 8, 9, 10})
	if err != nil {
		t.Fatal(err)
	}
	for code, want := range map[string]struct{ symbol, length int }{
		"0": {7, 1}, "100": {8, 3}, "10100000000": {9, 11}, "10100000001": {10, 11}, "10100000010": {0, 17},
		"11": {0, 17},
	} {
		bits, err := strconv.ParseUint(code, 2, 64)
		if err != nil {
			t.Fatal(err)
		}
		symbol, length := table.find(bits << (64 - len(code)))
		if symbol != want.symbol || length != want.length {
			t.Errorf("code %s: symbol %d of %d bits, want %v", code, symbol, length, want)
		}
	}
	if _, err := newHuffmanTable([16]uint8{3}, []uint8{1, 2, 3}); err == nil {
		t.Error("three codes of one bit are accepted")
	}
}

// TestEntropyReader: a stuffed 0xff is data, fill bytes are not, and after a marker there are only zeros.
func TestEntropyReader(t *testing.T) {
	r := &entropyReader{file: []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 0xff, 0, 10, 0xff, 0xff, 0xd9, 11, 12, 13, 14, 15, 16,
		17, 18}}
	for i, want := range []int32{1, 2, 3, 4, 5, 6, 7, 8, 9, 255, 10} {
		if got := r.take(8); got != want || r.count < 0 {
			t.Fatalf("byte %d: %d (count %d), want %d", i, got, r.count, want)
		}
	}
	if got := r.take(9); got != 0 || r.count >= 0 || r.marker != markerEOI {
		t.Errorf("after the marker %#x: %d, count %d", r.marker, got, r.count)
	}
}

func segment(marker byte, body ...byte) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{0xff, marker}, uint16(len(body)+2)), body...)
}

// frame is a frame header; components are three bytes each: id, sampling factors, quantization table.
func frame(marker byte, w, h int, components ...byte) []byte {
	body := binary.BigEndian.AppendUint16([]byte{8}, uint16(h))
	body = append(binary.BigEndian.AppendUint16(body, uint16(w)), byte(len(components)/3))
	return segment(marker, append(body, components...)...)
}

func TestJPEGRefuses(t *testing.T) {
	grey := []byte{1, 0x11, 0}
	tables := append(segment(markerDQT, make([]byte, 65)...),
		segment(markerDHT, append([]byte{0, 1}, make([]byte, 16)...)...)...)
	firstDC := segment(markerSOS, 1, 1, 0, 0, 0, 0)
	refining := readTestFile(t, "testdata/image_refining.jpg")
	scans := readTestFile(t, "testdata/image_scans.jpg")
	for _, test := range []struct {
		name, want string
		parts      [][]byte
	}{
		{"arithmetic", "arithmetic coding", [][]byte{frame(0xc9, 8, 8, grey...)}},
		{"lossless", "lossless", [][]byte{frame(0xc3, 8, 8, grey...)}},
		{"12 bits", "12 bits per sample", [][]byte{segment(0xc1, 12, 0, 8, 0, 8, 1, 1, 0x11, 0)}},
		{"two components", "2 components", [][]byte{frame(0xc0, 8, 8, 1, 0x11, 0, 2, 0x11, 0)}},
		{"no height", "does not give its full size (8x0)", [][]byte{frame(0xc0, 8, 0, grey...)}},
		{"factor 0", "sampling factors 0x1", [][]byte{frame(0xc0, 8, 8, 1, 0x01, 0)}},
		{"factors 2 and 3", "2x1 do not divide 3x1", [][]byte{frame(0xc0, 8, 8, 1, 0x31, 0, 2, 0x21, 0, 3, 0x11, 0)}},
		{"frame header", "frame header of 9 bytes is damaged", [][]byte{segment(0xc0, 8, 0, 8, 0, 8, 2, 1, 0x11, 0)}},
		{"limit", "65535x65535 is over the limit", [][]byte{frame(0xc2, 65535, 65535, grey...)}},
		{"two frames", "second frame", [][]byte{frame(0xc0, 8, 8, grey...), frame(0xc0, 8, 8, grey...)}},
		{"no frame", "without an image", [][]byte{{0xff, markerEOI}}},
		{"scan first", "scan before its frame", [][]byte{firstDC}},
		{"unknown marker", "marker 0x2", [][]byte{segment(2)}},
		{"quantization", "quantization table 5",
			[][]byte{segment(markerDQT, append([]byte{5}, make([]byte, 64)...)...)}},
		{"no quantization", "quantization table 0 is missing", [][]byte{frame(0xc0, 8, 8, grey...), firstDC}},
		{"Huffman", "class 2 with 0 codes is damaged",
			[][]byte{segment(markerDHT, append([]byte{0x20}, make([]byte, 16)...)...)}},
		{"no Huffman", "Huffman table of component 1 is missing",
			[][]byte{tables, frame(0xc2, 8, 8, grey...), segment(markerSOS, 1, 1, 0, 1, 5, 0)}},
		{"no third Huffman", "Huffman table of component 1 is missing",
			[][]byte{tables, frame(0xc0, 8, 8, grey...), segment(markerSOS, 1, 1, 0x22, 0, 63, 0)}},
		{"scan header", "scan header of 5 bytes",
			[][]byte{frame(0xc0, 8, 8, grey...), segment(markerSOS, 1, 1, 0, 0, 0)}},
		{"other component", "component 9",
			[][]byte{tables, frame(0xc0, 8, 8, grey...), segment(markerSOS, 1, 9, 0, 0, 0, 0)}},
		{"band", "coefficients 1 to 64",
			[][]byte{tables, frame(0xc2, 8, 8, grey...), segment(markerSOS, 1, 1, 0, 1, 64, 0)}},
		{"interleaved", "interleaves 17 blocks", [][]byte{tables, frame(0xc2, 8, 8, 1, 0x44, 0, 2, 0x11, 0, 3, 0x11, 0),
			segment(markerSOS, 2, 1, 0, 2, 0, 0, 0, 0)}},
		{"scans", "more than 200 scans", append([][]byte{tables, frame(0xc2, 8, 8, grey...)},
			slices.Repeat([][]byte{firstDC}, 201)...)},
		{"component twice", "component 2 appears twice",
			[][]byte{scans[2:bytes.LastIndex(scans, []byte{0xff, markerSOS})],
				scans[bytes.Index(scans, []byte{0xff, markerSOS}):]}},
		{"no last scan", "component 1 has no scan",
			[][]byte{scans[2:bytes.LastIndex(scans, []byte{0xff, markerSOS})], {0xff, markerEOI}}},
		{"no last bits", "component 2 lacks scans",
			[][]byte{refining[2:bytes.LastIndex(refining, []byte{0xff, markerSOS})],
				{0xff, markerEOI}}},
		{"no end marker", "JPEG cannot be decoded: file is truncated", [][]byte{scans[2 : len(scans)-2]}},
	} {
		_, err := Decode(append([]byte{0xff, 0xd8}, bytes.Join(test.parts, nil)...))
		if err == nil || !errors.Is(err, ErrRow) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want %q", test.name, err, test.want)
		}
	}
}

// TestJPEGNearStandard compares planes, before any conversion, with Go's own decoder, whose inverse transform rounds
// otherwise.
func TestJPEGNearStandard(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, h := rapid.IntRange(1, 40).Draw(t, "width"), rapid.IntRange(1, 40).Draw(t, "height")
		source := image.NewNRGBA(image.Rect(0, 0, w, h))
		step := rapid.IntRange(1, 99).Draw(t, "step")
		for i := range source.Pix {
			source.Pix[i] = uint8(i*step + i*i/97)
		}
		var file bytes.Buffer
		if err := jpeg.Encode(&file, source,
			&jpeg.Options{Quality: rapid.IntRange(1, 100).Draw(t, "quality")}); err != nil {
			t.Fatal(err)
		}
		ours, err := readJPEG(file.Bytes(), markerEOI)
		if err != nil {
			t.Fatal(err)
		}
		img, err := jpeg.Decode(&file)
		if err != nil {
			t.Fatal(err)
		}
		theirs := img.(*image.YCbCr)
		for i, pix := range [][]uint8{theirs.Y, theirs.Cb, theirs.Cr} {
			c := ours.components[i]
			stride := []int{theirs.YStride, theirs.CStride, theirs.CStride}[i]
			for at := range c.width * c.height {
				x, y := at%c.width, at/c.width
				got, want := int(c.pix[y*c.stride+x]), int(pix[y*stride+x])
				if got-want > 4 || want-got > 4 {
					t.Fatalf("component %d at %d, %d: %d, want about %d", i, x, y, got, want)
				}
			}
		}
	})
}

// FuzzJPEG: no input makes the decoder itself panic, which Decode would hide, or return an image that is not whole.
func FuzzJPEG(f *testing.F) {
	seeds, err := filepath.Glob("testdata/image_*.jpg")
	if err != nil || len(seeds) == 0 {
		f.Fatalf("%d seeds, %v", len(seeds), err)
	}
	for _, path := range seeds {
		f.Add(readTestFile(f, path))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		if len(file) < 2 || len(file) > 1<<20 {
			return
		}
		header, err := jpegHeader(file)
		if err != nil || header.Width > 1<<20/header.Height {
			return
		}
		img, err := decodeJPEG(file)
		if err == nil && (img.W != header.Width || img.H != header.Height || len(img.Pix) != 3*img.W*img.H) {
			t.Fatalf("picture of %dx%d with %d bytes, header says %v", img.W, img.H, len(img.Pix), header)
		}
	})
}
