// Package shim holds the C++ part of the interface to libtorch: operations that libtorch lacks, or does not do fast
// enough. Its functions have a C ABI (shim.h), return their error as text and never let an exception through; package
// torch calls them. They are a separate package so that editing a Go file in package torch does not recompile the
// C++.
package shim

/*
#cgo CXXFLAGS: -std=c++17 -fopenmp -DLLAVATRAIN_SHIM
#cgo LDFLAGS: -ltorch_cpu -lc10 -l:libgomp.so.1 -lstdc++ -ldl
*/
import "C"

import "embed"

// Sources are the GPU kernels, which NVRTC compiles at run time, and the headers. Embedding the headers also makes
// this package change with them, so that packages that include a header, and import this one, are recompiled. The
// folder gloo holds stand-ins for headers that libtorch's include and its wheel lacks.
//
//go:embed *.h *.cu gloo
var Sources embed.FS
