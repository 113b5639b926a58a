package picture

import (
	"fmt"
	"image"
	"os"
	"path/filepath"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// Limits of one image, checked before memory for its pixels is allocated. Decoding an image at the limit takes 0.3 to 1
// GB for a moment (most for progressive JPEG without subsampling); a photo of 640x480 takes 1.5 MB.
const (
	MaxFileBytes = 64 << 20
	MaxPixels    = 50_000_000
	maxSide      = 65_535 // JPEG's own limit; longer images are strips that no tower can use
)

// RGB is a decoded image: 8 bits per channel, rows from the top, three bytes per pixel, no gaps. Transparency is
// dropped without compositing, and of all formats only TIFF is turned by its orientation tag, as in Pillow's
// Image.open(f).convert("RGB"), which the original calls.
type RGB struct {
	W, H int
	Pix  []uint8 // [H,W,3]
}

// Image is the picture for packages of the standard library.
func (p *RGB) Image() image.Image {
	img := image.NewNRGBA(image.Rect(0, 0, p.W, p.H))
	for i := range p.W * p.H {
		copy(img.Pix[4*i:], p.Pix[3*i:3*i+3])
		img.Pix[4*i+3] = 255
	}
	return img
}

func newRGB(w, h int) *RGB { return &RGB{W: w, H: h, Pix: make([]uint8, 3*w*h)} }

// Images is the place that rows' image paths refer to: a folder, a zip file, or tar files. No path of a row names a
// file outside: not by "..", nor by an absolute path. Symbolic links that stand in a folder are followed, since whoever
// made the folder made them; those in an archive, and hard links of a tar, lead to its own files only. It is safe for
// concurrent use.
type Images struct {
	store   imageStore
	reading reading
}

// Options say how images are opened and read. The zero value reads them as Pillow's Image.open(f).convert("RGB").
type Options struct {
	MaxPixels   int      // of one image; 0: 50 million
	Orientation bool     // turn every image as its EXIF orientation says, as Pillow's ImageOps.exif_transpose does
	Progress    Progress // of opening; may be nil
}

// imageStore is a folder, a zip or tars. The errors of file wrap ErrRow if they concern only that one file.
type imageStore interface {
	file(name string) ([]byte, error)
	Close() error
}

// OpenImages opens a folder, a .zip file, a .tar file, or all .tar files that match a pattern such as part-*.tar.
// Archives are read in place: the index takes about 250 bytes per image for a zip, 150 for a tar. Close releases
// everything.
func OpenImages(path string, options Options) (_ *Images, err error) {
	defer failure.MarkInput(&err)
	progress := options.Progress
	if progress == nil {
		progress = func(int64, int64) {}
	}
	store, err := openStore(path, progress)
	if err != nil {
		return nil, err
	}
	how := reading{pixels: options.MaxPixels, turn: options.Orientation}
	if how.pixels == 0 {
		how.pixels = MaxPixels
	}
	return &Images{store, how}, nil
}

func openStore(path string, progress Progress) (imageStore, error) {
	paths, err := Matches(path)
	if err != nil {
		return nil, fmt.Errorf("images: %w", err)
	}
	info, err := os.Stat(paths[0])
	if err != nil || info.IsDir() || !info.Mode().IsRegular() { // openFolder explains why anything else is refused
		return openFolder(path)
	}
	if filepath.Ext(paths[0]) == ".zip" && len(paths) == 1 {
		return openZip(paths[0])
	}
	return openTars(paths, progress)
}

// Close releases the files. Images already read stay valid.
func (im *Images) Close() error { return im.store.Close() }

// Read decodes the image at name, a path relative to the folder or within the archive. A fault of that one image
// (missing, not a regular file, too large, damaged, of an unknown format) is an error that wraps ErrRow; a fault of the
// storage is not.
func (im *Images) Read(name string) (*RGB, error) { return im.Decode(Image{Path: name}) }

// Decode is Read for a row's image, which may contain the file itself.
func (im *Images) Decode(image Image) (*RGB, error) {
	file, err := im.File(image)
	if err != nil {
		return nil, err
	}
	img, err := im.reading.decode(file)
	if err != nil {
		return nil, fmt.Errorf("image %q: %w", image.Path, err)
	}
	return img, nil
}

// File is a row's image as it is stored, not decoded. Its errors are those of Read.
func (im *Images) File(image Image) ([]byte, error) {
	if image.File != nil {
		return image.File, nil
	}
	file, err := im.store.file(image.Path)
	if err != nil {
		return nil, failure.Inputf("image %q: %w", image.Path, err)
	}
	return file, nil
}

// checkName refuses anything but a path within a folder or archive.
func checkName(name, place string) error {
	switch {
	case name == "":
		return BadRow("path is empty")
	case filepath.IsAbs(name):
		return BadRow("path is absolute; image paths must be relative to %s", place)
	}
	return nil
}

func checkFileSize(size int64) error {
	if size > MaxFileBytes {
		return BadRow("file of %d bytes is over the limit of %d", size, MaxFileBytes)
	}
	return nil
}
