package gif

import (
	"archive/tar"
	"compress/gzip"
	"io"
	"os"
	"strings"
	"testing"
)

// FuzzGIF: no input makes the decoder panic, which picture.Decode would hide, or return an image that is not whole.
// That whole images equal Pillow's is tested in package picture.
func FuzzGIF(f *testing.F) {
	archive, err := os.Open("../testdata/formats.tar.gz")
	if err != nil {
		f.Fatal(err)
	}
	defer archive.Close()
	inflated, err := gzip.NewReader(archive)
	if err != nil {
		f.Fatal(err)
	}
	for members := tar.NewReader(inflated); ; {
		member, err := members.Next()
		if err != nil {
			break
		}
		if file, err := io.ReadAll(members); err == nil && strings.HasSuffix(member.Name, ".gif") {
			f.Add(file)
		}
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		m, err := Parse(file)
		if err != nil || m.Height > 0 && m.Width > 1<<20/m.Height {
			return
		}
		pix, err := m.RGB()
		if err == nil && len(pix) != 3*m.Width*m.Height {
			t.Fatalf("%d bytes for %dx%d", len(pix), m.Width, m.Height)
		}
	})
}
