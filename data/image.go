package data

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Limits of one picture, checked before anything is allocated for its pixels. A picture at the limit takes 0.3 to 1 GB for the moment
// of its decoding (the most for progressive JPEG without subsampling); a photo of 640x480 takes 1.5 MB.
const (
	maxFileBytes = 64 << 20
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

// Images is a folder of pictures. Nothing outside it can be read through it: not by "..", not by an absolute path, not by a
// symbolic link inside that leads out. The folder itself may be a link. It is safe for concurrent use.
type Images struct {
	root *os.Root
}

// OpenImages opens the folder dir; Close releases it.
func OpenImages(dir string) (*Images, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("image folder %q: %w", dir, err)
	}
	return &Images{root: root}, nil
}

// Close releases the folder. Pictures already read stay valid.
func (im *Images) Close() error { return im.root.Close() }

// Read decodes the picture at name, a path relative to the folder. What is wrong with that one picture (missing, not a regular
// file, too large, damaged, of an unknown format) is an error that wraps ErrRow; a fault of the storage is not.
func (im *Images) Read(name string) (*RGB, error) {
	file, err := im.file(name)
	if err != nil {
		return nil, fmt.Errorf("image %q: %w", name, err)
	}
	img, err := Decode(file)
	if err != nil {
		return nil, fmt.Errorf("image %q: %w", name, err)
	}
	return img, nil
}

func (im *Images) file(name string) ([]byte, error) {
	f, info, err := im.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readUpTo(f, int(info.Size()))
}

// readUpTo reads n bytes, or fewer of a file that shrank since its size was asked for: the decoder will say that it is truncated.
func readUpTo(f io.Reader, n int) ([]byte, error) {
	file := make([]byte, n)
	n, err := io.ReadFull(f, file)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = nil
	}
	return file[:n], err
}

// stat checks a path and the kind and size of what stands there.
func (im *Images) stat(name string) (fs.FileInfo, error) {
	switch {
	case name == "":
		return nil, badRow("path is empty")
	case filepath.IsAbs(name):
		return nil, badRow("path is absolute; rows name images relative to the image folder %q", im.root.Name())
	}
	info, err := im.root.Stat(name) // before Open, which would wait for ever on a named pipe
	switch {
	case err != nil:
		return nil, im.pathError(err)
	case !info.Mode().IsRegular():
		return nil, badRow("not a regular file (%s)", info.Mode())
	case info.Size() > maxFileBytes:
		return nil, badRow("file of %d bytes is over the limit of %d", info.Size(), maxFileBytes)
	}
	return info, nil
}

func (im *Images) open(name string) (*os.File, fs.FileInfo, error) {
	info, err := im.stat(name)
	if err != nil {
		return nil, nil, err
	}
	f, err := im.root.Open(name)
	if err != nil {
		return nil, nil, im.pathError(err)
	}
	return f, info, nil
}

// pathError tells a bad path in a row from a fault of the storage (permission, I/O, too many open files).
func (im *Images) pathError(err error) error {
	var errno syscall.Errno
	switch {
	case errors.Is(err, fs.ErrClosed):
		return err
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return badRow("no such file in the image folder %q", im.root.Name())
	case errors.Is(err, syscall.ENAMETOOLONG), errors.Is(err, syscall.EINVAL), errors.Is(err, syscall.ELOOP):
		return badRow("%v", err)
	case !errors.As(err, &errno): // os.Root's own refusal: it did not come from the system
		return badRow("path leads out of the image folder %q, by \"..\" or by a symbolic link (%v); "+
			"put the files inside it, or make the folder itself the link", im.root.Name(), err)
	}
	return err
}
