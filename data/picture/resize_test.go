package picture

import (
	"bytes"
	"math"
	"testing"

	"pgregory.net/rapid"
)

// resizeWhole is the recipe in its plainest form: every pixel of both passes, in order, nothing cut, nothing left out.
func resizeWhole(img *RGB, w, h int, bilinear bool) *RGB {
	reach, kernel := 2., keysCubic
	if bilinear {
		reach, kernel = 1, func(x float64) float64 { return max(0, 1-math.Abs(x)) }
	}
	weights := func(length, resized, at int) (low int, fixed []int) {
		scale := float64(length) / float64(resized)
		stretch := math.Max(scale, 1)
		centre := (float64(at) + 0.5) * scale
		low = max(int(centre-reach*stretch+0.5), 0)
		high := min(int(centre+reach*stretch+0.5), length)
		sum := 0.0
		for x := low; x < high; x++ {
			sum += kernel((float64(x) - centre + 0.5) / stretch)
		}
		for x := low; x < high; x++ {
			fixed = append(fixed, int(math.Round(kernel((float64(x)-centre+0.5)/stretch)/sum*(1<<22))))
		}
		return low, fixed
	}
	pass := func(src *RGB, w, h int, across bool) *RGB {
		out := newRGB(w, h)
		for y := range h {
			for x := range w {
				low, fixed := weights(src.H, h, y)
				if across {
					low, fixed = weights(src.W, w, x)
				}
				for c := range 3 {
					sum := 1 << 21
					for i, f := range fixed {
						at := (low+i)*src.W + x
						if across {
							at = y*src.W + low + i
						}
						sum += f * int(src.Pix[3*at+c])
					}
					out.Pix[3*(y*w+x)+c] = uint8(min(max(sum>>22, 0), 255))
				}
			}
		}
		return out
	}
	return pass(pass(img, w, img.H, true), w, h, false)
}

// TestResizeWindow: the kept window, with padding that exists as weights only, equals the same window of the plain
// recipe on an image that was really padded.
func TestResizeWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		img := newRGB(rapid.IntRange(1, 24).Draw(t, "w"), rapid.IntRange(1, 24).Draw(t, "h"))
		copy(img.Pix, rapid.SliceOfN(rapid.Byte(), len(img.Pix), len(img.Pix)).Draw(t, "pixels"))
		padding := [3]uint8{1, 130, 255}
		bilinear := rapid.Bool().Draw(t, "bilinear")
		direction := func(pixels int) axis {
			a := axis{bilinear: bilinear, pixels: pixels, start: rapid.IntRange(0, 9).Draw(t, "start"),
				resized: rapid.IntRange(1, 30).Draw(t, "resized")}
			a.length = a.start + pixels + rapid.IntRange(0, 9).Draw(t, "after")
			a.count = rapid.IntRange(1, a.resized).Draw(t, "count")
			a.from = rapid.IntRange(0, a.resized-a.count).Draw(t, "from")
			return a
		}
		columns, rows := direction(img.W), direction(img.H)
		got := resize(img, columns, rows, padding)

		padded := newRGB(columns.length, rows.length)
		for i := range padded.Pix {
			padded.Pix[i] = padding[i%3]
		}
		for y := range img.H {
			copy(padded.Pix[3*((rows.start+y)*padded.W+columns.start):], img.Pix[3*y*img.W:][:3*img.W])
		}
		whole := resizeWhole(padded, columns.resized, rows.resized, bilinear)
		want := make([]uint8, 0, len(got))
		for c := range 3 {
			for y := range rows.count {
				for x := range columns.count {
					want = append(want, whole.Pix[3*((rows.from+y)*whole.W+columns.from+x)+c])
				}
			}
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("columns %+v rows %+v differ", columns, rows)
		}
	})
}

// TestResizeStrip: an image of the most extreme shape allowed needs no memory for the square around it (13 GB).
func TestResizeStrip(t *testing.T) {
	p := CLIPProcessor(56)
	for _, strip := range []*RGB{newRGB(1, maxSide), newRGB(maxSide, 1)} {
		for _, aspect := range []string{"square", "pad"} {
			var got []uint8
			if used := allocated(func() { got = p.Prepare(strip, aspect) }); used > 8<<20 || len(got) != 3*56*56 {
				t.Errorf("%dx%d %s: %d values, %d bytes allocated", strip.W, strip.H, aspect, len(got), used)
			}
		}
	}
}
