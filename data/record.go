package data

import (
	"errors"
	"fmt"
)

// ErrRow is wrapped by every error that lies in one row of the data: the row can be left out and the rest used. Any other error is
// a fault of the disk or the program.
var ErrRow = errors.New("row cannot be used")

// rowError is a message that wraps ErrRow without repeating it.
type rowError string

func (e rowError) Error() string { return string(e) }
func (e rowError) Unwrap() error { return ErrRow }

func badRow(format string, args ...any) error { return rowError(fmt.Sprintf(format, args...)) }
