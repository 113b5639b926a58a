package picture

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// A header is refused exactly if the whole image is refused for its header, and gives the size that decoding
// gives.
func TestHeaderAgreesWithDecoding(t *testing.T) {
	files, err := filepath.Glob("testdata/image_*")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, path := range files {
		file, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []int{len(file), len(file) / 2, 60, 12, 3} {
			part := file[:min(n, len(file))]
			_, header, headerErr := usual.size(part)
			rgb, err := Decode(part)
			switch {
			case err == nil && (headerErr != nil || header.Width != rgb.W || header.Height != rgb.H):
				t.Errorf("%s, %d bytes: header %+v, %v; the picture is %dx%d", path, n, header, headerErr, rgb.W, rgb.H)
			case headerErr != nil && err.Error() != headerErr.Error():
				t.Errorf("%s, %d bytes: header says %v, decoding %v", path, n, headerErr, err)
			case err == nil:
				seen++
			}
		}
	}
	if seen == 0 {
		t.Error("no picture was decoded")
	}
}

// Inspect finds truncated files by their end, and accepts complete ones with bytes after it.
func TestInspectFindsBrokenDownloads(t *testing.T) {
	dir := t.TempDir()
	images, err := OpenImages(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer images.Close()
	for kind, file := range smallFiles(t) {
		for name, content := range map[string][]byte{"whole": file, "half": file[:len(file)/2],
			"longer": append(append([]byte{}, file...), 0, 0, 0)} {
			if err := os.WriteFile(filepath.Join(dir, name), content, 0o666); err != nil {
				t.Fatal(err)
			}
			header, err := images.Inspect(Image{Path: name})
			_, wants := images.Read(name)
			if (err == nil) != (wants == nil) || err != nil && err.Error() != wants.Error() {
				t.Errorf("%s of %s: %v, reading it whole says %v", name, kind, err, wants)
			}
			if err == nil && header.Width*header.Height == 0 {
				t.Errorf("%s of %s: header %+v", name, kind, header)
			}
			width, height, sizeErr := images.Size(Image{Path: name})
			if width != header.Width || height != header.Height || (sizeErr == nil) != (err == nil) {
				t.Errorf("%s of %s: size %dx%d, %v; header %+v, %v", name, kind, width, height, sizeErr, header, err)
			}
		}
	}
}

// A prepared image knows the size that it had, and its file is not asked for.
func TestSizeOfAPreparedPicture(t *testing.T) {
	images, err := OpenImages(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer images.Close()
	width, height, err := images.Size(Image{Path: "absent", Prepared: &Picture{Width: 640, Height: 480}})
	if width != 640 || height != 480 || err != nil {
		t.Errorf("%dx%d, %v", width, height, err)
	}
}

// Stamp changes with size and time, and is 0 for what cannot be read.
func TestStamp(t *testing.T) {
	dir := t.TempDir()
	images, err := OpenImages(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer images.Close()
	write := func(text string) int64 {
		if err := os.WriteFile(filepath.Join(dir, "a"), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		return images.Stamp("a")
	}
	first := write("one")
	if first == 0 || first == write("longer") || images.Stamp("b") != 0 || images.Stamp("..") != 0 {
		t.Error("stamps do not tell files apart")
	}
}

// TestReadHeader: the header alone is read, whatever follows it, and sizes that Decode refuses are told.
func TestReadHeader(t *testing.T) {
	file, err := os.ReadFile("testdata/image_la16.png")
	if err != nil {
		t.Fatal(err)
	}
	whole, err := Decode(file)
	if err != nil {
		t.Fatal(err)
	}
	if h, err := ReadHeader(file[:33]); err != nil || h != (Header{"PNG", whole.W, whole.H, 1}) {
		t.Errorf("%+v, %v", h, err)
	}
	huge := append([]byte("BM"), make([]byte, 52)...)
	huge[10], huge[14], huge[26], huge[28] = 54, 40, 1, 24
	huge[18], huge[19], huge[22], huge[23] = 0x60, 0xea, 0x60, 0xea // 60,000 each
	if h, err := ReadHeader(huge); err != nil || h.Width != 60_000 || h.Height != 60_000 {
		t.Errorf("%+v, %v", h, err)
	}
	if _, err := ReadHeader([]byte("no picture")); !errors.Is(err, ErrRow) {
		t.Errorf("%v", err)
	}
}
