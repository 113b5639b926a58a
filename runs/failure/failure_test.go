package failure

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func pathError(errno syscall.Errno) error { return &fs.PathError{Op: "read", Path: "a", Err: errno} }

// Whose fault an error is: before a package marks it, and after it is marked as the user's or as one of writing.
func TestMarks(t *testing.T) {
	type marks struct{ input, storage, remote bool }
	unmarked, users, disks, servers := marks{}, marks{input: true}, marks{storage: true}, marks{remote: true}
	for _, c := range []struct {
		name                     string
		err                      error
		bare, asInput, asStorage marks
	}{
		{"anything", errors.New("a"), unmarked, users, unmarked},
		{"missing", pathError(syscall.ENOENT), unmarked, users, disks},
		{"a folder", pathError(syscall.EISDIR), unmarked, users, disks},
		{"in a file", pathError(syscall.ENOTDIR), unmarked, users, disks},
		{"closed", pathError(syscall.EACCES), unmarked, users, disks},
		{"a failing disk", pathError(syscall.EIO), disks, disks, disks},
		{"a full disk", pathError(syscall.ENOSPC), disks, disks, disks},
		{"a read-only disk", fmt.Errorf("b: %w", pathError(syscall.EROFS)), disks, disks, disks},
		{"a missing file, then a failing disk",
			errors.Join(pathError(syscall.ENOENT), pathError(syscall.EIO)), disks, disks, disks},
		{"written short", io.ErrShortWrite, unmarked, users, disks},
		{"the user's", Inputf("a: %w", io.EOF), users, users, users},
		{"the user's by a missing file", Input(pathError(syscall.ENOENT)), users, users, users},
		{"the disk's", fmt.Errorf("%w: a", ErrStorage), disks, disks, disks},
		{"a server's", Remotef("a: %w", io.EOF), servers, servers, servers},
		{"a server's by a lost connection", fmt.Errorf("b: %w", Remotef("a: %w", syscall.ECONNREFUSED)), servers,
			servers, servers},
	} {
		for what, pair := range map[string]struct {
			err  error
			want marks
		}{"bare": {c.err, c.bare}, "Input": {Input(c.err), c.asInput}, "Storage": {Storage(c.err), c.asStorage}} {
			if got := (marks{errors.Is(pair.err, ErrInput), IsStorage(pair.err),
				errors.Is(pair.err, ErrRemote)}); got != pair.want {
				t.Errorf("%s, %s: %+v, want %+v", c.name, what, got, pair.want)
			}
			if !errors.Is(pair.err, c.err) {
				t.Errorf("%s, %s: the error is not wrapped", c.name, what)
			}
		}
	}
}

// The marks of input and of servers do not show; that of storage does, once.
func TestMessages(t *testing.T) {
	for want, err := range map[string]error{
		"a: EOF":                              Inputf("a: %w", io.EOF),
		"EOF":                                 Input(Input(io.EOF)),
		"b: EOF":                              Input(Remotef("b: %w", io.EOF)),
		"storage: short write":                Storage(Storage(io.ErrShortWrite)),
		"storage: read a: input/output error": Storage(pathError(syscall.EIO)),
	} {
		if err.Error() != want {
			t.Errorf("message %q, want %q", err, want)
		}
	}
	if Input(nil) != nil || Storage(nil) != nil {
		t.Error("no error became one")
	}
}

// A function's own error is marked when it returns.
func TestMarkInput(t *testing.T) {
	fails := func() (err error) {
		defer MarkInput(&err)
		return io.EOF
	}
	if err := fails(); !errors.Is(err, ErrInput) || !errors.Is(err, io.EOF) {
		t.Errorf("error %v", err)
	}
}

// A truncated file gives the same signal as a page that the disk cannot read.
func TestReadMapped(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, make([]byte, 1<<16), 0o666); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	mapping, err := unix.Mmap(int(file.Fd()), 0, 1<<16, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(mapping)
	var sum byte
	read := func() error {
		sum += mapping[len(mapping)-1]
		return io.EOF
	}
	if err, pages := ReadMapped(read), ReadPages(mapping); err != io.EOF || pages != nil {
		t.Errorf("before the cut: %v, %v", err, pages)
	}
	page := os.Getpagesize()
	if err := os.Truncate(path, int64(page)); err != nil {
		t.Fatal(err)
	}
	if err := ReadMapped(read); !errors.Is(err, ErrStorage) {
		t.Errorf("after the cut: %v", err)
	}
	for _, c := range []struct {
		begin, end int
		fails      bool
	}{
		{0, 0, false}, {0, page, false}, {0, page + 1, true},
		{page - 1, page + 1, true}, {1, 3 * page, true}, {page, page + 1, true},
	} {
		if err := ReadPages(mapping[c.begin:c.end]); errors.Is(err, ErrStorage) != c.fails {
			t.Errorf("bytes %d to %d of a file of one page: %v", c.begin, c.end, err)
		}
	}
}

// Other panics pass through.
func TestReadMappedPanics(t *testing.T) {
	defer func() {
		if fault := recover(); fault != "a" {
			t.Errorf("recovered %v", fault)
		}
	}()
	ReadMapped(func() error { panic("a") })
}
