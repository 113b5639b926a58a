package checkpoints

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// put writes files, by relative name.
func put(dir string, files map[string]string) error {
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o777),
			os.WriteFile(path, []byte(text), 0o666)); err != nil {
			return err
		}
	}
	return nil
}

var sample = map[string]string{"state.json": `{"step":3}`, "weights": strings.Repeat("0123456789", 500),
	"sub/deep/more": "", "sub/one": "1"}

// published makes a complete folder.
func published(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "parent", "out")
	must(t, Publish(dir, func(tmp string) error { return put(tmp, sample) }))
	return dir
}

func contents(t testing.TB, dir string) map[string]string {
	t.Helper()
	names, _, err := walk(dir)
	must(t, err)
	files := map[string]string{}
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(dir, name))
		must(t, err)
		files[name] = string(text)
	}
	return files
}

func TestPublish(t *testing.T) {
	dir := published(t)
	wantEqual(t, contents(t, dir), sample)
	must(t, Verify(dir))
	must(t, Publish(dir, func(tmp string) error { return put(tmp, map[string]string{"new": "x"}) }))
	wantEqual(t, contents(t, dir), map[string]string{"new": "x"})
	must(t, Verify(dir))
	wantEqual(t, list(t, filepath.Dir(dir)), []string{"out"})
}

// What reads back otherwise than it was written is not published.
func TestPublishReadsBack(t *testing.T) {
	defer noFault()
	dir := published(t)
	fault = func(operation, path string) error {
		if operation == "flush" && filepath.Base(path) == manifestName {
			return os.WriteFile(filepath.Join(filepath.Dir(path), "weights"), make([]byte, 5000), 0o666)
		}
		return nil
	}
	err := Publish(dir, func(tmp string) error { return put(tmp, sample) })
	wantError(t, err, "weights", "SHA-256")
	if !errors.Is(err, failure.ErrStorage) {
		t.Error(err)
	}
	wantEqual(t, contents(t, dir), sample)
	wantEqual(t, list(t, filepath.Dir(dir)), []string{"out"})
}

// A file system without the exchange of names.
func TestPublishWithoutExchange(t *testing.T) {
	defer noFault()
	dir := published(t)
	fault = func(operation, path string) error {
		if operation == "swap" {
			return syscall.EINVAL
		}
		return nil
	}
	must(t, Publish(dir, func(tmp string) error { return put(tmp, map[string]string{"new": "x"}) }))
	wantEqual(t, contents(t, dir), map[string]string{"new": "x"})
	wantEqual(t, list(t, filepath.Dir(dir)), []string{"out"})
}

func TestPublishErrors(t *testing.T) {
	other := errors.New("out of ideas")
	for name, c := range map[string]struct {
		write   func(tmp string) error
		storage bool
	}{
		"caller's error": {func(tmp string) error { return errors.Join(put(tmp, sample), other) }, false},
		"disk full":      {func(tmp string) error { return errors.Join(put(tmp, sample), syscall.ENOSPC) }, true},
		"link":           {func(tmp string) error { return os.Symlink("/etc/passwd", filepath.Join(tmp, "x")) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := published(t)
			err := Publish(dir, c.write)
			if err == nil || errors.Is(err, failure.ErrStorage) != c.storage {
				t.Error(err)
			}
			wantEqual(t, contents(t, dir), sample)
			must(t, Verify(dir))
			wantEqual(t, list(t, filepath.Dir(dir)), []string{"out"})
		})
	}
}

func TestPublishSweeps(t *testing.T) {
	dir := published(t)
	parent := filepath.Dir(dir)
	mine := []string{"out.tmp-abcdefg2", "out.trash-abcdefg2"}
	others := []string{"other.tmp-abcdefg2", "out", "out.tmp-notes", "outer"}
	for _, name := range append(slices.Clone(mine), others...) {
		must(t, os.MkdirAll(filepath.Join(parent, name, "x"), 0o777))
	}
	must(t, Publish(dir, func(tmp string) error { return put(tmp, sample) }))
	wantEqual(t, list(t, parent), others)
}

func TestVerify(t *testing.T) {
	file := func(dir string) string { return filepath.Join(dir, "weights") }
	for name, c := range map[string]struct {
		harm func(dir string) error
		want []string
	}{
		"manifest gone": {func(dir string) error { return os.Remove(filepath.Join(dir, manifestName)) },
			[]string{manifestName}},
		"manifest emptied": {func(dir string) error { return os.Truncate(filepath.Join(dir, manifestName), 0) },
			[]string{manifestName}},
		"manifest spaced": {func(dir string) error {
			text, _ := os.ReadFile(filepath.Join(dir, manifestName))
			return os.WriteFile(filepath.Join(dir, manifestName), append(text, '\n'), 0o666)
		}, []string{manifestName, "changed"}},
		"file gone": {func(dir string) error { return os.Remove(file(dir)) }, []string{"weights", "missing"}},
		"file cut": {func(dir string) error { return os.Truncate(file(dir), 4999) },
			[]string{"weights", "4999 bytes", "5000"}},
		"file emptied": {func(dir string) error { return os.Truncate(file(dir), 0) },
			[]string{"weights", "0 bytes"}},
		"file longer": {func(dir string) error { return os.Truncate(file(dir), 5001) },
			[]string{"weights", "5001 bytes"}},
		"file a link": {func(dir string) error {
			return errors.Join(os.Remove(file(dir)),
				os.Symlink("state.json", file(dir)))
		}, []string{"regular"}},
		"file zeroed": {func(dir string) error { return os.WriteFile(file(dir), make([]byte, 5000), 0o666) },
			[]string{"weights", "SHA-256"}},
		"file renamed": {func(dir string) error { return os.Rename(file(dir), file(dir)+"2") },
			[]string{"weights"}},
		"extra file": {func(dir string) error { return put(dir, map[string]string{"zzz": ""}) },
			[]string{"zzz", "not in the manifest"}},
		"extra file, deep": {func(dir string) error { return put(dir, map[string]string{"sub/a": ""}) },
			[]string{"sub/a", "not in the manifest"}},
		"files swapped": {func(dir string) error {
			return unix.Renameat2(unix.AT_FDCWD, file(dir), unix.AT_FDCWD, filepath.Join(dir, "sub/one"),
				unix.RENAME_EXCHANGE)
		}, []string{"sub/one"}},
		"folder gone": {os.RemoveAll, []string{"no such file"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := published(t)
			must(t, c.harm(dir))
			wantError(t, Verify(dir), c.want...)
		})
	}
}

func TestVerifyFlippedByte(t *testing.T) {
	dir := published(t)
	sizes := map[string]int{manifestName: 0}
	for name, text := range contents(t, dir) {
		if text != "" {
			sizes[name] = len(text)
		}
	}
	info, err := os.Stat(filepath.Join(dir, manifestName))
	must(t, err)
	sizes[manifestName] = int(info.Size())
	rapid.Check(t, func(r *rapid.T) {
		name := rapid.SampledFrom(slices.Sorted(maps.Keys(sizes))).Draw(r, "file")
		at := rapid.IntRange(0, sizes[name]-1).Draw(r, "byte")
		flip(t, filepath.Join(dir, name), at, rapid.ByteRange(1, 255).Draw(r, "mask"))
	})
	for at := range sizes[manifestName] { // JSON has bytes that a parser does not care about
		for bit := range 8 {
			flip(t, filepath.Join(dir, manifestName), at, 1<<bit)
		}
	}
	must(t, Verify(dir))
}

// flip changes one byte, expects that Verify sees it, and changes it back.
func flip(t *testing.T, path string, at int, mask byte) {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	text[at] ^= mask
	must(t, os.WriteFile(path, text, 0o666))
	dir := path[:strings.Index(path, "/out")+len("/out")]
	if Verify(dir) == nil {
		t.Errorf("%s: byte %d ^ %02x goes unseen", path, at, mask)
	}
	text[at] ^= mask
	must(t, os.WriteFile(path, text, 0o666))
}
