package shapes

import (
	"bytes"
	"image/color"
	"math"
	"testing"
)

func TestOutlinesHaveTheirArea(t *testing.T) {
	areas := map[string]float64{
		"circle":   0.85 * math.Pi,
		"square":   1.64 * 1.64,
		"triangle": 0.95 * 1.8,
		"cross":    2*1.9*0.6 - 0.6*0.6,
		"diamond":  2 * 0.8,
		"star":     10 * 0.5 * 0.42 * math.Sin(math.Pi/5),
	}
	for _, shape := range shapes {
		const steps = 400
		area := 0.0
		for i := range steps {
			for j := range steps {
				area += coverage(outlines[shape], -1+2*float64(i)/steps, -1+2*float64(j)/steps,
					2.0/steps) * 4 / (steps * steps)
			}
		}
		if math.Abs(area-areas[shape]) > 0.01 {
			t.Errorf("%s: area %.4f, want %.4f", shape, area, areas[shape])
		}
	}
}

func TestOutlinesPointUp(t *testing.T) {
	for _, shape := range []string{"triangle", "star"} {
		if inside := outlines[shape]; !inside(0, -0.95) || inside(0, 0.95) {
			t.Errorf("%s: does not point up", shape)
		}
	}
}

func TestEdgesAreAntiAliased(t *testing.T) {
	halves := coverage(outlines["square"], 0.82-0.05, 0, 0.1) // a pixel whose middle is the right edge
	if halves != 0.5 {
		t.Errorf("coverage at an edge through the middle of a pixel: %v, want 0.5", halves)
	}
}

// Each object's colour is found in its cell, and cells without an object stay dark.
func TestPicturesShowTheirScene(t *testing.T) {
	for i := range 300 {
		s := unseenScene(newStream(5, "paint", i))
		picture := paint(s)
		for _, at := range positions {
			got, bright := brightest(func(x, y int) color.RGBA {
				return picture.RGBAAt(at.column()*cellSize+x, at.row()*cellSize+y)
			})
			want := ""
			for _, o := range s.objects {
				if o.position == at {
					want = o.color
				}
			}
			if want == "" && bright > 0 || want != "" && (bright < 60 || got != want) {
				t.Fatalf("scene %d, %q: cell %q shows %q (%d bright pixels), want %q",
					i, describe(s.objects), at, got, bright, want)
			}
		}
	}
}

// brightest names the palette colour that most of a cell's bright pixels are nearest to, and counts those pixels.
func brightest(at func(x, y int) color.RGBA) (name string, count int) {
	votes := map[string]int{}
	for x := range cellSize {
		for y := range cellSize {
			c := at(x, y)
			if max(c.R, c.G, c.B) > 140 {
				votes[nearest(c)]++
				count++
			}
		}
	}
	for candidate, n := range votes {
		if n > votes[name] {
			name = candidate
		}
	}
	return name, count
}

func nearest(c color.RGBA) (name string) {
	best := math.Inf(1)
	for candidate, p := range palette {
		distance := math.Hypot(math.Hypot(p[0]-float64(c.R), p[1]-float64(c.G)), p[2]-float64(c.B))
		if distance < best {
			name, best = candidate, distance
		}
	}
	return name
}

func TestPaintIsDeterministicAndVaried(t *testing.T) {
	s := trainingScene(newStream(5, "paint", 0))
	again := paint(s)
	if !bytes.Equal(paint(s).Pix, again.Pix) {
		t.Error("the same scene was painted in two ways")
	}
	other := s
	other.look.key++
	if bytes.Equal(paint(other).Pix, again.Pix) {
		t.Error("two looks give one picture")
	}
}
