package picture

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// Limits of one picture, checked before anything is allocated for its pixels. A picture at the limit takes 0.3 to 1 GB for the moment
// of its decoding (the most for progressive JPEG without subsampling); a photo of 640x480 takes 1.5 MB.
const (
	MaxFileBytes = 64 << 20
	maxPixels    = 50_000_000
	maxSide      = 65_535 // JPEG's own limit; longer pictures are strips that no tower can use
)

// RGB is a decoded picture: 8 bits a channel, rows from the top, three bytes a pixel, no gaps. Its transparency is gone without
// compositing and its orientation tag is not applied, as in Pillow's Image.open(f).convert("RGB"), which the original calls (Pillow
// does turn TIFF files by their tag; they are not turned here).
type RGB struct {
	W, H int
	Pix  []uint8 // [H,W,3]
}

func newRGB(w, h int) *RGB { return &RGB{W: w, H: h, Pix: make([]uint8, 3*w*h)} }

// Images is where the pictures lie that rows name: a folder, a zip file, or tar files. Nothing outside can be read through it: not by
// "..", not by an absolute path, not by a symbolic link that leads out of the folder. (The folder itself may be a link.) It is safe
// for concurrent use.
type Images struct {
	store imageStore
}

// imageStore is one kind of place for pictures. The errors of file wrap ErrRow when they are about that one file.
type imageStore interface {
	file(name string) ([]byte, error)
	Close() error
}

// OpenImages opens a folder, a .zip file, a .tar file, or all the .tar files that a pattern such as part-*.tar matches. Archives are
// read in place: the index of a zip takes about 250 bytes for each picture, that of a tar 150. progress may be nil; Close releases all.
func OpenImages(path string, progress Progress) (_ *Images, err error) {
	defer failure.MarkInput(&err)
	if progress == nil {
		progress = func(int64, int64) {}
	}
	store, err := openStore(path, progress)
	if err != nil {
		return nil, err
	}
	return &Images{store}, nil
}

func openStore(path string, progress Progress) (imageStore, error) {
	paths, err := Matches(path)
	if err != nil {
		return nil, fmt.Errorf("images: %w", err)
	}
	info, err := os.Stat(paths[0])
	if err != nil || info.IsDir() || !info.Mode().IsRegular() { // what is no folder fails there, with a reason
		return openFolder(path)
	}
	if filepath.Ext(paths[0]) == ".zip" && len(paths) == 1 {
		return openZip(paths[0])
	}
	return openTars(paths, progress)
}

// Close releases the files. Pictures already read stay valid.
func (im *Images) Close() error { return im.store.Close() }

// Read decodes the picture at name, a path relative to the folder or within the archive. What is wrong with that one picture
// (missing, not a regular file, too large, damaged, of an unknown format) is an error that wraps ErrRow; a fault of the storage is not.
func (im *Images) Read(name string) (*RGB, error) { return im.Decode(Image{Path: name}) }

// Decode is Read for an image of a row, which may hold the file itself.
func (im *Images) Decode(image Image) (*RGB, error) {
	file, err := im.File(image)
	if err != nil {
		return nil, err
	}
	img, err := Decode(file)
	if err != nil {
		return nil, fmt.Errorf("image %q: %w", image.Path, err)
	}
	return img, nil
}

// File is an image of a row as it is stored, not decoded. Its errors are those of Read.
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

// checkName refuses what is no path within a folder or archive.
func checkName(name, place string) error {
	switch {
	case name == "":
		return BadRow("path is empty")
	case filepath.IsAbs(name):
		return BadRow("path is absolute; rows name images relative to %s", place)
	}
	return nil
}

func checkFileSize(size int64) error {
	if size > MaxFileBytes {
		return BadRow("file of %d bytes is over the limit of %d", size, MaxFileBytes)
	}
	return nil
}
