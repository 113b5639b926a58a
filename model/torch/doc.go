// Package torch is the border to libtorch: nothing above it knows that a C++ engine does the arithmetic.
//
//  1. Open finds the CUDA half of the engine, checks its version and sets its threads, once, before any tensor exists.
//  2. Do locks the goroutine to its OS thread, opens a Scope and runs a function in it. An engine failure inside comes back as an
//     *Error; whatever the function made is freed when it returns. Nothing but Go values leaves Do.
//  3. Every operation takes the scope first, and its result belongs to that scope. Scope.Sub frees all but one result early.
//  4. Own takes a tensor out of its scope for the few that live longer: parameters, optimizer state, named caches.
//
// Engine state (gradient mode, errors, threads) belongs to an OS thread, so one goroutine makes all the calls of a run: lock it with
// runtime.LockOSThread before the first Do. Operations that gotch offers are called through gotch/libtch; what it lacks or gets wrong
// is in package shim, whose functions return their error and never let an exception cross.
package torch

/*
#include <stdlib.h>
#include "shim/shim.h"
*/
import "C"
