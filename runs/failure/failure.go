// Package failure says whose fault an error is, for the exit code that it ends the program with.
//
// An error counts as the program's fault until a package marks it as the user's (ErrInput), the disk's (ErrStorage) or
// that of a server (ErrRemote). Packages mark errors where they return them, once in each exported function, by
// MarkInput. ErrInput and ErrRemote do not show in the message.
package failure

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"syscall"
)

// ErrInput is wrapped by errors in what the user gave: the recipe, the data, the files of a model, the command line.
var ErrInput = errors.New("input")

// ErrStorage is wrapped by errors of the disk, preprocessor or writing: full, read-only, over quota, failing. An
// error of
// the operating system counts even if nobody wrapped it: see IsStorage.
var ErrStorage = errors.New("storage")

// ErrRemote is wrapped by errors that end the work with a server: it refuses the key, its quota or the budget of the
// run is used up, or it does not answer.
var ErrRemote = errors.New("remote end")

// marked is an error with a mark, ErrInput or ErrRemote, that does not show in its message.
type marked struct {
	error
	mark error
}

func (m marked) Unwrap() []error { return []error{m.error, m.mark} }

// Input marks an error as the user's. An error that is already marked, or is the disk's, stays as it is; nil stays nil.
func Input(err error) error {
	if several, ok := err.(Several); ok {
		marked := make([]error, len(several))
		for i, one := range several {
			marked[i] = Input(one)
		}
		return Join(marked...)
	}
	if err == nil || errors.Is(err, ErrInput) || errors.Is(err, ErrRemote) || IsStorage(err) {
		return err
	}
	return marked{err, ErrInput}
}

// Inputf formats an error, as fmt.Errorf does, and marks it as the user's.
func Inputf(format string, args ...any) error { return Input(fmt.Errorf(format, args...)) }

// Remotef formats an error, as fmt.Errorf does, and marks it as a server's.
func Remotef(format string, args ...any) error { return marked{fmt.Errorf(format, args...), ErrRemote} }

// MarkInput marks the error that a function returns: defer failure.MarkInput(&err), in functions that can fail only
// because of what they were given.
func MarkInput(err *error) { *err = Input(*err) }

// Storage marks an error of writing a file as the disk's if the operating system reported it, whatever it is: when the
// program writes, a folder that is missing or not writable is a fault of the storage too. All other errors stay as they
// are, as do marked ones; nil stays nil.
func Storage(err error) error {
	var errno syscall.Errno
	switch {
	case errors.Is(err, ErrStorage), errors.Is(err, ErrInput), errors.Is(err, ErrRemote):
		return err
	case errors.As(err, &errno), errors.Is(err, io.ErrShortWrite):
		return fmt.Errorf("%w: %w", ErrStorage, err)
	}
	return err
}

// aboutPath are the operating system's errors about a path that was given, when nothing is wrong with the disk.
var aboutPath = []syscall.Errno{
	syscall.ENOENT, syscall.ENOTDIR, syscall.EISDIR, syscall.EACCES, syscall.EPERM, syscall.EEXIST, syscall.ELOOP,
	syscall.ENAMETOOLONG, syscall.EINVAL, syscall.ENXIO,
}

// IsStorage says whether an error is the disk's: it wraps ErrStorage, or an error of the operating system that is not
// about the path.
// Of several errors one is enough.
func IsStorage(err error) bool {
	if errno, ok := err.(syscall.Errno); ok {
		return !slices.Contains(aboutPath, errno)
	}
	switch err := err.(type) {
	case marked:
		// A connection that is refused or reset is an error of the operating system, too.
		return err.mark != ErrRemote && IsStorage(err.error)
	case interface{ Unwrap() error }:
		return IsStorage(err.Unwrap())
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(err.Unwrap(), IsStorage)
	}
	return err == ErrStorage
}
