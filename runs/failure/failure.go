// Package failure says whose fault an error is, for the exit code that it ends the program with.
//
// An error counts as the program's own fault until a room marks it: as the user's (ErrInput) or as the disk's (ErrStorage). Rooms mark
// where their errors leave them, once for each exported function, by MarkInput. The mark is no part of the message.
package failure

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"syscall"
)

// ErrInput is wrapped by errors that lie in what the user gave: the recipe, the data, the files of a model, the command line.
var ErrInput = errors.New("input")

// ErrStorage is wrapped by errors of the disk, reading or writing: full, read-only, over quota, failing. Errors that only the operating
// system named count too: see IsStorage.
var ErrStorage = errors.New("storage")

// input is an error marked with ErrInput. Its message is that of the error alone.
type input struct{ error }

func (i input) Unwrap() []error { return []error{i.error, ErrInput} }

// Input marks an error as the user's. An error that is marked already, or that is the disk's, stays as it is; nil stays nil.
func Input(err error) error {
	if several, ok := err.(Several); ok {
		marked := make([]error, len(several))
		for i, one := range several {
			marked[i] = Input(one)
		}
		return Join(marked...)
	}
	if err == nil || errors.Is(err, ErrInput) || IsStorage(err) {
		return err
	}
	return input{err}
}

// Inputf is a new error of the user's, formatted as by fmt.Errorf.
func Inputf(format string, args ...any) error { return Input(fmt.Errorf(format, args...)) }

// MarkInput marks the error that a function returns: defer failure.MarkInput(&err), where all that can fail is what it was given.
func MarkInput(err *error) { *err = Input(*err) }

// Storage marks the error of writing a file, if the operating system reported it, whatever it was: where the program writes, a folder
// that is missing or closed to it is a fault of the storage too. Other errors stay as they are, marked ones among them; nil stays nil.
func Storage(err error) error {
	var errno syscall.Errno
	switch {
	case errors.Is(err, ErrStorage), errors.Is(err, ErrInput):
		return err
	case errors.As(err, &errno), errors.Is(err, io.ErrShortWrite):
		return fmt.Errorf("%w: %w", ErrStorage, err)
	}
	return err
}

// aboutPath is what the operating system says of a path that was given, where nothing is wrong with the disk.
var aboutPath = []syscall.Errno{
	syscall.ENOENT, syscall.ENOTDIR, syscall.EISDIR, syscall.EACCES, syscall.EPERM, syscall.EEXIST, syscall.ELOOP, syscall.ENAMETOOLONG,
	syscall.EINVAL, syscall.ENXIO,
}

// IsStorage says whether an error is the disk's: it wraps ErrStorage, or an error of the operating system that is not about the path.
// Of several errors one is enough.
func IsStorage(err error) bool {
	if errno, ok := err.(syscall.Errno); ok {
		return !slices.Contains(aboutPath, errno)
	}
	switch err := err.(type) {
	case interface{ Unwrap() error }:
		return IsStorage(err.Unwrap())
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(err.Unwrap(), IsStorage)
	}
	return err == ErrStorage
}
