package picture

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// imageFolder is a folder of images. Links that stand in it are followed, wherever they lead: sets of images that share
// a disk, and the snapshots of Hugging Face's hub, are laid out with them. A row's path cannot leave the folder.
type imageFolder struct {
	dir    string
	places []string // its absolute path, as given and without links
}

func openFolder(dir string) (im imageFolder, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("image folder %q: %w", dir, err)
		}
	}()
	folder, err := os.Open(dir)
	if err != nil {
		return im, err
	}
	defer folder.Close()
	if _, err := folder.Readdirnames(1); err != nil && err != io.EOF { // not a folder
		return im, err
	}
	given, err := filepath.Abs(dir)
	if err != nil {
		return im, err
	}
	resolved, err := filepath.EvalSymlinks(given)
	return imageFolder{dir, []string{given, resolved}}, err
}

func (im imageFolder) Close() error { return nil }

// below is a path relative to the folder, "" for an absolute one that is not in it.
func (im imageFolder) below(name string) (relative string) {
	if !filepath.IsAbs(name) {
		return name
	}
	for _, place := range im.places {
		if below, err := filepath.Rel(place, name); err == nil && filepath.IsLocal(below) {
			relative = below
		}
	}
	return relative
}

// Local is the path of a row's image relative to its folder, however the row writes it. A path that is not in the
// folder is unchanged.
func (im *Images) Local(path string) string {
	if folder, ok := im.store.(imageFolder); ok {
		return cmp.Or(folder.below(path), path)
	}
	return path
}

// within is where the file at name is. Only the path is checked, before links are followed.
func (im imageFolder) within(name string) (string, error) {
	relative := im.below(name)
	switch {
	case name == "":
		return "", BadRow("path is empty")
	case relative == "":
		return "", BadRow("path is absolute and not in the image folder %q: set images to a folder that holds it, "+
			"or write the path relative to the folder", im.dir)
	case !filepath.IsLocal(relative):
		return "", BadRow("path leads out of the image folder %q", im.dir)
	}
	return filepath.Join(im.dir, relative), nil
}

func (im imageFolder) file(name string) ([]byte, error) {
	f, info, err := im.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readUpTo(f, int(info.Size()))
}

// readUpTo reads n bytes, or fewer if the file has shrunk since its size was read: the decoder will report that it is
// truncated.
func readUpTo(f io.Reader, n int) ([]byte, error) {
	file := make([]byte, n)
	n, err := io.ReadFull(f, file)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = nil
	}
	return file[:n], err
}

// stat checks a path, and the type and size of the file there.
func (im imageFolder) stat(name string) (path string, info fs.FileInfo, err error) {
	if path, err = im.within(name); err != nil {
		return path, nil, err
	}
	info, err = os.Stat(path) // before Open, which would block on a named pipe
	if err != nil {
		return path, nil, im.pathError(path, err)
	}
	if !info.Mode().IsRegular() {
		return path, nil, BadRow("not a regular file (%s)", info.Mode())
	}
	return path, info, checkFileSize(info.Size())
}

func (im imageFolder) open(name string) (*os.File, fs.FileInfo, error) {
	path, info, err := im.stat(name)
	if err != nil {
		return nil, nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, im.pathError(path, err)
	}
	return f, info, nil
}

// pathError distinguishes a bad path in a row from a storage fault (permission, I/O, too many open files).
func (im imageFolder) pathError(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		if target, dangling := os.Readlink(path); dangling == nil {
			return BadRow("no such file: the link in the image folder %q leads to %q", im.dir, target)
		}
		return BadRow("no such file in the image folder %q", im.dir)
	case errors.Is(err, syscall.ENAMETOOLONG), errors.Is(err, syscall.EINVAL), errors.Is(err, syscall.ELOOP):
		return BadRow("%v", Bare(err))
	}
	return err
}
