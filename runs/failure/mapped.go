package failure

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
)

// ReadMapped calls read, which reads memory that is mapped from a file. A page that the system cannot bring, because the disk fails or
// the file was cut, becomes an error that wraps ErrStorage; it would end the process otherwise. That holds for Go code alone: see
// ReadPages for memory that C code will read.
func ReadMapped(read func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		fault := recover()
		if fault == nil {
			return
		}
		if err = OfPage(fault); err == nil {
			panic(fault) // it is another's; this function cannot know what it is
		}
	}()
	return read()
}

// ReadPages brings every page of data, which is mapped from a file, with the errors of ReadMapped.
func ReadPages(data []byte) error {
	if len(data) == 0 {
		return nil
	}
	return ReadMapped(func() error {
		sum, page := data[len(data)-1], os.Getpagesize()
		for at := 0; at < len(data); at += page {
			sum += data[at]
		}
		runtime.KeepAlive(sum) // or the reads could be left out
		return nil
	})
}

// OfPage is the error of a page that could not be brought, from what recover returned; nil for any other panic.
func OfPage(fault any) error {
	if _, ok := fault.(interface{ Addr() uintptr }); !ok { // what runtime.Error has for a fault of memory, see debug.SetPanicOnFault
		return nil
	}
	return fmt.Errorf("%w: the file cannot be read: the disk failed, or the file was cut while it was open", ErrStorage)
}
