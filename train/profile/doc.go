// Package profile records a few training steps into a folder: which functions of Go ran, which operations took the time, and all of
// them in their order. docs/profiling.md says how to read the files.
package profile
