package picture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"

	"github.com/llavatrain/llavatrain/data/datatest"
)

// pillowFiles are images with Pillow's RGB beside them: the recorded set, and testdata/image_*, which adds what that
// lacks.
func pillowFiles(t *testing.T) []string {
	t.Helper()
	own, err := filepath.Glob("testdata/image_*.rgb.png")
	if err != nil || len(own) == 0 {
		t.Fatalf("testdata/image_*.rgb.png: %d files, %v", len(own), err)
	}
	recorded, err := filepath.Glob(filepath.Join(datatest.Shared(t, "parity", "images"), "*.rgb.png"))
	if err != nil || len(recorded) == 0 {
		t.Fatalf("recorded pictures: %d files, %v", len(recorded), err)
	}
	return append(own, recorded...)
}

func readTestFile(t testing.TB, path string) []byte {
	t.Helper()
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// readPNG returns the RGB of a PNG without the code under test.
func readPNG(t testing.TB, path string) *RGB {
	t.Helper()
	img, err := png.Decode(bytes.NewReader(readTestFile(t, path)))
	if err != nil {
		t.Fatal(err)
	}
	return bySampling(img)
}

// bySampling converts as Go's image packages do, pixel by pixel.
func bySampling(img image.Image) *RGB {
	b := img.Bounds()
	out := newRGB(b.Dx(), b.Dy())
	for i := range b.Dx() * b.Dy() {
		c := color.NRGBAModel.Convert(img.At(b.Min.X+i%b.Dx(), b.Min.Y+i/b.Dx())).(color.NRGBA)
		copy(out.Pix[3*i:], []uint8{c.R, c.G, c.B})
	}
	return out
}

// distance is the largest difference and the mean one, in levels of 255.
func distance(t testing.TB, got, want *RGB) (most int, mean float64) {
	t.Helper()
	if got.W != want.W || got.H != want.H || len(got.Pix) != len(want.Pix) {
		t.Fatalf("size %dx%d (%d bytes), want %dx%d", got.W, got.H, len(got.Pix), want.W, want.H)
	}
	sum := 0
	for i := range want.Pix {
		d := max(int(got.Pix[i]), int(want.Pix[i])) - min(int(got.Pix[i]), int(want.Pix[i]))
		most, sum = max(most, d), sum+d
	}
	return most, float64(sum) / float64(len(want.Pix))
}

func TestDecodeEqualsPillow(t *testing.T) {
	for _, want := range pillowFiles(t) {
		path := strings.TrimSuffix(want, ".rgb.png")
		t.Run(filepath.Base(path), func(t *testing.T) {
			got, err := Decode(readTestFile(t, path))
			if err != nil {
				t.Fatal(err)
			}
			if most, mean := distance(t, got, readPNG(t, want)); most > 0 {
				t.Errorf("differs from Pillow by up to %d levels (mean %.3f)", most, mean)
			}
		})
	}
}

// smallFiles are valid files of every format, made here.
func smallFiles(t testing.TB) map[string][]byte {
	t.Helper()
	img := image.NewNRGBA(image.Rect(0, 0, 21, 13))
	for i := range img.Pix {
		img.Pix[i] = uint8(i*7 + i*i/50)
	}
	files := map[string][]byte{}
	for name, encode := range map[string]func(*bytes.Buffer) error{
		"JPEG": func(b *bytes.Buffer) error { return jpeg.Encode(b, img, nil) },
		"PNG":  func(b *bytes.Buffer) error { return png.Encode(b, img) },
		"GIF":  func(b *bytes.Buffer) error { return gif.Encode(b, img, &gif.Options{NumColors: 8}) },
		"BMP":  func(b *bytes.Buffer) error { return bmp.Encode(b, img) },
		"TIFF": func(b *bytes.Buffer) error { return tiff.Encode(b, img, &tiff.Options{Compression: tiff.Deflate}) },
	} {
		var b bytes.Buffer
		if err := encode(&b); err != nil {
			t.Fatal(err)
		}
		files[name] = b.Bytes()
	}
	files["WebP"] = readTestFile(t, "testdata/image_odd.webp")
	return files
}

func TestDecodeTruncated(t *testing.T) {
	for name, file := range smallFiles(t) {
		if _, err := Decode(file); err != nil {
			t.Errorf("whole %s: %v", name, err)
		}
		for _, n := range []int{len(file) / 2, len(file) * 3 / 4, 16} {
			_, err := Decode(file[:n])
			if err == nil || !errors.Is(err, ErrRow) || !strings.Contains(err.Error(), name) {
				t.Errorf("%s cut to %d of %d bytes: error %v; want one that wraps ErrRow and names the format",
					name, n, len(file), err)
			}
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, test := range []struct {
		name string
		file []byte
		want string
	}{
		{"empty", nil, "file is empty"},
		{"zeros", make([]byte, 5000), "only zero bytes"},
		{"html", []byte("\ufeff\n <!DOCTYPE html><title>403</title>"), "an HTML page, not an image"},
		{"html2", []byte("<HTML><body>"), "an HTML page"},
		{"svg", []byte(`<svg xmlns="http://www.w3.org/2000/svg"/>`), "an SVG file"},
		{"lfs", []byte("version https://git-lfs.github.com/spec/v1\noid"), "git lfs pull"},
		{"avif", []byte("\x00\x00\x00\x1cftypavif\x00\x00"), "an AVIF image"},
		{"json", []byte(`{"error": "not found"}`), "JSON text"},
		{"text", []byte("hello"), `begins with "hello"`},
		{"bmp", append([]byte("BM"), make([]byte, 20)...), "header of 0 bytes is not supported; save it as PNG"},
		{"area", pngHeader(10000, 6000), "PNG of 10000x6000 is over the limit of 50 million pixels"},
		{"side", pngHeader(70000, 1), "PNG of 70000x1 is over the limit of 65535 pixels per side"},
		{"overflow", pngHeader(1<<31-1, 1<<31-1), "PNG cannot be decoded"},
	} {
		_, err := Decode(test.file)
		if err == nil || !errors.Is(err, ErrRow) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want %q", test.name, err, test.want)
		}
	}
}

// pngHeader is a PNG that ends after its header.
func pngHeader(w, h int) []byte {
	chunk := binary.BigEndian.AppendUint32([]byte("IHDR"), uint32(w))
	chunk = append(binary.BigEndian.AppendUint32(chunk, uint32(h)), 8, 2, 0, 0, 0) // 8 bits, RGB
	file := append([]byte("\x89PNG\r\n\x1a\n\x00\x00\x00\x0d"), chunk...)
	return binary.BigEndian.AppendUint32(file, crc32.ChecksumIEEE(chunk))
}

// TestDecodeBomb: a bomb is refused for its header; its 900 million pixels are never allocated.
func TestDecodeBomb(t *testing.T) {
	bomb := pngHeader(30000, 30000)
	if got := allocated(func() {
		if _, err := Decode(bomb); err == nil {
			t.Error("decoded")
		}
	}); got > 1<<20 {
		t.Errorf("refusing a bomb allocated %d bytes", got)
	}
}

func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestShieldTurnsPanicIntoError(t *testing.T) {
	_, err := Shield(func([]byte) (int, error) { return []int{}[len(t.Name())], nil }, []byte("ab"))
	if err == nil || !strings.Contains(err.Error(), "index out of range") {
		t.Errorf("error %v", err)
	}
}

// FuzzDecode: no input makes Decode panic, allocate without bound, or return an image that is not whole.
func FuzzDecode(f *testing.F) {
	for _, file := range smallFiles(f) {
		f.Add(file)
	}
	seeds, err := filepath.Glob("testdata/image_*")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range seeds {
		f.Add(readTestFile(f, path))
	}
	for _, file := range formatFiles(f) {
		f.Add(file)
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		if len(file) > 1<<20 {
			return
		}
		var img *RGB
		var err error
		if got := allocated(func() { img, err = reading{pixels: 1 << 20}.decode(file) }); got > 300<<20 {
			t.Fatalf("%d bytes allocated for a file of %d", got, len(file))
		}
		switch {
		case err != nil && !errors.Is(err, ErrRow):
			t.Fatalf("error does not wrap ErrRow: %v", err)
		case err == nil && (img.W <= 0 || img.H <= 0 || len(img.Pix) != 3*img.W*img.H):
			t.Fatalf("picture of %dx%d with %d bytes", img.W, img.H, len(img.Pix))
		}
	})
}
