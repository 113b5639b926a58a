package gif

import (
	"errors"
	"fmt"
	"io"
)

const (
	maxBits  = 12 // of a code
	maxCodes = 1 << maxBits
)

var errCode = errors.New("a code is damaged")

// decode undoes LZW, appendix F, as Pillow does (libImaging/GifDecode.c): until the frame is full, whatever follows.
func (m *Image) decode(indices []uint8) error {
	if m.bits > maxBits {
		return fmt.Errorf("codes of %d bits are not valid", m.bits)
	}
	rows := rowWriter{pix: indices, width: m.width, height: m.height, step: 1}
	if m.interlaced {
		rows.step, rows.pass = 8, 1
	}
	if len(indices) == 0 {
		return errors.New("its frame has no pixels")
	}
	codes := codeReader{rest: m.codes}
	t := table{clear: 1 << m.bits}
	t.reset(m.bits)
	for {
		code, ok := codes.take(t.size)
		switch {
		case !ok || code == t.clear+1:
			return io.ErrUnexpectedEOF
		case code == t.clear:
			t.reset(m.bits)
			continue
		}
		text, err := t.expand(code)
		if err != nil {
			return err
		}
		if full := rows.write(text); full {
			return nil
		}
	}
}

// table holds the strings of the codes: each is that of another code and one more index.
type table struct {
	clear int // the code that empties the table; the one above ends the frame
	size  int // bits of the next code
	next  int // the code that is added next
	last  int // the code before, -1 behind a clear code
	first uint8
	index [maxCodes]uint8
	link  [maxCodes]uint16
	text  [maxCodes + 1]uint8
}

func (t *table) reset(bits int) { t.size, t.next, t.last = bits+1, t.clear+2, -1 }

// expand returns the string of a code, and adds the string of the code before with its first index.
func (t *table) expand(code int) ([]uint8, error) {
	at := len(t.text)
	push := func(v uint8) {
		at--
		t.text[at] = v
	}
	c := code
	if t.last < 0 {
		if code > t.clear {
			return nil, errCode
		}
		t.first, t.last = uint8(code), code
		push(t.first)
		return t.text[at:], nil
	}
	if c > t.next {
		return nil, errCode
	}
	if c == t.next {
		push(t.first)
		c = t.last
	}
	for c >= t.clear {
		if at <= 1 || c >= maxCodes {
			return nil, errCode
		}
		push(t.index[c])
		c = int(t.link[c])
	}
	t.first = uint8(c)
	push(t.first)
	if t.next < maxCodes {
		t.index[t.next], t.link[t.next] = t.first, uint16(t.last)
		if t.next == 1<<t.size-1 && t.size < maxBits {
			t.size++
		}
		t.next++
	}
	t.last = code
	return t.text[at:], nil
}

// codeReader reads codes, lowest bits first, from blocks that start with their size. An empty block does not end them.
type codeReader struct {
	rest  []byte
	block []byte
	bits  uint32
	count int
}

func (r *codeReader) take(size int) (code int, ok bool) {
	for r.count < size {
		for len(r.block) == 0 {
			if len(r.rest) == 0 || len(r.rest) <= int(r.rest[0]) {
				return 0, false
			}
			n := 1 + int(r.rest[0])
			r.block, r.rest = r.rest[1:n], r.rest[n:]
		}
		r.bits |= uint32(r.block[0]) << r.count
		r.block = r.block[1:]
		r.count += 8
	}
	code = int(r.bits & (1<<size - 1))
	r.bits >>= size
	r.count -= size
	return code, true
}

// rowWriter fills the rows of a frame in their order in the file. Interlaced ones are every eighth, the others between
// these, and so on (appendix E).
type rowWriter struct {
	pix           []uint8
	width, height int
	x, y          int
	step, pass    int // pass 1 to 3 are followed by another, 0 is the last
}

// write reports whether the frame is full.
func (w *rowWriter) write(text []uint8) (full bool) {
	for len(text) > 0 {
		n := copy(w.pix[w.y*w.width+w.x:][:w.width-w.x], text)
		text = text[n:]
		if w.x += n; w.x < w.width {
			continue
		}
		w.x = 0
		for w.y += w.step; w.y >= w.height; {
			switch w.pass {
			case 1:
				w.y, w.pass = 4, 2
			case 2:
				w.y, w.step, w.pass = 2, 4, 3
			case 3:
				w.y, w.step, w.pass = 1, 2, 0
			default:
				return true
			}
		}
	}
	return false
}
