package torch

/*
#include "shim/shim.h"
*/
import "C"

import (
	"time"
	"unsafe"
)

// Later is a tensor's values on their way to the host. To read a tensor is to wait for all that the device has been asked to do; to read
// later is to wait for what it was asked to do before ReadLater. Values returns them, Free drops them unread.
type Later struct {
	handle   unsafe.Pointer
	elements int64
	dtype    Dtype
}

// ReadLater begins to copy a tensor's values to the host. The tensor may be freed, or changed by later operations.
func ReadLater(t *Tensor) *Later {
	l := &Later{elements: t.Elements(), dtype: t.Dtype()}
	check("read later", C.lt_read_later(t.c(), &l.handle))
	return l
}

// Values waits for the values and returns them; the element type must be the tensor's own. It may be called once.
func Values[E Element](l *Later) []E {
	if l.dtype != dtypeOf[E]() {
		panic(&Error{Op: "read later", Msg: "the tensor holds " + l.dtype.String() + ", not " + dtypeOf[E]().String()})
	}
	defer l.Free()
	out := make([]E, l.elements)
	check("read later", C.lt_await(l.handle, unsafe.Pointer(unsafe.SliceData(out)), C.size_t(len(out)*dtypeOf[E]().Size())))
	return out
}

// Free drops the values. It does nothing behind Values, or a second time.
func (l *Later) Free() {
	if l != nil && l.handle != nil {
		C.lt_free_later(l.handle)
		l.handle = nil
	}
}

// NaNIfNotFinite makes total, [1] fp64, NaN if any value of t is not finite, and leaves it alone otherwise. Nothing waits for the device.
func NaNIfNotFinite(total, t *Tensor) {
	check("NaN if not finite", C.lt_nan_if_not_finite(total.c(), t.c()))
}

// Timestamp is the time at which a device reaches a point in its work: on the CPU, at once.
type Timestamp struct {
	handle unsafe.Pointer // nil on the CPU
	at     time.Time
}

// MarkTime is the time after all that the device has been asked to do so far.
func MarkTime(d Device) *Timestamp {
	stamp := &Timestamp{at: time.Now()}
	if d != CPU {
		check("mark time", C.lt_timestamp(C.int(d), &stamp.handle))
	}
	return stamp
}

// Until is the time from one timestamp to a later one of the same device. It waits for both.
func (t *Timestamp) Until(later *Timestamp) time.Duration {
	if t.handle == nil {
		return later.at.Sub(t.at)
	}
	var milliseconds C.double
	check("time between timestamps", C.lt_between(t.handle, later.handle, &milliseconds))
	return time.Duration(float64(milliseconds) * float64(time.Millisecond))
}

// Free drops the timestamp; nil may be freed.
func (t *Timestamp) Free() {
	if t != nil && t.handle != nil {
		C.lt_free_timestamp(t.handle)
		t.handle = nil
	}
}
