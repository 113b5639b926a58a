package bmp

// unpack undoes run-length coding: pairs of a count and a colour; after a count of 0 the end of a row (0) or of the
// image (1), a distance to go on (2), or a number of colours as they are. It gives one byte per pixel in the file's
// order, and fewer than all if the file ends early. What the format leaves open is done as in Pillow: runs end with
// their row, while colours as they are do not.
func (m *Image) unpack() []uint8 {
	r := runReader{file: m.file, at: int(m.pixels), width: m.Width, total: m.Width * m.Height,
		four: m.compression == runs4}
	r.out = make([]uint8, 0, r.total)
	for len(r.out) < r.total {
		pair, ok := r.take(2)
		if !ok {
			break
		}
		switch count, code := int(pair[0]), int(pair[1]); {
		case count > 0:
			r.run(min(count, max(r.width-r.x, 0)), pair[1])
		case code == 0:
			r.skip((r.width - len(r.out)%r.width) % r.width)
			r.x = 0
		case code == 1:
			return r.out
		case code == 2:
			if pair, ok = r.take(2); !ok {
				return r.out
			}
			r.skip(int(pair[0]) + int(pair[1])*r.width)
			r.x = len(r.out) % r.width
		default:
			if !r.literal(code) {
				return r.out
			}
		}
	}
	return r.out
}

type runReader struct {
	file         []byte
	at           int // next byte of file
	width, total int // pixels
	x            int // column, as runs and literals count it
	four         bool
	out          []uint8
}

func (r *runReader) take(n int) ([]byte, bool) {
	if len(r.file)-r.at < n {
		return nil, false
	}
	r.at += n
	return r.file[r.at-n : r.at], true
}

// skip leaves n pixels with colour 0.
func (r *runReader) skip(n int) { r.out = append(r.out, make([]uint8, min(n, r.total-len(r.out)))...) }

// run repeats one colour, or two colours of 4 bits in turn.
func (r *runReader) run(count int, colours byte) {
	for i := range count {
		switch {
		case !r.four:
			r.out = append(r.out, colours)
		case i%2 == 0:
			r.out = append(r.out, colours>>4)
		default:
			r.out = append(r.out, colours&15)
		}
	}
	r.x += count
}

// literal copies colours, which fill whole words of 16 bits of the file. It reports whether more can follow.
func (r *runReader) literal(code int) bool {
	count := min(code, r.total-len(r.out))
	stored := count
	if r.four {
		stored = (count + 1) / 2
	}
	colours, ok := r.take(min(stored, len(r.file)-r.at))
	for i, c := range colours {
		if !r.four {
			r.out = append(r.out, c)
			continue
		}
		if r.out = append(r.out, c>>4); 2*i+1 < count {
			r.out = append(r.out, c&15)
		}
	}
	if !ok || len(colours) < stored || len(r.out) == r.total {
		return false
	}
	r.x += code
	r.at += r.at % 2
	return true
}
