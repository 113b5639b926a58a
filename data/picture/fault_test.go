package picture

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/iotest"

	"golang.org/x/sys/unix"

	"github.com/llavatrain/llavatrain/data/datatest"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// failing is a place for images where reading fails.
type failing struct{ error }

func (f failing) file(string) ([]byte, error) {
	return nil, &os.PathError{Op: "read", Path: "a", Err: f.error}
}
func (failing) Close() error { return nil }

// requireStorage requires an error of the disk that is not blamed on a row: the row would be skipped silently.
func requireStorage(t *testing.T, what string, err error) {
	t.Helper()
	if !failure.IsStorage(err) || errors.Is(err, failure.ErrInput) {
		t.Errorf("%s: error is %v, want one of the disk", what, err)
	}
}

func requireInput(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, failure.ErrInput) || failure.IsStorage(err) {
		t.Errorf("%s: error is %v, want one of the user's", what, err)
	}
}

// A disk that fails under open pictures.
func TestImagesOnAFailingDisk(t *testing.T) {
	dir := t.TempDir()
	entries := []archiveEntry{{name: "a.png", content: "12345"}}
	for _, path := range []string{writeZip(t, filepath.Join(dir, "a.zip"), entries),
		writeTar(t, filepath.Join(dir, "a.tar"), entries)} {
		im, err := OpenImages(path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer im.Close()
		datatest.FailReads(t, path)
		_, err = im.Read("a.png")
		requireStorage(t, path, err)
	}
	im := &Images{failing{syscall.EIO}, usual}
	_, err := im.Read("a.png")
	requireStorage(t, "Read", err)
	_, err = im.Inspect(Image{Path: "a.png"})
	requireStorage(t, "Inspect", err)
	_, err = readUpTo(iotest.ErrReader(syscall.EIO), 5)
	requireStorage(t, "of a folder", err)
	_, err = OpenImages(datatest.Unreadable, Options{})
	requireStorage(t, "OpenImages", err)
}

func TestProcessorOnAFailingDisk(t *testing.T) {
	for _, name := range []string{processorFile, nestedFile} {
		dir := t.TempDir()
		if err := os.Symlink(datatest.Unreadable, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		_, err := OpenProcessor(dir, 0)
		requireStorage(t, name, err)
	}
}

// A decoder over a mapped file: a page that cannot be read is not the decoder's fault.
func TestShieldOnAFailingDisk(t *testing.T) {
	path := datatest.WriteFile(t, t.TempDir(), "file", "12345")
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	mapping, err := unix.Mmap(int(file.Fd()), 0, 5, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(mapping)
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	err = failure.ReadMapped(func() error {
		_, err := Shield(func(file []byte) (byte, error) { return file[0], nil }, mapping)
		return err
	})
	requireStorage(t, "Shield", err)
}

// What is wrong with the files, or with who may read them, is the user's.
func TestRefusalsAreTheUsers(t *testing.T) {
	dir := t.TempDir()
	_, err := OpenImages(filepath.Join(dir, "none"), Options{})
	requireInput(t, "no folder", err)
	_, err = OpenImages(filepath.Join(dir, "*.tar"), Options{})
	requireInput(t, "no archive", err)
	_, err = OpenImages(datatest.WriteFile(t, dir, "a.zip", "not this"), Options{})
	requireInput(t, "no zip", err)
	_, err = Matches("[")
	requireInput(t, "no pattern", err)
	_, err = OpenProcessor(dir, 0)
	requireInput(t, "no processor", err)
	datatest.WriteFile(t, dir, processorFile, "{}")
	_, err = OpenProcessor(dir, 0)
	requireInput(t, "a bad processor", err)
	closed := &Images{failing{syscall.EACCES}, usual}
	_, err = closed.Read("a.png")
	requireInput(t, "a closed picture", err)
	_, err = closed.Inspect(Image{Path: "a.png"})
	requireInput(t, "a closed picture's header", err)
	_, err = Decode([]byte("a"))
	requireInput(t, "no picture", err)
}
