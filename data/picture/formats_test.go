package picture

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
)

// formatFiles are the members of testdata/formats.tar.gz: images, and pillow.txt, which says what Pillow makes of them.
func formatFiles(t testing.TB) map[string][]byte {
	t.Helper()
	archive, err := os.Open("testdata/formats.tar.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	inflated, err := gzip.NewReader(archive)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for members := tar.NewReader(inflated); ; {
		member, err := members.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[member.Name], err = io.ReadAll(members); err != nil {
			t.Fatal(err)
		}
	}
}

// notExact are the TIFF files that Pillow reads as noise, and we refuse.
var notExact = []string{
	"lzw-mm-0-f32", "lzw-mm-1-f32", "lzw-mm-1-i16", "lzw-mm-1-i32", "lzw-mm-predictor-f32", "lzw-mm-predictor-i32",
	"deflate-mm-0-f32", "deflate-mm-1-f32", "deflate-mm-1-i16", "deflate-mm-1-i32", "deflate-mm-predictor-f32",
	"deflate-mm-predictor-i32", "raw-planes-rgb16",
}

func isNotExact(name string) bool {
	return slices.Contains(notExact, strings.TrimSuffix(name, ".tiff"))
}

func TestFormatsEqualPillow(t *testing.T) {
	files := formatFiles(t)
	compared, total := 0, 0
	for line := range bytes.Lines(files["pillow.txt"]) {
		field := strings.Fields(string(line))
		name, size, hash := field[0], field[1], field[2]
		if isNotExact(name) {
			continue
		}
		how := reading{pixels: MaxPixels, turn: len(field) > 3}
		got, err := how.decode(files[name])
		header, headerErr := how.inspect(bytes.NewReader(files[name]), int64(len(files[name])))
		switch {
		case headerErr != nil || fmt.Sprintf("%dx%d", header.Width, header.Height) != size:
			t.Errorf("%s: header %+v, %v", name, header, headerErr)
		case err != nil:
			t.Errorf("%s: %v", name, err)
			continue
		case fmt.Sprintf("%dx%d", got.W, got.H) != size:
			t.Errorf("%s: size %dx%d, want %s", name, got.W, got.H, size)
		case fmt.Sprintf("%x", sha256.Sum256(got.Pix)) != hash:
			t.Errorf("%s differs from Pillow (%+v)", name, how)
		}
		compared, total = compared+1, total+len(got.Pix)
	}
	t.Logf("%d files, %d bytes", compared, total)
	if compared < 850 {
		t.Errorf("only %d files were compared", compared)
	}
}

// What cannot be read is refused by name, with what to do.
func TestFormatsRefused(t *testing.T) {
	files := formatFiles(t)
	for name, want := range map[string]string{
		"refused/zstd.tiff":             "Zstandard compression is not supported; save it as PNG",
		"refused/lzma.tiff":             "LZMA compression is not supported",
		"refused/lab.tiff":              "CIE Lab of 3 samples of 8 bits is not supported; save it as PNG",
		"refused/old-jpeg.tiff":         "old JPEG (6) compression is not supported",
		"refused/float-rgb.tiff":        "RGB of 3 floating point samples of 32 bits is not supported",
		"refused/few-strips.tiff":       "it has 2 of 4 strips",
		"refused/lzw-cut.tiff":          "TIFF cannot be decoded: file is truncated",
		"refused/deflate-checksum.tiff": "TIFF cannot be decoded: strip 0: zlib: invalid checksum",
		"refused/deflate-below.tiff":    "TIFF cannot be decoded: file is truncated",
		"refused/fax-group4-cut.tiff":   "TIFF cannot be decoded: file is truncated",
		"refused/raw-ycbcr-2x2.tiff":    "YCbCr with shared colours and without compression is not supported",
		"refused/8-two.bmp":             "grey palette of 2 colours with 8 bits is not supported",
		"refused/4444.bmp":              "bit fields [0xf00 0xf0 0xf 0xf000] of 16 bits are not supported",
		"refused/jpeg.bmp":              "JPEG or PNG within it is not supported; save it as PNG",
		"refused/rle8-short.bmp":        "BMP cannot be decoded: file is truncated",
		"refused/12-bits.jpg":           "12 bits per sample are not supported; save it with 8",
		"refused/arithmetic.jpg":        "its coding process (arithmetic coding, marker 0xc9) is not supported",
		"refused/canvas.webp":           "the sizes of its frame and its header differ",
		"refused/outside.webp":          "the sizes of its frame and its header differ",
		"refused/no-frame.webp":         "it has no image",
		"refused/cut.gif":               "GIF cannot be decoded: file is truncated",
		"refused/small-frame.gif":       "GIF cannot be decoded: file is truncated",
		"refused/no-frame.gif":          "GIF cannot be decoded: it ends without an image",
		"lzw-mm-1-i16.tiff":             "grey of 1 signed samples of 16 bits is not supported; save it as PNG",
		"raw-planes-rgb16.tiff":         "planes of 16-bit RGB are not supported",
	} {
		_, err := Decode(files[name])
		if err == nil || !errors.Is(err, ErrRow) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", name, err, want)
		}
	}
	for name := range files {
		if _, err := Decode(files[name]); (strings.HasPrefix(name, "refused/") || isNotExact(name)) && err == nil {
			t.Errorf("%s is decoded", name)
		}
	}
}
