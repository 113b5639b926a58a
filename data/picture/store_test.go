package picture

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// picturesIn is a folder with one good image, everything that must not be read, and a secret beside it.
func picturesIn(t *testing.T) *Images {
	t.Helper()
	top := t.TempDir()
	dir := filepath.Join(top, "images")
	good := smallFiles(t)["PNG"]
	for path, file := range map[string][]byte{
		filepath.Join(dir, "train", "good.jpg"):  good, // the name may lie about the format
		filepath.Join(dir, "train", "page.jpg"):  []byte("<html>Not found</html>"),
		filepath.Join(dir, "train", "empty.jpg"): nil,
		filepath.Join(top, "secret.png"):         good,
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, file, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{
		filepath.Join(dir, "inside"):    "train/good.jpg",
		filepath.Join(dir, "outside"):   "../secret.png",
		filepath.Join(dir, "loop"):      "loop",
		filepath.Join(dir, "dangling"):  "nowhere.jpg",
		filepath.Join(dir, "elsewhere"): top,
		filepath.Join(top, "linked"):    "images",
	} {
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	large, err := os.Create(filepath.Join(dir, "large.png"))
	if err != nil {
		t.Fatal(err)
	}
	defer large.Close()
	if err := large.Truncate(MaxFileBytes + 1); err != nil { // a hole: it takes no space
		t.Fatal(err)
	}
	im, err := OpenImages(filepath.Join(top, "linked"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { im.Close() })
	return im
}

func TestImagesRead(t *testing.T) {
	im := picturesIn(t)
	absolute, err := filepath.Abs("testdata/image_rgb.jpg")
	if err != nil {
		t.Fatal(err)
	}
	inside := filepath.Join(im.store.(imageFolder).places[0], "train/good.jpg")
	for name, want := range map[string]string{
		"train/good.jpg": "",
		filepath.Join(im.store.(imageFolder).places[1], "train/good.jpg"): "",
		"inside":                  "",
		"train/../train/good.jpg": "",
		"train/missing.jpg":       "no such file",
		"train/good.jpg/x":        "no such file",
		"":                        "path is empty",
		"train":                   "not a regular file",
		"pipe":                    "not a regular file",
		"large.png":               "over the limit of 67108864",
		"train/page.jpg":          "an HTML page",
		"train/empty.jpg":         "file is empty",
		"../secret.png":           "leads out of the image folder",
		"outside":                 "",
		"elsewhere/secret.png":    "",
		"elsewhere/../../x":       "leads out of the image folder",
		"dangling":                `leads to "nowhere.jpg"`,
		inside:                    "",
		filepath.Dir(inside):      "not a regular file",
		inside + "/../../../x":    "path is absolute and not in the image folder",
		"loop":                    "too many levels of symbolic links",
		"nul\x00.jpg":             "invalid argument",
		strings.Repeat("x", 300):  "file name too long",
		absolute:                  "path is absolute and not in the image folder",
	} {
		img, err := im.Read(name)
		switch {
		case want == "" && (err != nil || img.W != 21 || img.H != 13):
			t.Errorf("%q: %v, %v", name, img, err)
		case want != "" && (err == nil || !errors.Is(err, ErrRow) || !strings.Contains(err.Error(), want)):
			t.Errorf("%q: error %v; want one that wraps ErrRow and says %q", name, err, want)
		}
	}
}

// TestImagesStorageFault: what is wrong with the storage is not blamed on the row, which would be skipped silently.
func TestImagesStorageFault(t *testing.T) {
	im := picturesIn(t)
	fault := &fs.PathError{Op: "open", Path: "x", Err: syscall.EIO}
	if err := im.store.(imageFolder).pathError("x", fault); errors.Is(err, ErrRow) || !errors.Is(err, syscall.EIO) {
		t.Errorf("I/O error became %v", err)
	}
}

func TestOpenImagesMissing(t *testing.T) {
	_, err := OpenImages(filepath.Join(t.TempDir(), "none"), Options{})
	if !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), "image folder ") {
		t.Errorf("error %v", err)
	}
}

// The options of a store hold for everything that it says of an image.
func TestOptions(t *testing.T) {
	dir := t.TempDir()
	file := formatFiles(t)["turned/6.jpg"]
	if err := os.WriteFile(filepath.Join(dir, "a.jpg"), file, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		options       Options
		width, height int
		wants         string
	}{
		{Options{}, 21, 13, ""},
		{Options{Orientation: true}, 13, 21, ""},
		{Options{MaxPixels: 273}, 21, 13, ""},
		{Options{MaxPixels: 272}, 0, 0, "JPEG of 21x13 is over the limit of 272 pixels"},
		{Options{MaxPixels: 100, Orientation: true}, 0, 0, "over the limit of 100 pixels"},
	} {
		images, err := OpenImages(dir, test.options)
		if err != nil {
			t.Fatal(err)
		}
		defer images.Close()
		for _, image := range []Image{{Path: "a.jpg"}, {Path: "a.jpg", File: file}} {
			rgb, err := images.Decode(image)
			header, headerErr := images.Inspect(image)
			width, height, sizeErr := images.Size(image)
			if test.wants != "" {
				for _, err := range []error{err, headerErr, sizeErr} {
					if err == nil || !errors.Is(err, ErrRow) || !strings.Contains(err.Error(), test.wants) {
						t.Errorf("%+v: error %v, want %q", test.options, err, test.wants)
					}
				}
				continue
			}
			if err := errors.Join(err, headerErr, sizeErr); err != nil {
				t.Errorf("%+v: %v", test.options, err)
				continue
			}
			if want := (Header{"JPEG", test.width, test.height, 6}); header != want || width != want.Width ||
				height != want.Height || rgb.W != want.Width || rgb.H != want.Height {
				t.Errorf("%+v: header %+v, size %dx%d, decoded %dx%d, want %+v", test.options, header, width, height,
					rgb.W, rgb.H, want)
			}
		}
	}
}
