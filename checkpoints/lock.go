package checkpoints

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// ErrBusy means that another process writes to the run folder. The message says which one, if that is known, and what
// to do.
var ErrBusy = failure.Input(errors.New("run folder is in use"))

func (r Run) lockFile() string { return filepath.Join(r.Dir, ".lock") }

// Lock makes the folder if need be and keeps other processes from writing to it until release, or the end of this
// process. The error
// wraps ErrBusy where another process keeps this one from it.
func (r Run) Lock() (release func(), err error) {
	if err := os.MkdirAll(r.Dir, 0o777); err != nil {
		return nil, failure.Storage(err)
	}
	f, err := os.OpenFile(r.lockFile(), os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, failure.Storage(err)
	}
	if err := r.take(f); err != nil {
		f.Close()
		return nil, err
	}
	signLock(f)
	return func() { f.Close() }, nil
}

// Busy is the error of Lock where another process writes to the folder. It makes nothing, so that it can be asked
// before long work.
func (r Run) Busy() error {
	f, err := os.OpenFile(r.lockFile(), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return failure.Storage(err)
	}
	defer f.Close()
	return r.take(f)
}

// take locks the file until it is closed.
func (r Run) take(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return fmt.Errorf("%w: %s works in %s; wait for it to end, or choose another name or runs",
			ErrBusy, signer(f), r.Dir)
	}
	return failure.Storage(err)
}

// signLock leaves this process's number and the machine's name in the file that it has locked, for the message of
// those who come next. On
// a full disk the message does without.
func signLock(f *os.File) {
	host, _ := os.Hostname()
	f.Truncate(0)
	fmt.Fprintf(f, "%d %s\n", os.Getpid(), host)
}

// signer is who locked the file.
func signer(f *os.File) string {
	text, _ := io.ReadAll(io.LimitReader(f, 1<<10))
	signed := strings.Fields(string(text))
	if len(signed) == 0 {
		return "another llavatrain"
	}
	number, err := strconv.Atoi(signed[0])
	here, _ := os.Hostname()
	switch {
	case err != nil:
		return "another llavatrain"
	case len(signed) == 1 || signed[1] == here:
		return fmt.Sprintf("process %d", number)
	}
	return fmt.Sprintf("process %d on %q", number, signed[1])
}
