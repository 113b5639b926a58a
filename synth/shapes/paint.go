package shapes

import (
	"image"
	"image/color"
	"math"
)

// pictureSize is the width and height of every image in pixels.
const pictureSize = 64

const (
	cellSize   = pictureSize / 2
	subsamples = 4 // sub-samples per pixel and axis at the edge of a shape
)

type rgb [3]float64 // 0 to 255

// palette are the colours as painted, before a slight change of brightness.
var palette = map[string]rgb{
	"red": {225, 40, 40}, "green": {40, 185, 60}, "blue": {50, 85, 235}, "yellow": {238, 222, 50},
	"purple": {155, 60, 195}, "orange": {245, 140, 30}, "cyan": {60, 212, 222}, "white": {245, 245, 245},
}

// outlines report whether a point is inside a shape that fits the square from (-1, -1) to (1, 1), y downwards.
var outlines = map[string]func(x, y float64) bool{
	"circle":   func(x, y float64) bool { return x*x+y*y <= 0.85 },
	"square":   func(x, y float64) bool { return max(math.Abs(x), math.Abs(y)) <= 0.82 },
	"triangle": func(x, y float64) bool { return y <= 0.8 && math.Abs(x) <= (y+1)/1.8*0.95 },
	"cross": func(x, y float64) bool {
		x, y = math.Abs(x), math.Abs(y)
		return min(x, y) <= 0.3 && max(x, y) <= 0.95
	},
	"diamond": func(x, y float64) bool { return math.Abs(x)/0.8+math.Abs(y) <= 1 },
	"star":    insideStar,
}

// insideStar folds the plane into one half of a point of the star; there its edge is one straight line, from the tip at
// radius 1 to the notch at radius 0.42 and 36 degrees.
func insideStar(x, y float64) bool {
	angle := math.Abs(math.Remainder(math.Atan2(x, -y), 2*math.Pi/5))
	radius := math.Hypot(x, y)
	px, py := radius*math.Cos(angle), radius*math.Sin(angle)
	notchX, notchY := 0.42*math.Cos(math.Pi/5), 0.42*math.Sin(math.Pi/5)
	return (notchX-1)*py-notchY*(px-1) >= 0
}

// canvas is an image being painted: row, column.
type canvas [pictureSize][pictureSize]rgb

// paint draws the scene. The same scene gives the same image.
func paint(s scene) *image.RGBA {
	r := s.look // a copy: painting again starts from the same number
	var c canvas
	c.ground(&r)
	for _, o := range s.objects {
		c.shape(&r, o)
	}
	return c.develop(&r)
}

// ground covers the canvas with a dark colour or a gradient between two, and a few faint lines or dots.
func (c *canvas) ground(r *stream) {
	from, to := darkColor(r), darkColor(r)
	if r.intN(2) == 0 {
		to = from
	}
	angle := r.between(0, 2*math.Pi)
	dx, dy := math.Cos(angle)/pictureSize/math.Sqrt2, math.Sin(angle)/pictureSize/math.Sqrt2
	for y := range c {
		for x := range c[y] {
			share := 0.5 + float64(x-pictureSize/2)*dx + float64(y-pictureSize/2)*dy
			c[y][x] = from
			c.blend(x, y, to, share)
		}
	}
	switch r.intN(3) {
	case 0:
		c.lines(r)
	case 1:
		c.dots(r)
	}
}

func darkColor(r *stream) rgb { return rgb{r.between(0, 75), r.between(0, 75), r.between(0, 75)} }

func faintColor(r *stream) rgb {
	return rgb{r.between(20, 110), r.between(20, 110), r.between(20, 110)}
}

// lines draws thin straight lines across the whole canvas.
func (c *canvas) lines(r *stream) {
	for range 2 + r.intN(4) {
		paint, angle, width := faintColor(r), r.between(0, math.Pi), r.between(0.5, 1.2)
		sin, cos := math.Sincos(angle)
		offset := r.between(0, pictureSize)*sin + r.between(0, pictureSize)*cos
		for y := range c {
			for x := range c[y] {
				distance := math.Abs(float64(x)*sin + float64(y)*cos - offset)
				c.blend(x, y, paint, width-distance)
			}
		}
	}
}

func (c *canvas) dots(r *stream) {
	for range 6 + r.intN(15) {
		paint, radius := faintColor(r), r.between(0.8, 2)
		cx, cy := r.between(0, pictureSize), r.between(0, pictureSize)
		for y := range c {
			for x := range c[y] {
				c.blend(x, y, paint, radius-math.Hypot(float64(x)-cx, float64(y)-cy))
			}
		}
	}
}

// shape draws an object somewhere in its cell.
func (c *canvas) shape(r *stream, o object) {
	radius := r.between(10, 14)
	cx := (float64(o.position.column())+0.5)*cellSize + r.between(-2, 2)
	cy := (float64(o.position.row())+0.5)*cellSize + r.between(-2, 2)
	paint, brightness := palette[o.color], r.between(0.88, 1.02)
	for i := range paint {
		paint[i] *= brightness
	}
	for y := range c {
		for x := range c[y] {
			c.blend(x, y, paint, coverage(outlines[o.shape], (float64(x)-cx)/radius, (float64(y)-cy)/radius, 1/radius))
		}
	}
}

// coverage is the share of the square of the given side at (x, y) that is inside the outline.
func coverage(inside func(x, y float64) bool, x, y, side float64) float64 {
	if max(x, y) > 1 || min(x, y)+side < -1 {
		return 0
	}
	count := 0
	for i := range subsamples {
		for j := range subsamples {
			if inside(x+(float64(i)+0.5)/subsamples*side, y+(float64(j)+0.5)/subsamples*side) {
				count++
			}
		}
	}
	return float64(count) / (subsamples * subsamples)
}

// blend mixes a share of paint into a pixel; shares outside 0 to 1 are clamped.
func (c *canvas) blend(x, y int, paint rgb, share float64) {
	share = min(max(share, 0), 1)
	for i, old := range c[y][x] {
		c[y][x][i] = old + (paint[i]-old)*share
	}
}

// develop adds noise and rounds to bytes.
func (c *canvas) develop(r *stream) *image.RGBA {
	picture := image.NewRGBA(image.Rect(0, 0, pictureSize, pictureSize))
	for y := range c {
		for x, pixel := range c[y] {
			noise := r.between(-5, 5) + r.between(-5, 5)
			picture.SetRGBA(x, y,
				color.RGBA{level(pixel[0] + noise), level(pixel[1] + noise), level(pixel[2] + noise), 255})
		}
	}
	return picture
}

func level(v float64) uint8 { return uint8(min(max(math.Round(v), 0), 255)) }
