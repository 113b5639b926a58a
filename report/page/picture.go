package page

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"html/template"
	"image"
	"image/color"
	"image/jpeg"
	"strings"

	"golang.org/x/image/draw"
)

// Picture is a small JPEG that is part of the page. Only Thumbnail makes one, so that none is fetched from elsewhere.
type Picture struct {
	alt           string
	width, height int // of the JPEG, in pixels
	uri           template.URL
}

// pictureView is what the template of a picture needs.
type pictureView struct {
	URI           template.URL
	Alt           string
	Width, Height int
}

// maxSide is the longer side of a thumbnail in pixels: twice that of its place on the page, for dense screens.
const maxSide = 400

const jpegPrefix = "data:image/jpeg;base64,"

// Thumbnail scales a picture down to 400 pixels at most, on white if it is transparent, and encodes it so that it adds
// at most budget bytes to the page: first with less quality, then with fewer pixels. About 16,000 bytes show a photo
// well. It is an error if the picture has no pixels, or the budget is too small for one.
func Thumbnail(img image.Image, alt string, budget int) (Picture, error) {
	bounds := img.Bounds()
	if bounds.Empty() {
		return Picture{}, fmt.Errorf("thumbnail of %q: the picture has no pixels", alt)
	}
	var encoded bytes.Buffer
	for side := maxSide; side > 0; side = side * 3 / 4 {
		small := scaled(img, side)
		img = small // the next one is made from it
		for _, quality := range []int{85, 75, 60, 45} {
			encoded.Reset()
			if err := jpeg.Encode(&encoded, small, &jpeg.Options{Quality: quality}); err != nil {
				return Picture{}, fmt.Errorf("thumbnail of %q: %w", alt, err)
			}
			uri := jpegPrefix + base64.StdEncoding.EncodeToString(encoded.Bytes())
			if len(uri)+strings.Count(uri, "+")*len("&#43;"[1:]) <= budget { // as the template writes it
				return Picture{alt, small.Bounds().Dx(), small.Bounds().Dy(), template.URL(uri)}, nil
			}
		}
	}
	return Picture{}, fmt.Errorf("thumbnail of %q: no JPEG of %d x %d pixels fits %d bytes; allow 1,000 at least", alt,
		bounds.Dx(), bounds.Dy(), budget)
}

// scaled returns the picture on white with its longer side at most side pixels, and the other at least one.
func scaled(img image.Image, side int) *image.RGBA {
	width, height := img.Bounds().Dx(), img.Bounds().Dy()
	if longer := max(width, height); longer > side {
		width, height = max(1, width*side/longer), max(1, height*side/longer)
	}
	small := image.NewRGBA(image.Rect(0, 0, width, height))
	draw.Draw(small, small.Bounds(), image.NewUniform(color.White), image.Point{}, draw.Src)
	draw.CatmullRom.Scale(small, small.Bounds(), img, img.Bounds(), draw.Over, nil)
	return small
}
