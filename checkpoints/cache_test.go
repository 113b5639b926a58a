package checkpoints

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/llavatrain/llavatrain/runs/failure"
)

func TestCacheFolder(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", "/user/cache")
	for named, want := range map[string]string{"": "/user/cache/llavatrain", "/elsewhere": "/elsewhere"} {
		t.Setenv("LLAVATRAIN_CACHE", named)
		got, err := CacheFolder()
		must(t, err)
		if got != want {
			t.Errorf("LLAVATRAIN_CACHE=%s: %s, want %s", named, got, want)
		}
	}
}

func TestReplaceFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if Exists(path) {
		t.Error("a file that was not written exists")
	}
	for _, text := range []string{"old", "new", ""} {
		must(t, ReplaceFile(path, []byte(text)))
		wantEqual(t, contents(t, dir), map[string]string{"file": text})
	}
	if !Exists(path) || !Exists(dir) {
		t.Error("a file or its folder does not exist")
	}
	blocked := filepath.Join(path, "below")
	if err := ReplaceFile(blocked, nil); !errors.Is(err, failure.ErrStorage) || Exists(blocked) {
		t.Errorf("a file below a file: %v", err)
	}
}

// A replacement that fails leaves the old content and nothing beside it.
func TestReplaceFileFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	must(t, ReplaceFile(path, []byte("old")))
	defer func(before func(string, string) error) { fault = before }(fault)
	for _, at := range []string{"write", "flush", "rename"} {
		fault = func(operation, _ string) error {
			if operation == at {
				return os.ErrPermission
			}
			return nil
		}
		if err := ReplaceFile(path, []byte("new")); !errors.Is(err, os.ErrPermission) {
			t.Errorf("%s: %v", at, err)
		}
		wantEqual(t, contents(t, dir), map[string]string{"file": "old"})
	}
}
