package answer

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/runs/failure"
)

func TestImagePath(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, name := range []string{"a.png", "b c.png", "d,e.png"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for given, want := range map[string]string{
		"a.png": "a.png", "d,e.png": "d,e.png", "file://" + dir + "/b%20c.png": dir + "/b c.png",
		"file://localhost" + dir + "/a.png": dir + "/a.png", "FILE:" + dir + "/a.png": dir + "/a.png",
	} {
		if got, err := ImagePath(given); got != want || err != nil {
			t.Errorf("%s: %q, %v", given, got, err)
		}
	}
	for given, want := range map[string]string{
		"https://example.org/a.png":         "is an address; nothing is downloaded: download it",
		"file://elsewhere" + dir + "/a.png": "is no address of a file on this machine; give the file's path",
		"file://" + dir + "/%zz.png":        "is no address of a file",
		"file://" + dir + "/a.png%2":        "is no address of a file",
		"file:a.png":                        "is no address of a file",
		"file:///none.png":                  "stat /none.png: no such file",
		"a.png,b c.png":                     "several images are given one by one: --image FILE --image FILE",
		"none,a.png":                        "stat none,a.png: no such file",
	} {
		if _, err := ImagePath(given); !errors.Is(err, failure.ErrInput) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", given, err, want)
		}
	}
}
