package checkpoints

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// ErrBusy means that another process writes to the run folder.
var ErrBusy = failure.Input(errors.New("run folder is in use"))

// Lock makes the folder if need be and keeps other processes from writing to it until release, or the end of this process.
func (r Run) Lock() (release func(), err error) {
	if err := os.MkdirAll(r.Dir, 0o777); err != nil {
		return nil, failure.Storage(err)
	}
	f, err := os.OpenFile(filepath.Join(r.Dir, ".lock"), os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, failure.Storage(err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: another llavatrain trains in %s; wait for it, or choose another name or runs", ErrBusy, r.Dir)
		}
		return nil, failure.Storage(err)
	}
	return func() { f.Close() }, nil
}
