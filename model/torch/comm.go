package torch

/*
#include <stdlib.h>
#include "shim/shim.h"
*/
import "C"

import (
	"hash/fnv"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// Comm is a group of processes that compute together. All of them make the same calls in the same order, on tensors of
// the same sizes. Like operations on tensors, its methods belong inside Do: a failure ends it with an *Error.
type Comm struct {
	engine      string
	rank, world int
	handle      C.lt_comm
	failed      atomic.Bool
	closing     sync.Mutex // keeps the handle while another goroutine asks for AsyncError
}

// Engine is what the group runs over: Gloo, or NCCL and its version.
func (c *Comm) Engine() string { return c.engine }

// Gloo describes a group over Gloo: collectives between processors. Tensors of a GPU go through the host's memory,
// which is slow, but works for several processes on one GPU too.
type Gloo struct {
	Rank, World int
	Name        string        // of the group: its part of the store, which no other group has written to
	Address     string        // of this host, at which the others reach it; GLOO_SOCKET_IFNAME goes before it
	Connect     time.Duration // for all to come
	Timeout     time.Duration // for a collective
}

// NewGloo connects the processes of a group to each other. It waits for all of them.
func NewGloo(s *Store, g Gloo) (*Comm, error) { return newGloo(s, g, false) }

// newGloo can make tensors of the CPU go through a second buffer, as those of a GPU do.
func newGloo(s *Store, g Gloo, stage bool) (*Comm, error) {
	if _, err := Open(); err != nil { // which sets c10d's defaults
		return nil, err
	}
	own, err := s.Another(g.Connect) // it waits for others, and keeps a connection meanwhile
	if err != nil {
		return nil, err
	}
	defer own.Close()
	name, address := own.key(g.Name), C.CString(g.Address)
	defer C.free(unsafe.Pointer(name))
	defer C.free(unsafe.Pointer(address))
	second := C.int(0)
	if stage {
		second = 1
	}
	c := &Comm{engine: "Gloo", rank: g.Rank, world: g.World}
	err = ofPeers("connect", C.lt_comm_gloo(own.link.handle, name, C.int(g.Rank), C.int(g.World), address,
		milliseconds(g.Connect), milliseconds(g.Timeout), second, &c.handle))
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Close leaves the group, at the same point in all ranks. After a failure it does nothing: what is under way may never
// end, and ends with the process.
func (c *Comm) Close() {
	if c.failed.Load() {
		return
	}
	c.closing.Lock()
	handle := c.handle
	c.handle = nil
	c.closing.Unlock()
	if handle != nil {
		C.lt_free_comm(handle)
	}
}

// Work is a collective under way. Its tensors may not be used before Wait, which must be called once.
type Work struct {
	handle C.lt_work
	comm   *Comm
	op     string
}

func (c *Comm) begun(op string, w *Work, message *C.char) *Work {
	if message != nil && c.AsyncError() != nil { // NCCL takes no more calls
		panic(ofPeers(op, message))
	}
	check(op, message)
	w.comm, w.op = c, op
	return w
}

// Wait makes what is computed next with the collective's tensors come after it. For tensors of the CPU it waits for
// the result.
func (w *Work) Wait() {
	handle := w.handle
	if handle == nil {
		return
	}
	w.handle = nil
	if err := ofPeers(w.op, C.lt_wait(handle)); err != nil {
		w.comm.failed.Store(true)
		panic(err)
	}
}

// AllReduce makes t the sum of every process's t, in t's dtype. The order in which an element is summed depends on its
// place in t and on the number of processes.
func (c *Comm) AllReduce(t *Tensor) *Work {
	w := &Work{}
	return c.begun("all-reduce", w, C.lt_all_reduce(c.handle, t.c(), &w.handle))
}

// Broadcast makes t what it is in the process of rank root.
func (c *Comm) Broadcast(t *Tensor, root int) *Work {
	w := &Work{}
	return c.begun("broadcast", w, C.lt_broadcast(c.handle, t.c(), C.int(root), &w.handle))
}

// AllGather makes out, [world * n], every process's in, [n], by rank.
func (c *Comm) AllGather(out, in *Tensor) *Work {
	w := &Work{}
	return c.begun("all-gather", w, C.lt_all_gather(c.handle, out.c(), in.c(), &w.handle))
}

// ReduceScatter makes out, [n], this process's part of the sum of every process's in, [world * n], in their dtype.
func (c *Comm) ReduceScatter(out, in *Tensor) *Work {
	w := &Work{}
	return c.begun("reduce-scatter", w, C.lt_reduce_scatter(c.handle, out.c(), in.c(), &w.handle))
}

// Barrier ends once every process has reached it.
func (c *Comm) Barrier() *Work {
	w := &Work{}
	return c.begun("barrier", w, C.lt_barrier(c.handle, &w.handle))
}

const (
	repeats       = 20
	repeatNumbers = 1 << 20 // enough for an engine to cut them as it cuts gradients
)

// SumsRepeat says whether the group sums the same numbers of a dtype to the same bits every time, in all ranks. All
// get the same answer. Where it is no, for instance because switches add for NCCL (NVLS), two runs differ in their
// bits.
func (c *Comm) SumsRepeat(s *Scope, dtype Dtype, device Device) bool {
	numbers := make([]float32, repeatNumbers)
	for i := range numbers { // of several sizes, so that the order of their sum shows
		numbers[i] = float32(math.Ldexp(math.Sin(float64(i*c.world+c.rank)), i%8))
	}
	shape := []int64{repeatNumbers}
	mine := To(s, From(s, numbers, shape, device), dtype)
	sum := Empty(s, shape, dtype, device)
	hashes := make([]int64, repeats)
	for i := range hashes {
		sum.Copy(mine)
		c.AllReduce(sum).Wait()
		h := fnv.New64a()
		h.Write(sum.Bytes())
		hashes[i] = int64(h.Sum64())
	}
	all := Empty(s, []int64{int64(repeats * c.world)}, Int64, device)
	c.AllGather(all, From(s, hashes, []int64{repeats}, device)).Wait()
	same := Read[int64](all)
	return len(slices.Compact(same)) == 1
}

// LocalAddress is the address of this host from which it reaches another, and at which that one reaches it.
func LocalAddress(towards string, port int) (string, error) {
	name := C.CString(towards)
	defer C.free(unsafe.Pointer(name))
	var out *C.char
	if err := ofPeers("address", C.lt_local_address(name, C.int(port), &out)); err != nil {
		return "", err
	}
	return takeString(out), nil
}
