package alike

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"

	"github.com/llavatrain/llavatrain/data/picture"
)

// Near is the most bits by which the hashes of two pictures differ that count as alike.
const Near = 4

// Hash is a picture's difference hash (Krawetz, "Kind of Like That", 2013): the picture is averaged to 9 columns and 8
// lines of grey, and each bit says whether a cell is lighter than the one to its left. A picture without such
// differences, such as a formula on white, would be near every other of its kind; it is Plain, its Bits are a digest of
// its pixels, and only a picture with the same pixels is near.
type Hash struct {
	Bits  uint64
	Plain bool
}

const (
	columns, lines = 9, 8
	steps          = (columns - 1) * lines // from a cell to the next

	// plainSteps is how many steps of at least a grey level a picture has that is not plain. Photos have 55 to 64, text
	// pages and charts about 40, a drawing or a line of text on white at most 10.
	plainSteps = steps / 2

	greyLevel = 1000 // of a pixel in the sums, whose weights for red, green and blue add up to it
)

// HashOf hashes a decoded picture. It computes in whole numbers: the same pixels give the same hash everywhere.
func HashOf(img *picture.RGB) Hash {
	grey := averages(img)
	level := greyLevel * int64(img.W) * int64(img.H)
	h, clear := Hash{}, 0
	for step := range steps {
		left := step/(columns-1)*columns + step%(columns-1)
		rise := grey[left+1] - grey[left]
		if rise > 0 {
			h.Bits |= 1 << step
		}
		if max(rise, -rise) >= level {
			clear++
		}
	}
	if clear < plainSteps {
		return Hash{Bits: digest(img), Plain: true}
	}
	return h
}

// digest is the same for pictures of the same size with the same pixels.
func digest(img *picture.RGB) uint64 {
	sum := sha256.New()
	fmt.Fprintf(sum, "%d %d ", img.W, img.H)
	sum.Write(img.Pix)
	return binary.BigEndian.Uint64(sum.Sum(nil))
}

// averages is the mean grey of each cell, times 1000 W H. Grey is that of ITU-R BT.601.
func averages(img *picture.RGB) (cells [lines * columns]int64) {
	across, down := cut(img.W, columns), cut(img.H, lines)
	grey := make([]int64, img.W)
	for y := range img.H {
		pix := img.Pix[3*y*img.W:][:3*img.W]
		for x := range grey {
			grey[x] = 299*int64(pix[3*x]) + 587*int64(pix[3*x+1]) + 114*int64(pix[3*x+2])
		}
		var row [columns]int64
		for c, s := range across {
			row[c] = s.sum(grey)
		}
		for l, s := range down {
			weight := s.weight(y)
			if weight == 0 {
				continue
			}
			for c := range row {
				cells[l*columns+c] += weight * row[c]
			}
		}
	}
	return cells
}

// span is the pixels of one cell along one direction. Their weights are whole numbers that add up to the length of the
// picture: a pixel weighs as many units as there are cells, and those at the ends count with the part that is inside.
type span struct {
	first, last int
	head, tail  int64 // weights of first and last; tail is 0 if they are the same pixel
	unit        int64 // weight of those between them
}

func cut(size, cells int) []span {
	spans := make([]span, cells)
	for c := range spans {
		begin, end := c*size, (c+1)*size // in units
		s := span{first: begin / cells, last: (end - 1) / cells, unit: int64(cells)}
		s.head = int64(min(end, (s.first+1)*cells) - begin)
		if s.last > s.first {
			s.tail = int64(end - s.last*cells)
		}
		spans[c] = s
	}
	return spans
}

func (s span) sum(values []int64) int64 {
	between := int64(0)
	for i := s.first + 1; i < s.last; i++ {
		between += values[i]
	}
	return s.head*values[s.first] + s.unit*between + s.tail*values[s.last]
}

func (s span) weight(at int) int64 {
	switch {
	case at < s.first || at > s.last:
		return 0
	case at == s.first:
		return s.head
	case at == s.last:
		return s.tail
	}
	return s.unit
}

// Distance is how many bits differ. Between plain pictures, and between a plain one and another, it is 0 or 64.
func (h Hash) Distance(other Hash) int {
	switch {
	case h == other:
		return 0
	case h.Plain || other.Plain:
		return steps
	}
	return bits.OnesCount64(h.Bits ^ other.Bits)
}

// plainMark stands before the digits of a plain picture's hash.
const plainMark = "="

// MarshalText writes the hash as 16 hexadecimal digits, with = before them if the picture is plain.
func (h Hash) MarshalText() ([]byte, error) {
	mark := ""
	if h.Plain {
		mark = plainMark
	}
	return fmt.Appendf(nil, "%s%016x", mark, h.Bits), nil
}

// UnmarshalText reads what MarshalText writes.
func (h *Hash) UnmarshalText(text []byte) error {
	digits, plain := strings.CutPrefix(string(text), plainMark)
	value, err := strconv.ParseUint(digits, 16, 64)
	if err != nil || len(digits) != 16 {
		return errors.New("a hash is 16 hexadecimal digits")
	}
	*h = Hash{Bits: value, Plain: plain}
	return nil
}
