package torch

/*
#include <stdlib.h>
#include "shim/shim.h"
*/
import "C"

import (
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"unsafe"

	"github.com/sugarme/gotch/libtch"
)

// Error is a failure inside the engine: an operation refused its arguments, or memory ran out.
type Error struct {
	Op  string // the operation that failed
	Msg string // the engine's message, without its stack trace

	Peers bool // other processes took part: one of them may be the cause
}

func (e *Error) Error() string { return fmt.Sprintf("engine: %s: %s", e.Op, e.Msg) }

// OutOfMemory says whether the engine ran out of memory.
func (e *Error) OutOfMemory() bool {
	return strings.Contains(e.Msg, "out of memory") || strings.Contains(e.Msg, "can't allocate memory")
}

// Scope owns the tensors made in it and frees them when it ends.
type Scope struct {
	tensors []*Tensor
}

var live atomic.Int64

// Live is the number of tensors that exist now, owned ones included. A training step leaves it unchanged.
func Live() int64 { return live.Load() }

// Do runs f on a locked OS thread in a new scope. A failure of the engine inside f is returned as an *Error; any
// other panic propagates.
func Do(f func(s *Scope)) (err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	s := &Scope{}
	defer func() {
		s.close(nil)
		switch fault := recover().(type) {
		case nil:
		case *Error:
			err = fault
		default:
			panic(fault)
		}
	}()
	f(s)
	return nil
}

// Sub runs f in a new scope and moves its result to s; everything else that f made is freed immediately. Freeing a
// handle before backward is safe: the autograd graph keeps what it needs.
func (s *Scope) Sub(f func(s *Scope) *Tensor) *Tensor {
	inner := &Scope{}
	defer func() { inner.close(nil) }() // if f panics; otherwise the scope is already empty
	result := f(inner)
	inner.close(result)
	if result != nil && result.scope == inner {
		s.adopt(result)
	}
	return result
}

// close frees every tensor of s except keep.
func (s *Scope) close(keep *Tensor) {
	for _, t := range s.tensors {
		if t != keep && t.scope == s {
			t.free()
		}
	}
	s.tensors = nil
}

func (s *Scope) adopt(t *Tensor) {
	t.scope = s
	s.tensors = append(s.tensors, t)
}

// wrap makes a tensor of s from an engine handle.
func (s *Scope) wrap(op string, handle unsafe.Pointer) *Tensor {
	t := &Tensor{handle: handle, op: op}
	live.Add(1)
	s.adopt(t)
	return t
}

// Own takes t out of its scope: from then on the caller must free it with Free. It is only for parameters, optimizer
// state and named caches; a test lists the files that may call it.
func Own(t *Tensor) *Tensor {
	t.scope = nil
	return t
}

// Must ends Do with an *Error if something that an operation needs has failed.
func Must(op string, err error) {
	if err != nil {
		panic(&Error{Op: op, Msg: err.Error()}) // Do returns it
	}
}

// check panics with an *Error if the shim returned a message.
func check(op string, message *C.char) {
	if message == nil {
		return
	}
	text := C.GoString(message)
	C.free(unsafe.Pointer(message))
	panic(&Error{Op: op, Msg: firstLine(text)})
}

// checkLast panics with an *Error if gotch's last call on this thread failed.
func checkLast(op string) {
	if message := libtch.GetAndResetLastErr(); message != nil {
		check(op, (*C.char)(unsafe.Pointer(message)))
	}
}

// firstLine drops the engine's C++ stack trace, which follows the message on separate lines.
func firstLine(text string) string {
	if cut := strings.Index(text, "\nException raised from"); cut >= 0 {
		text = text[:cut]
	}
	return strings.TrimSpace(text)
}
