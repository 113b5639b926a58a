package torch

/*
#include <stdlib.h>
#include "shim/shim.h"
*/
import "C"

import (
	"fmt"
	"os"
	"strings"
	"time"
	"unsafe"
)

// NCCL describes a group over NCCL: collectives between GPUs, on a stream beside that of other operations. Each rank
// has a GPU of its own.
type NCCL struct {
	Rank, World int
	Name        string        // of the group: its part of the store, which no other group has written to
	Device      Device        // this rank's GPU
	Connect     time.Duration // for all to come, and for their GPUs to be connected
}

// NewNCCL connects the GPUs of a group to each other. It waits for all of them. If it fails because it took too long,
// a call of NCCL still waits, and ends only with the process.
//
// NCCL is the library that libtorch has loaded, or the file LLAVATRAIN_NCCL if that is set.
func NewNCCL(s *Store, n NCCL) (*Comm, error) {
	if _, err := Open(); err != nil { // which sets NCCL's defaults
		return nil, err
	}
	library := os.Getenv("LLAVATRAIN_NCCL")
	if n.Device == CPU && library == "" {
		return nil, fmt.Errorf("%w: NCCL is between GPUs, and this group's tensors are the CPU's: use Gloo", ErrEngine)
	}
	version, err := ncclVersion(library)
	if err != nil {
		return nil, err
	}
	id, err := n.id(s, library)
	if err != nil {
		return nil, err
	}
	type connected struct {
		handle C.lt_comm
		err    error
	}
	done := make(chan connected, 1)
	go func() {
		handle, err := n.connect(library, id)
		done <- connected{handle, err}
	}()
	late := time.NewTimer(n.Connect)
	defer late.Stop()
	select {
	case c := <-done:
		if c.err != nil {
			return nil, c.err
		}
		return &Comm{engine: "NCCL " + version, rank: n.Rank, world: n.World, handle: c.handle}, nil
	case <-late.C:
		return nil, &Error{Op: "connect", Peers: true, Msg: fmt.Sprintf("the GPUs of %d ranks are not connected: "+
			"ncclCommInitRank timed out after %v; %s", n.World, n.Connect, ncclDebug)}
	}
}

const ncclDebug = "NCCL_DEBUG=INFO in the environment shows what NCCL waits for, NCCL_SOCKET_IFNAME names the " +
	"network that it uses"

// ncclVersion opens the library, and is its version, as in 2.28.9.
func ncclVersion(library string) (string, error) {
	path := C.CString(library)
	defer C.free(unsafe.Pointer(path))
	var version C.int
	if message := C.lt_nccl_version(path, &version); message != nil {
		return "", fmt.Errorf("%w: NCCL cannot be used (%s): install PyTorch with CUDA, which brings it "+
			"(nvidia-nccl-cu13), or set LLAVATRAIN_NCCL to the path of a libnccl.so.2", ErrEngine, takeString(message))
	}
	return fmt.Sprintf("%d.%d.%d", version/10000, version/100%100, version%100), nil
}

// id is what the group connects by: rank 0 makes it and gives it to the others.
func (n NCCL) id(s *Store, library string) (string, error) {
	own, err := s.Another(n.Connect) // others may keep the connection of s
	if err != nil {
		return "", err
	}
	defer own.Close()
	key := n.Name + "nccl"
	if n.Rank > 0 {
		id, there, err := own.Wait(key, n.Connect)
		if err == nil && (!there || len(id) != C.LT_NCCL_ID) {
			err = &Error{Op: "connect", Peers: true,
				Msg: fmt.Sprintf("NCCL's id, which rank 0 makes, timed out after %v", n.Connect)}
		}
		return id, err
	}
	path := C.CString(library)
	defer C.free(unsafe.Pointer(path))
	var id [C.LT_NCCL_ID]C.char
	if message := C.lt_nccl_id(path, &id[0]); message != nil {
		return "", &Error{Op: "connect", Msg: takeString(message)}
	}
	text := string(unsafe.Slice((*byte)(unsafe.Pointer(&id[0])), len(id)))
	return text, own.Set(key, text)
}

// connect may block for ever.
func (n NCCL) connect(library, id string) (C.lt_comm, error) {
	path := C.CString(library)
	defer C.free(unsafe.Pointer(path))
	var handle C.lt_comm
	var ofOthers C.int
	data, _ := bytesOf(id)
	message := C.lt_comm_nccl(path, (*C.char)(data), C.int(n.Rank), C.int(n.World), C.int(n.Device), &ofOthers, &handle)
	if message == nil {
		return handle, nil
	}
	e := &Error{Op: "connect", Msg: takeString(message), Peers: ofOthers != 0}
	switch {
	case e.Peers:
		e.Msg += "; " + ncclDebug
	case strings.Contains(e.Msg, "Duplicate GPU"):
		e.Msg += "; NCCL wants a GPU for each rank: start as many processes as there are GPUs, or connect them by " +
			"Gloo, which goes through the host's memory and is slow"
	}
	return nil, e
}

// AsyncError is a failure that NCCL's own threads report, and no call: collectives under way may then never end. It is
// always nil for Gloo. Any goroutine may ask.
func (c *Comm) AsyncError() error {
	c.closing.Lock()
	defer c.closing.Unlock()
	if c.handle == nil {
		return nil
	}
	err := ofPeers("NCCL", C.lt_async_error(c.handle))
	if err != nil {
		c.failed.Store(true)
	}
	return err
}
