package convert

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// size is that of a picture, in pixels.
type size struct{ width, height int }

// largest is the longest side that is believed. Sums of it with boxes stay exact.
const largest = 1 << 24

func (s size) known() bool {
	return 0 < s.width && s.width <= largest && 0 < s.height && s.height <= largest
}

// sizeOf is the size of a picture that the files may know, or else its picture file. It is not known if the file cannot
// be read, which the caller counts; a failing disk is an error, and so is a size that nobody can be asked for.
func (c *conversion) sizeOf(e entry, stated size, image string) (size, error) {
	if stated.known() {
		return stated, nil
	}
	if c.Size == nil {
		return size{}, e.fault("the size of %s is not in the files, and boxes need it: "+
			"give the folder of the pictures", image)
	}
	if s, asked := c.sizes[image]; asked {
		return s, nil
	}
	width, height, err := c.Size(image)
	if failure.IsStorage(err) {
		return size{}, fmt.Errorf("size of %s: %w", image, err)
	}
	s := size{width, height}
	if err != nil || !s.known() {
		s = size{}
	}
	c.sizes[image] = s
	return s, nil
}

const noSize = "no picture file whose size can be read"

// box is x, y, width and height in pixels, as COCO writes it.
type box [4]float64

// text is the box as LLaVA-1.5's mixture writes it, [x1,y1,x2,y2] as fractions of the frame with two decimals. It is
// false for a box without area in the picture.
func (c *conversion) text(b box, s size) (string, bool) {
	left, top, right, bottom := b[0], b[1], b[0]+b[2], b[1]+b[3]
	width, height := float64(s.width), float64(s.height)
	left, right = max(0, left), min(width, right)
	top, bottom = max(0, top), min(height, bottom)
	if left >= right || top >= bottom {
		return "", false
	}
	if c.Frame != "original" {
		side := max(s.width, s.height)
		dx, dy := float64((side-s.width)/2), float64((side-s.height)/2) // whole pixels, as the trainer pads
		left, right, top, bottom = left+dx, right+dx, top+dy, bottom+dy
		width, height = float64(side), float64(side)
	}
	return "[" + fraction(left/width) + "," + fraction(top/height) + "," +
		fraction(right/width) + "," + fraction(bottom/height) + "]", true
}

// fraction has two decimals without trailing zeros, but at least one decimal.
func fraction(value float64) string {
	text := strings.TrimRight(strconv.FormatFloat(value, 'f', 2, 64), "0")
	if strings.HasSuffix(text, ".") {
		text += "0"
	}
	return text
}

// region is the pair about a box with a description. A bit of the key's hash decides which of them is asked for.
func (c *conversion) region(key, description, box string) pair {
	if c.draw(key)&1 == 1 {
		return pair{"Please provide a short description for this region: " + box + ".", description}
	}
	return pair{"Please provide the bounding box coordinate of the region this sentence describes: " +
		description + ".", box}
}

// described is a description of a region without its final dots.
func described(text string) string { return strings.TrimRight(tidy(text), ". ") }
