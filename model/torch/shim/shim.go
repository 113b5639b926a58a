// Package shim holds the C++ of the engine's border: operations that libtorch has not, or not fast enough. Its functions have a C ABI
// (shim.h), return their error as text and never let an exception cross; package torch calls them. They are a package of their own so that
// an edit of a Go file in package torch compiles no C++.
package shim

/*
#cgo CXXFLAGS: -std=c++17 -fopenmp -DLLAVATRAIN_SHIM
#cgo LDFLAGS: -ltorch_cpu -lc10 -l:libgomp.so.1 -lstdc++ -ldl
*/
import "C"

import "embed"

// Sources are the kernels of a card, which NVRTC compiles at run time, and the headers. They stand here also because the packages that
// include a header import this one: its content then changes with the header's, so that they are compiled again.
//
//go:embed *.h *.cu
var Sources embed.FS
