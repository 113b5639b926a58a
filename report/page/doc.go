// Package page writes reports as one HTML file that needs nothing else: no script, no request, no font or picture from
// outside.
//
// A report is a [Page] of sections, a section a list of blocks: [Text], [Notice], [Figures], [Table], [Bars],
// [Histogram], [Lines], [Samples], and [Columns], which puts blocks side by side. All are plain values; the same values
// give the same bytes.
//
//  1. Page.Write checks the blocks and executes a template (templates.html) for each part, in order.
//  2. A chart becomes a frame: scales with ticks at round numbers (scale.go), and paths of few points, however many
//     there were (thin.go). Frames are SVG whose plot stretches with the window and whose text does not.
//  3. All that is written passes a filter (visible.go) that shows control and direction characters instead of
//     obeying them.
//
// The page follows the reader's light or dark setting, fits windows from 360 pixels on, prints, and works by keyboard.
// A Content-Security-Policy in its head forbids everything but its own style sheet and data URIs of pictures.
package page
