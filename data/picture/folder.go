package picture

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// imageFolder is a folder of images.
type imageFolder struct {
	root *os.Root
}

func openFolder(dir string) (imageFolder, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return imageFolder{}, fmt.Errorf("image folder %q: %w", dir, err)
	}
	return imageFolder{root}, nil
}

func (im imageFolder) Close() error { return im.root.Close() }

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
func (im imageFolder) stat(name string) (fs.FileInfo, error) {
	if err := checkName(name, fmt.Sprintf("the image folder %q", im.root.Name())); err != nil {
		return nil, err
	}
	info, err := im.root.Stat(name) // before Open, which would block on a named pipe
	if err != nil {
		return nil, im.pathError(err)
	}
	if !info.Mode().IsRegular() {
		return nil, BadRow("not a regular file (%s)", info.Mode())
	}
	return info, checkFileSize(info.Size())
}

func (im imageFolder) open(name string) (*os.File, fs.FileInfo, error) {
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

// pathError distinguishes a bad path in a row from a storage fault (permission, I/O, too many open files).
func (im imageFolder) pathError(err error) error {
	var errno syscall.Errno
	switch {
	case errors.Is(err, fs.ErrClosed):
		return err
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return BadRow("no such file in the image folder %q", im.root.Name())
	case errors.Is(err, syscall.ENAMETOOLONG), errors.Is(err, syscall.EINVAL), errors.Is(err, syscall.ELOOP):
		return BadRow("%v", err)
	case !errors.As(err, &errno): // refused by os.Root, not by the system
		return BadRow("path leads out of the image folder %q, through \"..\" or a symbolic link (%v); "+
			"put the files inside it, or make the folder itself the link", im.root.Name(), err)
	}
	return err
}
