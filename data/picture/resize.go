package picture

import "math"

// Resizing is Pillow's BICUBIC or BILINEAR to the bit (libImaging/Resample.c, 8 bits per channel): two passes,
// horizontal first, each with weights of 22 fractional bits and rounded to 8 bits. An output pixel depends only on its
// own weights, so only the window that is kept after resizing is computed, and padding is a weight on one colour
// instead of pixels in memory. Pillow 13 exchanges the passes of some sizes: see resizePillow13.
const (
	weightBits = 22
	weightHalf = 1 << (weightBits - 1)
)

// axis describes one direction of a resize: a line with pixels of the image from start on and padding elsewhere is
// resized to a new length, of which a part is kept.
type axis struct {
	bilinear              bool // else bicubic
	length, start, pixels int  // the line with its padding; where the image is in it
	resized, from, count  int  // the new length; the window that is kept
}

// taps are the weights of one output pixel.
type taps struct {
	first   int     // first pixel of the image with a weight
	weights []int32 // of that pixel and the following ones
	outside int32   // the weight of the padding
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
	if a.resized == a.length {
		support = 0.5 // each pixel alone: the others' weights would be 0
	}
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

// split rounds the weights of pixels low, low+1, … of the line and separates those on the image from those on the
// padding.
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
//
// Rows of the image are taken two at a time, and one multiplication serves two values (see lanes): in the horizontal
// pass the red of both rows, then the green and so on, in the vertical one red and green of one row.
func resize(img *RGB, columns, rows axis, padding [3]uint8) []uint8 {
	across, down := columns.taps(), rows.taps()
	width := len(across)
	even, odd := paddedRow(width, padding), paddedRow(width, padding) // after the horizontal pass
	last := across[width-1]
	begin, end := 3*across[0].first, 3*(last.first+len(last.weights)) // of a row: what is needed of it
	both := make([]int64, 3*img.W)
	sums := verticalStart(down, width, padding)
	open := 0 // the first output row that still needs source rows
	for y := 0; y < img.H; y += 2 {
		for open < len(down) && down[open].first+len(down[open].weights) <= y {
			open++
		}
		if open == len(down) {
			break
		}
		if down[open].first > y+1 {
			continue
		}
		next := min(y+1, img.H-1) // with an odd height the last row replaces the missing one, which has no weight
		pairRows(both[begin:end], img.Pix[3*y*img.W+begin:], img.Pix[3*next*img.W+begin:])
		horizontal(even, odd, both, across, padding)
		for to := open; to < len(down) && down[to].first <= y+1; to++ {
			addWeighted(sums[to*len(even):][:len(even)], even, odd, down[to].weight(y), down[to].weight(y+1))
		}
	}
	return channelFirst(sums, width, len(down))
}

// resizePillow13 is resize in the order of Pillow 13 (libImaging/Resample.c): the vertical pass comes first if the
// height loses more than twice the pixels that the width loses. Results differ by a level or two from those of the
// other order, which Pillow had before and Prepare keeps.
func resizePillow13(img *RGB, columns, rows axis, padding [3]uint8) []uint8 {
	lost := rows.length - rows.resized
	if lost <= 0 || lost <= 2*(columns.length-columns.resized) {
		return resize(img, columns, rows, padding)
	}
	same := func(n int) axis { return axis{length: n, pixels: n, resized: n, count: n} }
	channels, size := resize(img, same(img.W), rows, padding), img.W*rows.count
	upright := newRGB(img.W, rows.count)
	interleaveColours(upright.Pix, channels[:size], channels[size:], channels[2*size:])
	return resize(upright, columns, same(rows.count), padding)
}

// lanes holds two sums in one number, low + high 2^32: additions and multiplications apply to both. A negative low sum
// borrows from the high one; apart restores it.
func lanes(low, high int32) int64 { return int64(low) + int64(high)<<32 }

func apart(both int64) (low, high int32) {
	low = int32(both)
	return low, int32((both - int64(low)) >> 32)
}

// weight is the weight of a pixel of the image.
func (t taps) weight(at int) int64 {
	if i := at - t.first; i >= 0 && i < len(t.weights) {
		return int64(t.weights[i])
	}
	return 0
}

// paddedRow is a resized row of padding, red and green [width] in lanes, then blue [width].
func paddedRow(width int, padding [3]uint8) []int64 {
	row := make([]int64, 2*width)
	for x := range width {
		row[x], row[width+x] = lanes(int32(padding[0]), int32(padding[1])), int64(padding[2])
	}
	return row
}

// verticalStart returns the initial sums of the vertical pass, one row per output row: the rounding and the
// contribution of padding rows.
func verticalStart(down []taps, width int, padding [3]uint8) []int64 {
	sums := make([]int64, 0, len(down)*2*width)
	for _, t := range down {
		start := func(c int) int32 { return weightHalf + t.outside*int32(padding[c]) }
		redGreen, blue := lanes(start(0), start(1)), int64(start(2))
		for range width {
			sums = append(sums, redGreen)
		}
		for range width {
			sums = append(sums, blue)
		}
	}
	return sums
}

// pairRows puts two rows of the image into lanes.
func pairRows(both []int64, even, odd []uint8) {
	even, odd = even[:len(both)], odd[:len(both)]
	for i := range both {
		both[i] = int64(even[i]) | int64(odd[i])<<32
	}
}

// horizontal resizes a pair of interleaved rows. Outputs that no pixel of the image reaches stay padding.
func horizontal(even, odd, both []int64, across []taps, padding [3]uint8) {
	width := len(across)
	for x := range across {
		t := &across[x]
		if len(t.weights) == 0 {
			continue
		}
		start := func(c int) int64 { s := weightHalf + t.outside*int32(padding[c]); return lanes(s, s) }
		r, g, b := start(0), start(1), start(2)
		p := both[3*t.first:][:3*len(t.weights)]
		for i, w := range t.weights {
			q := p[3*i : 3*i+3 : 3*i+3]
			r += int64(w) * q[0]
			g += int64(w) * q[1]
			b += int64(w) * q[2]
		}
		evenRed, oddRed := apart(r)
		evenGreen, oddGreen := apart(g)
		evenBlue, oddBlue := apart(b)
		even[x], even[width+x] = int64(level(evenRed))|int64(level(evenGreen))<<32, int64(level(evenBlue))
		odd[x], odd[width+x] = int64(level(oddRed))|int64(level(oddGreen))<<32, int64(level(oddBlue))
	}
}

func level(sum int32) uint8 { return clamp8(sum >> weightBits) }

func addWeighted(sums, even, odd []int64, evenWeight, oddWeight int64) {
	even, odd = even[:len(sums)], odd[:len(sums)]
	for i := range sums {
		sums[i] += evenWeight*even[i] + oddWeight*odd[i]
	}
}

// channelFirst finishes the vertical pass: sums of height rows to [3,height,width] pixels.
func channelFirst(sums []int64, width, height int) []uint8 {
	size := width * height
	out := make([]uint8, 3*size)
	red, green, blue := out[:size], out[size:2*size], out[2*size:]
	for y := range height {
		row := sums[2*y*width:][:2*width]
		for x := range width {
			r, g := apart(row[x])
			red[y*width+x], green[y*width+x], blue[y*width+x] = level(r), level(g), level(int32(row[width+x]))
		}
	}
	return out
}
