package load

import (
	"bytes"
	"image"
	"image/color"
	"image/draw"
	"image/jpeg"
	"math/rand/v2"
)

// shapes is how many rectangles a drawn picture has.
const shapes = 12

// drawPicture makes a JPEG file of a square picture of coloured rectangles.
func drawPicture(size int, random *rand.Rand) []byte {
	picture := image.NewRGBA(image.Rect(0, 0, size, size))
	fill := func(area image.Rectangle) {
		c := random.Uint32()
		draw.Draw(picture, area, image.NewUniform(color.RGBA{uint8(c), uint8(c >> 8), uint8(c >> 16), 255}),
			image.Point{}, draw.Src)
	}
	fill(picture.Bounds())
	for range shapes {
		x, y := random.IntN(size), random.IntN(size)
		fill(image.Rect(x, y, x+1+random.IntN(size), y+1+random.IntN(size)))
	}
	var file bytes.Buffer
	jpeg.Encode(&file, picture, &jpeg.Options{Quality: 90}) // a buffer takes all
	return file.Bytes()
}
