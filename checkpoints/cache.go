package checkpoints

import (
	"io"
	"os"
	"path/filepath"
)

// CacheFolder is where llavatrain keeps what it can make again: the folder that LLAVATRAIN_CACHE names, or its own in
// the user's cache. It need not exist.
func CacheFolder() (string, error) {
	if named := os.Getenv("LLAVATRAIN_CACHE"); named != "" {
		return named, nil
	}
	user, err := os.UserCacheDir()
	return filepath.Join(user, "llavatrain"), err
}

// ReplaceFile writes a file so that path holds the old content or the new, never a part: after a crash, and for a
// process that reads it meanwhile. An error of the disk wraps ErrStorage.
func ReplaceFile(path string, content []byte) error {
	return replaceFile(path, func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	})
}

// Exists says whether a file or folder lies at path, and may be seen.
func Exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
