package tiff

import (
	"errors"
	"fmt"
	"io"
)

// faxReader decodes rows of black and white that are compressed as fax machines do: ITU-T T.4 (Group 3), T.6 (Group 4),
// and TIFF 6.0, section 10 (run lengths alone). A black pixel is a set bit; the photometric interpretation says what it
// means. Damage within a row of Group 3 is treated as in libtiff (tif_fax3.h): the rest of the row is white, and the
// next one starts at the next end of line. In the other kinds all that follows would be lost, so it is an error.
type faxReader struct {
	bits  faxBits
	width int
	kind  int // of compression

	alone     bool  // the image is one strip
	after     bool  // Group 3: rows may be coded after the row above
	endOfLine bool  // the zeros of an end of line have been read, its one has not
	noEnds    bool  // Group 3: rows have no end of line
	runs      []int // lengths of the current row, white first
	pending   int   // part of the next run that is known
	sum       int   // of all runs and pending: a0 of T.4, section 4.2.1.3.1
	above     []int // columns where the row above changes its colour, the first time to black
	next      int   // index in above to continue from
}

var (
	errFaxCode      = errors.New("a fax code is damaged")
	errFaxEnd       = fmt.Errorf("%w: its line ends early", errFaxCode)
	errFaxExtension = errors.New("uncompressed rows within fax compression are not supported; save it as PNG")
)

func (m *Image) openFax(data []byte) *faxReader {
	f := &faxReader{bits: newFaxBits(data), width: m.chunkWidth, kind: m.compression, alone: m.chunks() == 1}
	f.after = f.kind == faxGroup4 || f.kind == faxGroup3 && m.faxOptions&1 != 0 // T4Options
	f.above = []int{f.width, f.width, f.width}
	return f
}

func (f *faxReader) row(dst []byte) error {
	f.runs, f.pending, f.sum, f.next = f.runs[:0], 0, 0, 0
	if f.kind == faxGroup3 && !f.noEnds {
		if err := f.synchronise(); err != nil {
			return err
		}
	}
	single := !f.after
	if f.kind == faxGroup3 && f.after {
		if !f.bits.need(1) {
			return io.ErrUnexpectedEOF
		}
		single = f.bits.take(1) == 1
	}
	read := f.readAfter
	if single {
		read = f.readRuns
	}
	if err := read(); err != nil && (f.kind != faxGroup3 || !errors.Is(err, errFaxCode)) {
		return err
	}
	f.align()
	f.complete()
	f.paint(dst)
	return nil
}

// finish does nothing: fax compression has no checksum.
func (f *faxReader) finish() error { return nil }

// synchronise finds the end of line before a row of Group 3: eleven zeros or more, and a one. If only zeros are left,
// rows are missing, and libtiff reads those at the start of the strip again, as if no row had an end of line. The first
// is then white. In an image of several strips it does so in the following strips too, which makes noise of them.
func (f *faxReader) synchronise() error {
	for !f.endOfLine {
		if !f.bits.need(11) {
			return io.ErrUnexpectedEOF
		}
		if f.bits.peek(11) == 0 {
			break
		}
		f.bits.skip(1)
	}
	f.endOfLine = false
	for {
		if !f.bits.need(8) {
			if !f.alone {
				return io.ErrUnexpectedEOF
			}
			f.bits, f.noEnds = newFaxBits(f.bits.data), true
			return nil
		}
		if f.bits.peek(8) != 0 {
			break
		}
		f.bits.skip(8)
	}
	for f.bits.take(1) == 0 {
	}
	return nil
}

// align goes to the next whole byte, or pair of bytes, after a row of run lengths alone.
func (f *faxReader) align() {
	switch f.kind {
	case faxRLE:
		f.bits.at = ceilDiv(f.bits.at, 8) * 8
	case faxRLEWords:
		f.bits.at = ceilDiv(f.bits.at, 16) * 16
	}
}

// add ends a run.
func (f *faxReader) add(length int) {
	f.runs = append(f.runs, f.pending+length)
	f.sum, f.pending = f.sum+length, 0
}

// readRun reads the length of the next run: any number of multiples of 64, and the rest.
func (f *faxReader) readRun() error {
	table, longest := whiteTable, 12
	if len(f.runs)%2 == 1 {
		table, longest = blackTable, 13
	}
	for {
		if !f.bits.need(longest) {
			return io.ErrUnexpectedEOF
		}
		code := table[f.bits.peek(maxCodeBits)]
		if f.bits.skip(int(code.length)); code.length == 0 {
			if f.bits.peek(11) == 0 {
				f.bits.skip(11)
				return errFaxEnd
			}
			return errFaxCode
		}
		length := int(code.value)
		if length < 64 {
			f.add(length)
			return nil
		}
		if f.sum += length; f.sum > 2*f.width+4096 {
			return errFaxCode
		}
		f.pending += length
	}
}

// readRuns reads a row that is coded by itself.
func (f *faxReader) readRuns() error {
	for f.sum < f.width {
		for range 2 {
			if err := f.readRun(); err != nil {
				f.endOfLine = errors.Is(err, errFaxEnd)
				return err
			}
			if f.sum >= f.width {
				break
			}
		}
		if n := len(f.runs); n >= 2 && f.runs[n-1] == 0 && f.runs[n-2] == 0 {
			f.runs = f.runs[:n-2]
		}
	}
	return nil
}

// readAfter reads a row that is coded by its differences from the row above, T.4, section 4.2.1.3.
func (f *faxReader) readAfter() error {
	for f.sum < f.width {
		if len(f.runs) > 2*f.width+64 { // empty runs without end
			return errFaxCode
		}
		if !f.bits.need(7) {
			return io.ErrUnexpectedEOF
		}
		code := modeTable[f.bits.peek(maxCodeBits)]
		if code.length == 0 {
			return f.damaged()
		}
		f.bits.skip(int(code.length))
		if err := f.mode(int(code.value)); err != nil {
			return err
		}
	}
	if f.pending > 0 {
		f.add(0)
	}
	return nil
}

// damaged is where no mode begins. An end of line leaves the rest of the row in the current colour.
func (f *faxReader) damaged() error {
	switch {
	case f.kind == faxGroup4 && f.bits.peek(12) <= 1: // the end of a facsimile block, T.6, section 2.4
		return io.ErrUnexpectedEOF
	case f.kind == faxGroup3 && f.bits.peek(7) == 0:
		f.bits.skip(11)
		f.endOfLine = true
		f.runs = append(f.runs, f.width-f.sum)
	}
	return errFaxCode
}

func (f *faxReader) mode(mode int) error {
	switch mode {
	case modePass:
		at := f.change()
		f.pending += f.above[at+1] - f.sum
		f.sum = f.above[at+1]
	case modeHorizontal:
		for range 2 {
			if err := f.readRun(); err != nil {
				return err
			}
		}
	case modeExtension:
		return errFaxExtension
	default:
		length := f.above[f.change()] + mode - f.sum
		if length < 0 {
			return errFaxCode
		}
		f.add(length)
	}
	return nil
}

// change is the index of b1: the first change in the row above that is to the right of a0, and to the other colour than
// the current one.
func (f *faxReader) change() int {
	colour := len(f.runs) % 2
	i := max(f.next-1, 0)
	if i%2 != colour {
		i++
	}
	for f.above[i] <= f.sum && f.above[i] < f.width && (f.sum > 0 || len(f.runs) > 0) {
		i += 2
	}
	f.next = i
	return i
}

// complete makes the runs fill the row: a run that leads beyond its end is left out, and what is missing is white.
func (f *faxReader) complete() {
	if f.pending > 0 {
		f.add(0)
	}
	for f.sum > f.width && len(f.runs) > 0 {
		f.sum -= f.runs[len(f.runs)-1]
		f.runs = f.runs[:len(f.runs)-1]
	}
	if f.sum < f.width {
		if len(f.runs)%2 == 1 {
			f.add(0)
		}
		f.add(f.width - f.sum)
	}
}

// paint sets the bits of the black runs, and keeps where the colour changes for the next row.
func (f *faxReader) paint(dst []byte) {
	clear(dst)
	f.above = f.above[:0]
	x := 0
	for i, length := range f.runs {
		end := min(x+length, f.width)
		for ; i%2 == 1 && x < end; x++ {
			if x%8 == 0 && x+8 <= end {
				dst[x/8] = 0xff
				x += 7
				continue
			}
			dst[x/8] |= 0x80 >> (x % 8)
		}
		x = end
		f.above = append(f.above, x)
	}
	f.above = append(f.above, f.width, f.width, f.width)
}

// faxBits reads bits, highest first. Zeros complete a code that is cut off.
type faxBits struct {
	data []byte
	at   int // the next bit
	end  int // of the bits that may be taken
}

func newFaxBits(data []byte) faxBits { return faxBits{data: data, end: 8 * len(data)} }

// need reports whether any bits are left, and adds zeros until there are n.
func (b *faxBits) need(n int) bool {
	if b.at >= b.end {
		return false
	}
	b.end = max(b.end, b.at+n)
	return true
}

// peek is the next n bits, n at most 13.
func (b *faxBits) peek(n int) int {
	var word uint32
	for i := range 3 {
		word <<= 8
		if at := b.at/8 + i; at < len(b.data) {
			word |= uint32(b.data[at])
		}
	}
	return int(word << (8 + b.at%8) >> (32 - n))
}

func (b *faxBits) skip(n int) { b.at += n }

func (b *faxBits) take(n int) int {
	value := b.peek(n)
	b.skip(n)
	return value
}

// checkFax refuses what fax compression does not hold.
func (m *Image) checkFax() error {
	switch m.compression {
	case faxRLE, faxGroup3, faxGroup4, faxRLEWords:
		if m.bits != 1 || m.samples != 1 {
			return fmt.Errorf("%d samples of %d bits cannot have fax compression", m.samples, m.bits)
		}
	}
	return nil
}
