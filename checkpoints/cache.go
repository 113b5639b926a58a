package checkpoints

import (
	"io"
	"os"
	"path/filepath"
)

// CacheFolder is where llavatrain keeps files that it can regenerate: the folder named by LLAVATRAIN_CACHE, or its
// folder in the user's cache. It need not exist.
func CacheFolder() (string, error) {
	if named := os.Getenv("LLAVATRAIN_CACHE"); named != "" {
		return named, nil
	}
	user, err := os.UserCacheDir()
	return filepath.Join(user, "llavatrain"), err
}

// ReplaceFile writes a file atomically: path holds the old content or the new, never a part, after a crash and for a
// process that reads it meanwhile. An error of the disk wraps ErrStorage.
func ReplaceFile(path string, content []byte) error {
	return replaceFile(path, func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	})
}

// WriteFile is ReplaceFile for content that is written piece by piece. An error of write is returned as it is, and
// leaves the old content.
func WriteFile(path string, write func(io.Writer) error) error { return replaceFile(path, write) }

// Exists reports whether a file or folder exists at path and is accessible.
func Exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
