package tiff

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
)

// That whole images equal Pillow's is tested in package picture, with those of every format.

// tiffFiles are the TIFF files of picture's goldens.
func tiffFiles(t testing.TB) map[string][]byte {
	t.Helper()
	archive, err := os.Open("../testdata/formats.tar.gz")
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
		if err != nil {
			return files
		}
		if strings.HasSuffix(member.Name, ".tiff") {
			if files[member.Name], err = io.ReadAll(members); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func noJPEG([]byte, int, int, int, bool) ([]uint8, error) { return nil, errors.New("JPEG") }

// A file that is cut anywhere is an error, or the image; never a panic.
func TestCutFiles(t *testing.T) {
	for name, file := range tiffFiles(t) {
		for n := 0; n < len(file); n += 1 + len(file)/50 {
			if m, err := Parse(file[:n]); err == nil {
				m.RGB(noJPEG)
			} else if err.Error() == "" {
				t.Errorf("%s: empty error", name)
			}
		}
	}
}

// Every code of T.4 has a place of its own: 104 for runs, of which 13 are in both colours.
func TestFaxCodes(t *testing.T) {
	for name, table := range map[string]*faxTable{"white": whiteTable, "black": blackTable} {
		seen := map[int16]bool{}
		for _, entry := range table {
			if entry.length > 0 {
				seen[entry.value] = true
			}
		}
		if len(seen) != 104 {
			t.Errorf("%s: %d runs", name, len(seen))
		}
	}
}

// FuzzTIFF: no input makes the decoder panic, which picture.Decode would hide, or return an image that is not whole.
func FuzzTIFF(f *testing.F) {
	for _, file := range tiffFiles(f) {
		f.Add(file)
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		m, err := Parse(file)
		if err != nil || m.Width > 1<<20/m.Height {
			return
		}
		pix, err := m.RGB(noJPEG)
		if err == nil && len(pix) != 3*m.Width*m.Height {
			t.Fatalf("%d bytes for %dx%d", len(pix), m.Width, m.Height)
		}
	})
}
