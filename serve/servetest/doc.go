// Package servetest is a toy engine for tests of what stands before a real one. It answers by rules that are words at
// the beginning of the last question, see Rules, so that a test of a whole server can choose them over the network.
package servetest
