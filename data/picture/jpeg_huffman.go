package picture

import (
	"encoding/binary"
	"fmt"
)

// entropyReader reads bits, highest first, from data in which 0xff is followed by 0 unless it starts a marker. At a
// marker or the end of the file it returns zeros indefinitely.
type entropyReader struct {
	file   []byte
	at     int    // next byte of the file
	marker byte   // a marker that was found and not yet processed; 0: none
	bits   uint64 // the next bits, from the highest one down
	count  int    // how many of bits are valid; below 0 if more were taken than existed
}

// fill makes count at least 49, if that many bits precede the next marker.
func (r *entropyReader) fill() {
	if r.marker == 0 && r.at+8 <= len(r.file) {
		word := binary.BigEndian.Uint64(r.file[r.at:])
		const ones, highs = 0x0101010101010101, 0x8080808080808080
		if (^word-ones)&word&highs == 0 { // no byte of it is 0xff
			whole := (64 - r.count) >> 3
			// also sets bits that are not valid yet; they will be set to the same values again
			r.bits |= word >> r.count
			r.at += whole
			r.count += whole << 3
			return
		}
	}
	r.fillBytes()
}

func (r *entropyReader) fillBytes() {
	for r.count <= 56 && r.marker == 0 && r.at < len(r.file) {
		value := r.file[r.at]
		r.at++
		if value == 0xff {
			for r.at < len(r.file) && r.file[r.at] == 0xff {
				r.at++
			}
			if r.at == len(r.file) {
				return
			}
			r.marker = r.file[r.at]
			r.at++
			if r.marker != 0 {
				return
			}
		}
		r.bits |= uint64(value) << (56 - r.count)
		r.count += 8
	}
}

// discard forgets the bits read ahead.
func (r *entropyReader) discard() { r.bits, r.count = 0, 0 }

// need makes sure that n bits can be taken, n at most 49.
func (r *entropyReader) need(n int) {
	if r.count < n {
		r.fill()
	}
}

// take takes n bits, n at most 16.
func (r *entropyReader) take(n int) int32 {
	r.need(n)
	value := int32(r.bits >> (64 - n))
	r.skip(n)
	return value
}

func (r *entropyReader) skip(n int) {
	r.bits <<= n
	r.count -= n
}

// signed takes a number of n bits, n at most 15, in the code of T.81 table F.1: numbers that start with 0 are negative.
func (r *entropyReader) signed(n int) int32 {
	if n == 0 {
		return 0
	}
	r.need(n)
	value := signedValue(r.bits, n)
	r.skip(n)
	return value
}

// signedValue is the number in the n highest bits, n at least 1.
func signedValue(bits uint64, n int) int32 {
	negative := int32(^bits >> 63)
	return int32(bits>>(64-n&63)) + negative*(1-1<<n)
}

// symbol takes one Huffman code and returns what it stands for.
func (r *entropyReader) symbol(t *huffmanTable) int {
	r.need(maxCodeLength + 1)
	symbol, length := t.find(r.bits)
	r.skip(length)
	return symbol
}

const (
	lookupBits    = 9
	maxCodeLength = 16
)

// huffmanTable decodes canonical codes, T.81 annex C: short codes by a lookup of the next bits, long ones by the end of
// each length.
type huffmanTable struct {
	lookup  [1 << lookupBits]uint16 // length<<8 | symbol; 0: the code is longer
	end     [maxCodeLength + 1]int  // first value of a length that is not a code of that length
	offset  [maxCodeLength + 1]int  // index of a length's first symbol, less its first code
	symbols []uint8
}

func newHuffmanTable(counts [maxCodeLength]uint8, symbols []uint8) (*huffmanTable, error) {
	t := &huffmanTable{symbols: symbols}
	code, index := 0, 0
	for length := 1; length <= maxCodeLength; length++ {
		code <<= 1
		t.offset[length] = index - code
		for range counts[length-1] {
			if length <= lookupBits && code < 1<<length {
				t.short(code, length, symbols[index])
			}
			code++
			index++
		}
		t.end[length] = code
		if code > 1<<length {
			return nil, fmt.Errorf("a Huffman table has more codes of %d bits than are possible", length)
		}
	}
	return t, nil
}

// short enters a code at every value of the next bits that starts with it.
func (t *huffmanTable) short(code, length int, symbol uint8) {
	free := lookupBits - length
	for i := range 1 << free {
		t.lookup[code<<free|i] = uint16(length)<<8 | uint16(symbol)
	}
}

// find returns the symbol of the code at the start of bits, and its length. Bits that start no code count as 17 bits
// for symbol 0 (jdhuff.c).
func (t *huffmanTable) find(bits uint64) (symbol, length int) {
	if entry := t.lookup[bits>>(64-lookupBits)]; entry != 0 {
		return int(uint8(entry)), int(entry >> 8)
	}
	return t.findLong(bits)
}

func (t *huffmanTable) findLong(bits uint64) (symbol, length int) {
	for length := lookupBits + 1; length <= maxCodeLength; length++ {
		if code := int(bits >> (64 - length)); code < t.end[length] {
			return int(t.symbols[code+t.offset[length]]), length
		}
	}
	return 0, maxCodeLength + 1
}
