package program

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/ranks"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/train"
)

func TestExitCode(t *testing.T) {
	read := func(errno syscall.Errno) error { return &fs.PathError{Op: "read", Path: "a", Err: errno} }
	for _, c := range []struct {
		name string
		err  error
		want int
	}{
		{"none", nil, 0},
		{"unclassified", errors.New("a"), 1},
		{"unclassified, of a path", read(syscall.ENOENT), 1},
		{"of input", failure.Inputf("a: %w", read(syscall.ENOENT)), 2},
		{"a bad row", picture.BadRow("a"), 2},
		{"too many bad rows", fmt.Errorf("%w: 6 of 6", data.ErrTooManySkipped), 2},
		{"a busy folder", fmt.Errorf("a: %w", checkpoints.ErrBusy), 2},
		{"of writing", failure.Storage(read(syscall.EACCES)), 3},
		{"of reading", fmt.Errorf("a: %w", read(syscall.EIO)), 3},
		{"of reading a given file", failure.Inputf("a: %w", read(syscall.EIO)), 3},
		{"a bad row while the disk is full", errors.Join(picture.BadRow("a"), read(syscall.ENOSPC)), 3},
		{"of libtorch", &torch.Error{}, 4},
		{"a model that libtorch refuses", failure.Input(fmt.Errorf("a: %w", &torch.Error{})), 4},
		{"no device", fmt.Errorf("%w: a", torch.ErrEngine), 4},
		{"numbers", fmt.Errorf("%w: a", train.ErrDiverged), 5},
		{"numerics and a full disk", errors.Join(fmt.Errorf("%w: a", train.ErrDiverged), read(syscall.ENOSPC)), 5},
		{"a peer", fmt.Errorf("a: %w", &ranks.PeerError{Why: "b"}), 6},
		{"a launched program", fmt.Errorf("a: %w", &ranks.Ended{Rank: 1, Code: 137}), 137},
		{"a signal", fmt.Errorf("%w after step 1", runs.ErrInterrupted), 130},
	} {
		if got := new(Program).ExitCode(c.err); got != c.want {
			t.Errorf("%s (%v): exit code %d, want %d", c.name, c.err, got, c.want)
		}
	}
	if got := (&Program{signal: syscall.SIGTERM}).ExitCode(runs.ErrInterrupted); got != 143 {
		t.Errorf("SIGTERM: exit code %d, want 143", got)
	}
}
