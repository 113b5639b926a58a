package picture

import "fmt"

// Positions is how many positions of a sample each picture takes: one for each row of features that the language model
// gets of it. It is a pure function of the configuration of tower and projector and of the picture's size.
type Positions interface {
	// Of is the number for one picture. It asks for the size only where the number depends on it; an error of size is
	// its only one.
	Of(size Size) (int, error)
	// String names the configuration: equal names stand for equal numbers.
	String() string
}

// Size gives a picture's width and height in pixels, before any resizing. The file may have to be read for it.
type Size func() (width, height int, err error)

// Grid gives every picture the same number of positions: the rows of the tower, which the projector keeps.
type Grid int

// Of is the number, whatever the size.
func (g Grid) Of(Size) (int, error) { return int(g), nil }

// String names the number.
func (g Grid) String() string { return fmt.Sprintf("%d features an image", int(g)) }
