package torch

/*
#include <stdlib.h>
#include "shim/shim.h"
*/
import "C"

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// Store is a connection to a small table of texts that all processes of a job see: c10d's TCPStore, which one of them,
// or their launcher, serves. It listens on all interfaces and knows no passwords: it is for trusted networks.
//
// A connection serves one call at a time; others wait for their turn. Every call returns in time, with an error if the
// store is gone or does not answer: an *Error of peers. After a call without an answer the connection is lost.
type Store struct {
	host   string
	port   int
	prefix string // of every key
	link   *link
}

// link is what stores of several prefixes share.
type link struct {
	turn   sync.Mutex
	handle C.lt_store
	lost   atomic.Pointer[Error]
}

// storePatience is how long an answer may take that needs no waiting. (A variable, for tests.)
var storePatience = 5 * time.Second

const (
	lastChance = time.Second            // more, for a process that was itself stopped meanwhile
	openPause  = 200 * time.Millisecond // between two attempts to connect

	// One attempt gets as long, and takes up to twice as long. The first are short, for a store that is not there yet;
	// then each gets double, because c10d asks a name server four times for each connection, which may be slow.
	firstAttempt, longAttempt = time.Second, 30 * time.Second
)

// ServeStore starts a store at a port of this host, 0 for any that is free, and connects to it. It lives as long as
// this connection. Ports are those of TCP.
func ServeStore(port int) (*Store, error) { return openStore("127.0.0.1", port, 1, longAttempt, 0) }

// ConnectStore connects to a store. It tries for as long as within: whoever serves it may start later.
func ConnectStore(host string, port int, within time.Duration) (*Store, error) {
	began := time.Now()
	for attempt := firstAttempt; ; attempt = min(2*attempt, longAttempt) {
		s, err := openStore(host, port, 0, attempt, within-time.Since(began))
		if err == nil || time.Since(began) >= within {
			return s, err
		}
		time.Sleep(openPause)
	}
}

// openStore makes one attempt, and waits for it for as long as it takes, or within if that is longer.
func openStore(host string, port int, serve C.int, attempt, within time.Duration) (*Store, error) {
	type opening struct {
		link  *link
		bound C.int
		err   error
	}
	done := make(chan opening, 1)
	go func() {
		o := opening{link: &link{}}
		name := C.CString(host)
		defer C.free(unsafe.Pointer(name))
		o.err = ofPeers("store", C.lt_store_open(name, C.int(port), serve, milliseconds(attempt), &o.link.handle,
			&o.bound))
		done <- o
	}()
	limit := max(2*attempt, within) + storePatience
	select {
	case o := <-done:
		if o.err != nil {
			return nil, o.err
		}
		return &Store{host: host, port: int(o.bound), link: o.link}, nil
	case <-time.After(limit): // its host took the connection and says nothing
		return nil, silent("store", host, port, limit)
	}
}

// Another is a further connection to the same store, for calls that shall not wait for each other's turn.
func (s *Store) Another(within time.Duration) (*Store, error) {
	other, err := ConnectStore(s.host, s.port, within)
	if err == nil {
		other.prefix = s.prefix
	}
	return other, err
}

// Prefixed is the same connection with a prefix before every key.
func (s *Store) Prefixed(prefix string) *Store {
	return &Store{host: s.host, port: s.port, prefix: s.prefix + prefix, link: s.link}
}

// Port is the port that the store listens on.
func (s *Store) Port() int { return s.port }

// Close ends the connection, and the store if this process serves it.
func (s *Store) Close() {
	_ = s.call("close", storePatience, func(C.lt_store) *C.char { // without an answer the connection is left as it is
		C.lt_free_store(s.link.handle)
		s.link.handle = nil
		return nil
	})
}

// call makes one call and waits for it. One that is late keeps its goroutine and its turn.
func (s *Store) call(op string, within time.Duration, f func(C.lt_store) *C.char) error {
	if lost := s.link.lost.Load(); lost != nil {
		return lost
	}
	op = "store: " + op
	done := make(chan error, 1)
	go func() {
		s.link.turn.Lock()
		defer s.link.turn.Unlock()
		if s.link.handle == nil {
			done <- &Error{Op: op, Msg: "the connection is closed", Peers: true}
			return
		}
		done <- ofPeers(op, f(s.link.handle))
	}()
	for _, more := range []time.Duration{within, lastChance} {
		late := time.NewTimer(more)
		defer late.Stop()
		select {
		case err := <-done:
			return err
		case <-late.C:
		}
	}
	lost := silent(op, s.host, s.port, within+lastChance)
	s.link.lost.CompareAndSwap(nil, lost)
	return lost
}

func silent(op, host string, port int, within time.Duration) *Error {
	return &Error{Op: op, Msg: fmt.Sprintf("%s:%d has not answered for %.1f s", host, port, within.Seconds()),
		Peers: true}
}

// key is a C copy of a key, to be freed.
func (s *Store) key(key string) *C.char { return C.CString(s.prefix + key) }

// bytesOf is the address of a text's bytes and their number, valid during one call.
func bytesOf(text string) (unsafe.Pointer, C.size_t) {
	return unsafe.Pointer(unsafe.StringData(text)), C.size_t(len(text))
}

// taken is the text that a call returned, "" and false for none.
func taken(value *C.char, size C.size_t) (string, bool) {
	if value == nil {
		return "", false
	}
	defer C.free(unsafe.Pointer(value))
	return string(unsafe.Slice((*byte)(unsafe.Pointer(value)), int(size))), true
}

// found is what a call finds, if it is in time: a late one writes to its own copy.
type found struct {
	text  string
	there bool
	n     int64
}

func (s *Store) find(op, key string, within time.Duration, f func(C.lt_store, *C.char, *found) *C.char) (found, error) {
	own := &found{}
	err := s.call(op, within, func(h C.lt_store) *C.char {
		name := s.key(key)
		defer C.free(unsafe.Pointer(name))
		return f(h, name, own)
	})
	if err != nil {
		return found{}, err
	}
	return *own, nil
}

// nobodys is a key that never has a value.
var nobodys = C.CString("nobody's")

// Set gives a key a value. When it returns, all see it.
func (s *Store) Set(key, value string) error {
	_, err := s.find("set", key, storePatience, func(h C.lt_store, name *C.char, _ *found) *C.char {
		data, size := bytesOf(value)
		if message := C.lt_store_set(h, name, data, size); message != nil {
			return message
		}
		// TCPStore does not answer to this. An answer to what is asked next says that it has arrived.
		var nothing *C.char
		var none C.size_t
		message := C.lt_store_look(h, nobodys, &nothing, &none)
		taken(nothing, none)
		return message
	})
	return err
}

// Look is the value that a key has now, if it has one.
func (s *Store) Look(key string) (value string, there bool, err error) {
	f, err := s.find("look", key, storePatience, func(h C.lt_store, name *C.char, f *found) *C.char {
		var value *C.char
		var size C.size_t
		message := C.lt_store_look(h, name, &value, &size)
		f.text, f.there = taken(value, size)
		return message
	})
	return f.text, f.there, err
}

// Wait is the value of a key, once it has one: there is false if it got none within the time. Other calls of this
// connection wait until it returns.
func (s *Store) Wait(key string, within time.Duration) (value string, there bool, err error) {
	within = max(within, time.Millisecond) // for TCPStore 0 is for ever
	f, err := s.find("wait", key, within+storePatience, func(h C.lt_store, name *C.char, f *found) *C.char {
		var value *C.char
		var size C.size_t
		message := C.lt_store_wait(h, name, milliseconds(within), &value, &size)
		f.text, f.there = taken(value, size)
		return message
	})
	return f.text, f.there, err
}

// CompareSet sets a key whose value is expected, "" for a key without one, and returns the value that it then has.
func (s *Store) CompareSet(key, expected, desired string) (string, error) {
	f, err := s.find("compare and set", key, storePatience, func(h C.lt_store, name *C.char, f *found) *C.char {
		var value *C.char
		var size C.size_t
		old, oldSize := bytesOf(expected)
		new, newSize := bytesOf(desired)
		message := C.lt_store_compare_set(h, name, old, oldSize, new, newSize, &value, &size)
		f.text, f.there = taken(value, size)
		return message
	})
	return f.text, err
}

// Add adds to a key that holds a number, 0 if it has no value, and returns the sum.
func (s *Store) Add(key string, n int64) (int64, error) {
	f, err := s.find("add", key, storePatience, func(h C.lt_store, name *C.char, f *found) *C.char {
		var sum C.int64_t
		message := C.lt_store_add(h, name, C.int64_t(n), &sum)
		f.n = int64(sum)
		return message
	})
	return f.n, err
}

// Delete removes a key and says whether it had a value.
func (s *Store) Delete(key string) (bool, error) {
	f, err := s.find("delete", key, storePatience, func(h C.lt_store, name *C.char, f *found) *C.char {
		var existed C.int
		message := C.lt_store_delete(h, name, &existed)
		f.there = existed != 0
		return message
	})
	return f.there, err
}

// milliseconds is a duration for C, at most what its int holds: 24 days.
func milliseconds(d time.Duration) C.int { return C.int(min(d.Milliseconds(), 1<<31-1)) }

// ofPeers is the error of a call in which another process takes part; nil if the shim returned no message.
func ofPeers(op string, message *C.char) error {
	if message == nil {
		return nil
	}
	return &Error{Op: op, Msg: takeString(message), Peers: true}
}
