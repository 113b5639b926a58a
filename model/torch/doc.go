// Package torch is the interface to libtorch: no other package knows that a C++ engine does the arithmetic.
//
//  1. Open finds the CUDA half of the engine and checks its version, once, before any tensor exists.
//  2. Do locks the goroutine to its OS thread, opens a Scope and runs a function in it. An engine failure inside is
//     returned as an *Error; everything that the function made is freed when it returns. Only Go values leave Do.
//  3. Every operation takes the scope first, and its result belongs to that scope. Scope.Sub frees all but one result
//     early.
//  4. Own takes a tensor out of its scope, for the few that live longer: parameters, optimizer state, named caches.
//  5. Several processes share a Store, a table by which they find each other, and compute together as a Comm.
//
// Engine state (gradient mode, errors, threads) belongs to an OS thread, so one goroutine makes all the calls of a
// run: lock it with runtime.LockOSThread before the first Do. Operations that gotch offers are called through
// gotch/libtch; those that it lacks or gets wrong are in package shim, whose functions return their error and never
// let a C++ exception through.
package torch

/*
#include <stdlib.h>
#include "shim/shim.h"
*/
import "C"
