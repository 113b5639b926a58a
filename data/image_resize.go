package data

import "math"

// Resizing is Pillow's BICUBIC or BILINEAR to the bit (libImaging/Resample.c, 8 bits a channel): two passes, horizontal first, each with
// weights of 22 fractional bits and rounded to 8 bits. An output pixel depends on nothing but its own weights, so only the window
// that is kept after resizing is computed, and padding is a weight on one colour instead of pixels in memory.
const (
	weightBits = 22
	weightHalf = 1 << (weightBits - 1)
)

// axis describes one direction of a resize: of a line that holds pixels of the picture from start on and padding elsewhere, resized to a
// new length, the part that is kept.
type axis struct {
	bilinear              bool // else bicubic
	length, start, pixels int  // the line with its padding; where the picture lies in it
	resized, from, count  int  // the new length; the window that is kept
}

// taps are the weights that make one output pixel.
type taps struct {
	first   int     // first pixel of the picture that counts
	weights []int32 // of that pixel and the following ones
	outside int32   // what the padding weighs
}

// taps returns the weights of each kept output pixel, in order; first and the end of weights never decrease.
func (a axis) taps() []taps {
	scale := float64(a.length) / float64(a.resized)
	stretch := max(scale, 1) // the filter widens when shrinking
	reach, weigh := 2., keysCubic
	if a.bilinear {
		reach, weigh = 1, triangle
	}
	support := reach * stretch
	all := make([]taps, a.count)
	var exact []float64
	for i := range all {
		centre := (float64(a.from+i) + 0.5) * scale
		low := max(int(centre-support+0.5), 0)
		high := min(int(centre+support+0.5), a.length)
		exact = exact[:0]
		sum := 0.0
		for at := low; at < high; at++ {
			w := weigh((float64(at) - centre + 0.5) * (1 / stretch))
			exact = append(exact, w)
			sum += w
		}
		all[i] = a.split(low, exact, sum)
	}
	return all
}

// split rounds the weights of pixels low, low+1, … of the line and parts those on the picture from those on the padding.
func (a axis) split(low int, exact []float64, sum float64) taps {
	begin := min(max(a.start-low, 0), len(exact))
	end := min(max(a.start+a.pixels-low, 0), len(exact))
	t := taps{first: min(max(low-a.start, 0), a.pixels), weights: make([]int32, 0, end-begin)}
	for i, w := range exact {
		fixed := int32(math.Round(w / sum * (1 << weightBits)))
		if i >= begin && i < end {
			t.weights = append(t.weights, fixed)
		} else {
			t.outside += fixed
		}
	}
	return t
}

// keysCubic is the cubic convolution kernel with a = −0.5 (Keys 1981, doi:10.1109/TASSP.1981.1163711).
func keysCubic(x float64) float64 {
	const a = -0.5
	x = math.Abs(x)
	switch {
	case x < 1:
		return ((a+2)*x-(a+3))*x*x + 1
	case x < 2:
		return (((x-5)*x+8)*x - 4) * a
	}
	return 0
}

// triangle is linear interpolation as a kernel.
func triangle(x float64) float64 { return max(0, 1-math.Abs(x)) }

// resize returns the kept window of img, channel first: [3, rows.count, columns.count].
func resize(img *RGB, columns, rows axis, padding [3]uint8) []uint8 {
	across, down := columns.taps(), rows.taps()
	width := len(across)
	line := make([]uint8, 3*width) // one source row after the horizontal pass, [3,width]
	for i := range line {
		line[i] = padding[i/width] // stays where no pixel of the picture reaches
	}
	sums := verticalStart(down, width, padding)
	open := 0 // the first output row that still waits for source rows
	for y := range img.H {
		for open < len(down) && down[open].first+len(down[open].weights) <= y {
			open++
		}
		if open == len(down) {
			break
		}
		if down[open].first > y {
			continue
		}
		horizontal(line, img.Pix[3*y*img.W:][:3*img.W], across, padding)
		for to := open; to < len(down) && down[to].first <= y; to++ {
			addWeighted(sums[to*len(line):][:len(line)], line, down[to].weights[y-down[to].first])
		}
	}
	return channelFirst(sums, width, len(down))
}

// verticalStart returns the sums of the vertical pass, [rows,3,width], holding the rounding and what padding rows add.
func verticalStart(down []taps, width int, padding [3]uint8) []int32 {
	sums := make([]int32, 0, len(down)*3*width)
	for _, t := range down {
		for _, colour := range padding {
			start := weightHalf + t.outside*int32(colour)
			for range width {
				sums = append(sums, start)
			}
		}
	}
	return sums
}

// horizontal resizes the interleaved row src into line [3,width].
func horizontal(line, src []uint8, across []taps, padding [3]uint8) {
	red, green, blue := line[:len(across)], line[len(across):][:len(across)], line[2*len(across):][:len(across)]
	for x := range across {
		t := &across[x]
		if len(t.weights) == 0 {
			continue
		}
		r := weightHalf + t.outside*int32(padding[0])
		g := weightHalf + t.outside*int32(padding[1])
		b := weightHalf + t.outside*int32(padding[2])
		p := src[3*t.first:][:3*len(t.weights)]
		for i, w := range t.weights {
			q := p[3*i : 3*i+3 : 3*i+3]
			r += w * int32(q[0])
			g += w * int32(q[1])
			b += w * int32(q[2])
		}
		red[x], green[x], blue[x] = clamp8(r>>weightBits), clamp8(g>>weightBits), clamp8(b>>weightBits)
	}
}

func addWeighted(sums []int32, line []uint8, weight int32) {
	sums = sums[:len(line)]
	for i, v := range line {
		sums[i] += weight * int32(v)
	}
}

// channelFirst ends the vertical pass: [height,3,width] sums to [3,height,width] pixels.
func channelFirst(sums []int32, width, height int) []uint8 {
	out := make([]uint8, len(sums))
	for y := range height {
		for c := range 3 {
			to := out[(c*height+y)*width:][:width]
			for x, sum := range sums[(y*3+c)*width:][:width] {
				to[x] = clamp8(sum >> weightBits)
			}
		}
	}
	return out
}
