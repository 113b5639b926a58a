// Package serving holds the commands that answer over HTTP or in a terminal. It joins the servers of package serve to
// the engine of a model.
package serving
