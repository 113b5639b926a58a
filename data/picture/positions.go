package picture

import "fmt"

// Positions says how an image's features become positions of a sample. It is a pure function of the configuration of
// tower and projector, of the image's size and of whether it is one of several images of a row.
type Positions interface {
	// Of is the layout of one image. It calls size only if the layout depends on it, and returns no other error than
	// size's.
	Of(several bool, size Size) (Layout, error)
	// String identifies the configuration: equal strings mean equal layouts.
	String() string
}

// Size gives an image's width and height in pixels, before any resizing. It may have to read the file.
type Size func() (width, height int, err error)

// Grid gives every image the same number of positions: it is one tile, which the projector makes so many rows of.
type Grid int

// Of is the layout, which does not depend on the size.
func (g Grid) Of(bool, Size) (Layout, error) { return Flat(int(g)), nil }

// String is the number as text.
func (g Grid) String() string { return fmt.Sprintf("%d features an image", int(g)) }

// Flat is the layout of an image that is one tile and takes a position for each of its features.
func Flat(features int) Layout { return Layout{Features: features, Merge: MergeFlat} }

// Single gives every image the one tile of Tiling.Single: a model that merges with newlines and is used with whole
// images (image_aspect_ratio pad or square beside mm_patch_merge_type spatial_unpad).
type Single struct{ Tiling *Tiling }

// Of is the layout, which does not depend on the size.
func (s Single) Of(bool, Size) (Layout, error) { return s.Tiling.Single(), nil }

// String names the tile and its newline.
func (s Single) String() string {
	return fmt.Sprintf("one tile of %d features, %s", s.Tiling.Features, s.Tiling.Merge)
}
