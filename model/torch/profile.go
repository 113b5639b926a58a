package torch

/*
#include <stdlib.h>
#include "shim/shim.h"
*/
import "C"

import (
	"cmp"
	"slices"
	"time"
	"unsafe"
)

// Event is one operation that the profiler recorded: on the CPU, a call (of libtorch, our kernels or autograd's
// nodes); on a GPU, a kernel or a copy that a call queued.
type Event struct {
	Name   string
	Device Device
	Lane   int64 // the calling thread, or the GPU's stream
	Start  time.Time
	Total  time.Duration
	Self   time.Duration // of a call: Total without the calls inside it
	Parent int           // index of the call that made this call or queued this kernel; -1 for none
}

// End is when the operation ended.
func (e Event) End() time.Time { return e.Start.Add(e.Total) }

// StartProfile makes libtorch record every operation that this thread and, in backward, autograd's threads call; with
// cards also what runs on GPUs. It costs a few microseconds per operation until StopProfile, which the same thread
// must call.
func StartProfile(cards bool) {
	if !cards {
		setDefaultEnv("KINETO_LOG_LEVEL", "5") // otherwise it warns on stderr about the missing GPU
	}
	check("start profile", C.lt_profile_start(flag(cards)))
}

// StopProfile ends the recording and returns the events in the order of their starts, callers before the calls they
// make.
func StopProfile() []Event {
	var first *C.lt_event
	var count C.int64_t
	check("stop profile", C.lt_profile_stop(&first, &count))
	defer C.free(unsafe.Pointer(first))
	calls := unsafe.Slice(first, int(count))
	slices.SortStableFunc(calls, func(a, b C.lt_event) int {
		return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(b.duration, a.duration))
	})
	events, names, caller := make([]Event, count), map[string]string{}, map[C.uint64_t]int{}
	for i, c := range calls {
		name := C.GoString(c.name)
		if known, ok := names[name]; ok {
			name = known // share the string: there are many events and few names
		}
		names[name] = name
		total := time.Duration(c.duration)
		events[i] = Event{Name: name, Device: Device(c.card), Lane: int64(c.lane), Start: time.Unix(0, int64(c.start)),
			Total: total, Self: total, Parent: -1}
		if c.card == C.int32_t(CPU) {
			caller[c.correlation] = i
		}
	}
	for i, c := range calls {
		if call, ok := caller[c.correlation]; ok && c.card != C.int32_t(CPU) {
			events[i].Parent = call
		}
	}
	nest(events)
	return events
}

// nest finds the caller of each call on the CPU: the innermost call still open on its thread.
func nest(events []Event) {
	open := map[int64][]int{}
	for i := range events {
		e := &events[i]
		if e.Device != CPU {
			continue
		}
		stack := open[e.Lane]
		for len(stack) > 0 && !events[stack[len(stack)-1]].End().After(e.Start) {
			stack = stack[:len(stack)-1]
		}
		if len(stack) > 0 {
			e.Parent = stack[len(stack)-1]
			events[e.Parent].Self -= e.Total
		}
		open[e.Lane] = append(stack, i)
	}
}
