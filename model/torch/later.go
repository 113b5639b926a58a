package torch

/*
#include "shim/shim.h"
*/
import "C"

import (
	"time"
	"unsafe"
)

// Later is a tensor's values on their way to the host. Read waits for all the work queued on the device; Values waits
// only for the work queued before ReadLater. Free drops the values unread.
type Later struct {
	handle   unsafe.Pointer
	elements int64
	dtype    Dtype
}

// ReadLater starts copying a tensor's values to the host. The tensor may then be freed, or changed by later operations.
func ReadLater(t *Tensor) *Later {
	l := &Later{elements: t.Elements(), dtype: t.Dtype()}
	check("read later", C.lt_read_later(t.c(), &l.handle))
	return l
}

// Values waits for the values and returns them; E must be the tensor's element type. It may be called only once.
func Values[E Element](l *Later) []E {
	if l.dtype != dtypeOf[E]() {
		panic(&Error{Op: "read later", Msg: "the tensor holds " + l.dtype.String() + ", not " + dtypeOf[E]().String()})
	}
	defer l.Free()
	out := make([]E, l.elements)
	check("read later", C.lt_await(l.handle, unsafe.Pointer(unsafe.SliceData(out)),
		C.size_t(len(out)*dtypeOf[E]().Size())))
	return out
}

// Free drops the values. It does nothing after Values or a previous Free.
func (l *Later) Free() {
	if l != nil && l.handle != nil {
		C.lt_free_later(l.handle)
		l.handle = nil
	}
}

// NaNIfNotFinite sets total, [1] fp64, to NaN if any value of t is not finite, and otherwise leaves it unchanged. It
// does not wait for the device.
func NaNIfNotFinite(total, t *Tensor) {
	check("NaN if not finite", C.lt_nan_if_not_finite(total.c(), t.c()))
}

// Timestamp is the time at which a device reaches a point in its queue of work; on the CPU, immediately.
type Timestamp struct {
	handle unsafe.Pointer // nil on the CPU
	at     time.Time
}

// MarkTime is the time at which the device finishes all the work queued so far.
func MarkTime(d Device) *Timestamp {
	stamp := &Timestamp{at: time.Now()}
	if d != CPU {
		check("mark time", C.lt_timestamp(C.int(d), &stamp.handle))
	}
	return stamp
}

// Until is the time from t to a later timestamp of the same device. It waits for both.
func (t *Timestamp) Until(later *Timestamp) time.Duration {
	if t.handle == nil {
		return later.at.Sub(t.at)
	}
	var milliseconds C.double
	check("time between timestamps", C.lt_between(t.handle, later.handle, &milliseconds))
	return time.Duration(float64(milliseconds) * float64(time.Millisecond))
}

// Free releases the timestamp, which may be nil.
func (t *Timestamp) Free() {
	if t != nil && t.handle != nil {
		C.lt_free_timestamp(t.handle)
		t.handle = nil
	}
}
