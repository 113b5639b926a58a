// Package profile records a few training steps into a folder: which Go functions ran, which operations took the time,
// and all operations in order. docs/profiling.md says how to read the files.
package profile
