package checkpoints

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// FreeSpace is the number of bytes available under dir, which need not exist yet.
func FreeSpace(dir string) (int64, error) {
	var stat unix.Statfs_t
	for at := filepath.Clean(dir); ; at = filepath.Dir(at) {
		err := unix.Statfs(at, &stat)
		if err == nil {
			return int64(stat.Bavail) * stat.Bsize, nil
		}
		if !errors.Is(err, fs.ErrNotExist) || at == filepath.Dir(at) {
			return 0, fmt.Errorf("free space of %q: %w", dir, err)
		}
	}
}

// NeedSpace checks, before anything is written, that the disk has room for the given number of bytes under dir, which
// need not exist yet. The error wraps failure.ErrStorage.
func NeedSpace(dir string, bytes int64) error {
	free, err := FreeSpace(dir)
	if err != nil {
		return fmt.Errorf("%w: %w", failure.ErrStorage, err)
	}
	if free < bytes {
		return fmt.Errorf("%w: %q has %s free, but %s are needed: free some space, or write to another disk",
			failure.ErrStorage, dir, Megabytes(free), Megabytes(bytes))
	}
	return nil
}

// Megabytes formats a number of bytes in MB, which are 10^6 bytes.
func Megabytes(bytes int64) string { return fmt.Sprintf("%.1f MB", float64(bytes)/1e6) }
