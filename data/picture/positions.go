package picture

import "fmt"

// Positions is how many positions of a sample each image takes: one for each row of features that the language model
// receives for it. It is a pure function of the configuration of tower and projector and of the image's size.
type Positions interface {
	// Of is the number for one image. It calls size only if the number depends on it, and returns no other error than
	// size's.
	Of(size Size) (int, error)
	// String identifies the configuration: equal strings mean equal numbers.
	String() string
}

// Size gives an image's width and height in pixels, before any resizing. It may have to read the file.
type Size func() (width, height int, err error)

// Grid gives every image the same number of positions: the rows of the tower, which the projector keeps.
type Grid int

// Of is the number, which does not depend on the size.
func (g Grid) Of(Size) (int, error) { return int(g), nil }

// String is the number as text.
func (g Grid) String() string { return fmt.Sprintf("%d features an image", int(g)) }
