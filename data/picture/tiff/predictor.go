package tiff

import (
	"encoding/binary"
	"math"
)

// predictionReader undoes prediction: each sample is stored as its difference from the one before it in the row (TIFF
// 6.0, section 14), or the bytes of floating point numbers are sorted by significance first (Adobe's TIFF technical
// note 3).
type predictionReader struct {
	rowReader
	order    binary.ByteOrder
	bits     int // of a sample: 8, 16 or 32
	samples  int // of a pixel, in this plane
	floating bool
	sorted   []byte
}

func (r *predictionReader) row(dst []byte) error {
	if err := r.rowReader.row(dst); err != nil {
		return err
	}
	switch n := r.samples; {
	case r.floating:
		r.unsort(dst)
	case r.bits == 8:
		for i := n; i < len(dst); i++ {
			dst[i] += dst[i-n]
		}
	case r.bits == 16:
		for i := 2 * n; i+1 < len(dst); i += 2 {
			r.order.PutUint16(dst[i:], r.order.Uint16(dst[i:])+r.order.Uint16(dst[i-2*n:]))
		}
	default:
		for i := 4 * n; i+3 < len(dst); i += 4 {
			r.order.PutUint32(dst[i:], r.order.Uint32(dst[i:])+r.order.Uint32(dst[i-4*n:]))
		}
	}
	return nil
}

// unsort adds up the bytes of a row of 32-bit numbers, and puts the four bytes of each number together.
func (r *predictionReader) unsort(dst []byte) {
	for i := r.samples; i < len(dst); i++ {
		dst[i] += dst[i-r.samples]
	}
	r.sorted = append(r.sorted[:0], dst...)
	n := len(dst) / 4
	for i := range n {
		v := uint32(r.sorted[i])<<24 | uint32(r.sorted[n+i])<<16 | uint32(r.sorted[2*n+i])<<8 | uint32(r.sorted[3*n+i])
		r.order.PutUint32(dst[4*i:], v)
	}
}

// float is a 32-bit floating point number.
func float(order binary.ByteOrder, raw []byte) float32 {
	return math.Float32frombits(order.Uint32(raw))
}
