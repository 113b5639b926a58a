package failure

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
)

// ReadMapped calls read, which reads memory that is mapped from a file. If the system cannot load a page, because the
// disk fails or the file was truncated, ReadMapped returns an error that wraps ErrStorage; otherwise the process would
// end. This works only for Go code: see ReadPages for memory that C code will read.
func ReadMapped(read func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		fault := recover()
		if fault == nil {
			return
		}
		if err = OfPage(fault); err == nil {
			panic(fault) // not a page fault: leave it to the caller
		}
	}()
	return read()
}

// ReadPages loads every page of data, which is mapped from a file, with the errors of ReadMapped.
func ReadPages(data []byte) error {
	if len(data) == 0 {
		return nil
	}
	return ReadMapped(func() error {
		sum, page := data[len(data)-1], os.Getpagesize()
		for at := 0; at < len(data); at += page {
			sum += data[at]
		}
		runtime.KeepAlive(sum) // or the compiler could drop the reads
		return nil
	})
}

// OfPage turns what recover returned into the error of a page that could not be loaded, or nil for any other panic.
func OfPage(fault any) error {
	// The runtime.Error of a memory fault has this method: see debug.SetPanicOnFault.
	if _, ok := fault.(interface{ Addr() uintptr }); !ok {
		return nil
	}
	return fmt.Errorf("%w: the file cannot be read: the disk failed, or the file was truncated while it was open",
		ErrStorage)
}
