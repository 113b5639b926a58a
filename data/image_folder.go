package data

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// imageFolder is a folder of pictures.
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
	if err := checkName(name, fmt.Sprintf("the image folder %q", im.root.Name())); err != nil {
		return nil, err
	}
	info, err := im.root.Stat(name) // before Open, which would wait for ever on a named pipe
	if err != nil {
		return nil, im.pathError(err)
	}
	if !info.Mode().IsRegular() {
		return nil, badRow("not a regular file (%s)", info.Mode())
	}
	if err := checkFileSize(info.Size()); err != nil {
		return nil, err
	}
	f, err := im.root.Open(name)
	if err != nil {
		return nil, im.pathError(err)
	}
	defer f.Close()
	file := make([]byte, info.Size())
	if n, err := io.ReadFull(f, file); err == io.EOF || err == io.ErrUnexpectedEOF {
		file = file[:n] // it shrank since; the decoder will say that it is truncated
	} else if err != nil {
		return nil, err
	}
	return file, nil
}

// pathError tells a bad path in a row from a fault of the storage (permission, I/O, too many open files).
func (im imageFolder) pathError(err error) error {
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
