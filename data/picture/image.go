package picture

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// ErrRow is wrapped by every error in one row of the data: the row can be left out and the rest used. It is an input
// error; any other error concerns a whole file, or is a fault of the disk or the program.
var ErrRow = failure.Input(errors.New("row cannot be used"))

// rowError is a message that wraps ErrRow without repeating it.
type rowError string

func (e rowError) Error() string { return string(e) }

func (e rowError) Unwrap() error { return ErrRow }

func BadRow(format string, args ...any) error { return rowError(fmt.Sprintf(format, args...)) }

// Image is one image of a row: prepared, or an encoded file, or the path of a file in the entry's image folder.
type Image struct {
	Path     string   // as written in the row; only for messages if one of the others is set
	File     []byte   // the encoded image, if the row contains it
	Prepared *Picture // the image at the tower's size, from shards with pixels
}

// Progress is called with the amount of work done and the total, in any unit.
type Progress func(done, total int64)

// Of is the progress of file i of n; all files count the same.
func (p Progress) Of(i, n int) Progress {
	if n == 1 {
		return p
	}
	const each = 1000
	return func(done, total int64) { p(int64(i)*each+each*done/max(total, 1), int64(n)*each) }
}

// Matches returns the files that match a path or pattern. A path that exists is not treated as a pattern.
func Matches(path string) (paths []string, err error) {
	defer failure.MarkInput(&err)
	if _, err := os.Stat(path); err == nil || !strings.ContainsAny(path, "*?[") {
		return []string{path}, nil
	}
	if paths, err = filepath.Glob(path); err != nil {
		return nil, fmt.Errorf("pattern %q: %w", path, err)
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("pattern %q matches no file", path)
	}
	slices.Sort(paths)
	return paths, nil
}

// Bare is a file system error without its path, which the caller adds.
func Bare(err error) error {
	if path := new(os.PathError); errors.As(err, &path) {
		return path.Err
	}
	return err
}
