package checkpoints

import (
	"crypto/rand"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// fault is called before each operation that a crash could interrupt, and before a mapped file is read; tests make it
// fail or kill the process there.
var fault = func(operation, path string) error { return nil }

// flush writes a file's content, or a folder's entries, to the disk.
func flush(f *os.File) error {
	if err := fault("flush", f.Name()); err != nil {
		return err
	}
	return f.Sync()
}

// flushPath flushes a file or a folder. A new or renamed file is on the disk only once its folder has been flushed,
// too.
func flushPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return flush(f)
}

func rename(from, to string) error {
	if err := fault("rename", to); err != nil {
		return err
	}
	return os.Rename(from, to)
}

func removeAll(path string) error {
	if err := fault("remove", path); err != nil {
		return err
	}
	return os.RemoveAll(path)
}

// swap exchanges two folders in one step, so that one of them always exists. On a file system that cannot do this (some
// network ones), there is a moment without either, and a kill at that moment leaves both folders under temporary names.
func swap(a, b string) error {
	err := fault("swap", b)
	if err == nil {
		err = unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
	}
	if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EOPNOTSUPP) {
		return err
	}
	trash := temporary(b, trashMark)
	return errors.Join(os.Rename(b, trash), os.Rename(a, b), os.Rename(trash, a))
}

// Parts of the names of folders and files that are being written or removed. A name that has one is a leftover if no
// process is running.
const (
	tempMark  = ".tmp-"
	trashMark = ".trash-"
)

var leftover = regexp.MustCompile(`\.(tmp|trash)-[a-z2-7]{8}$`)

// temporary returns a new name beside path, on the same file system.
func temporary(path, mark string) string {
	return path + mark + strings.ToLower(rand.Text()[:8])
}

// sweep removes what killed processes left in dir under temporary names of base, or of any name if base is "".
func sweep(dir, base string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		mark := leftover.FindStringIndex(entry.Name())
		if mark == nil || base != "" && entry.Name()[:mark[0]] != base {
			continue
		}
		if err := removeAll(filepath.Join(dir, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

// replaceFile writes a file beside path, flushes it, and renames it to path: path holds the old content or the new,
// never a part, and a process that has the old file mapped keeps it.
func replaceFile(path string, write func(io.Writer) error) error {
	temp := temporary(path, tempMark)
	err := writeFlushed(temp, write)
	if err == nil {
		err = rename(temp, path)
	}
	if err != nil {
		os.Remove(temp)
		return failure.Storage(err)
	}
	return failure.Storage(flushPath(filepath.Dir(path)))
}

// writeFlushed creates a file and flushes it.
func writeFlushed(path string, write func(io.Writer) error) error {
	if err := fault("write", path); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	if err = write(f); err == nil {
		err = flush(f)
	}
	return errors.Join(err, f.Close())
}
