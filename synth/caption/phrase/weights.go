package phrase

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
)

// A chunker's file is
//
//	"llavatrain chunker 1\n"
//	SHA-256 of the sentences      32 bytes
//	the chain's weights           varints, in the order of the array
//	rows that are not all zero    for each the distance to the row before it (the first: to row -1) as an unsigned
//	                              varint, then two bytes: the weights of begins and continues
//
// and ends with the last row.
const magic = "llavatrain chunker 1\n"

var errWeights = errors.New("the chunker's weights are damaged: write them again with scripts/chunker")

// Bytes is the chunker's file.
func (c *Chunker) Bytes() []byte {
	out := append([]byte(magic), c.digest[:]...)
	for _, table := range c.chain {
		for _, row := range table {
			for _, weight := range row {
				out = binary.AppendVarint(out, int64(weight))
			}
		}
	}
	last := -1
	for i, w := range c.words {
		if w != [2]int8{} {
			out = binary.AppendUvarint(out, uint64(i-last))
			out = append(out, byte(w[0]), byte(w[1]))
			last = i
		}
	}
	return out
}

// Read reads a chunker's file.
func Read(file []byte) (*Chunker, error) {
	c := &Chunker{words: make([][2]int8, 1<<tableBits)}
	rest, ok := bytes.CutPrefix(file, []byte(magic))
	if !ok || len(rest) < len(c.digest) {
		return nil, errWeights
	}
	rest = rest[copy(c.digest[:], rest):]
	for a := range c.chain {
		for b := range c.chain[a] {
			for l := range c.chain[a][b] {
				weight, n := binary.Varint(rest)
				if n <= 0 || weight < math.MinInt32 || weight > math.MaxInt32 {
					return nil, errWeights
				}
				c.chain[a][b][l], rest = int32(weight), rest[n:]
			}
		}
	}
	last := -1
	for len(rest) > 0 {
		step, n := binary.Uvarint(rest)
		if n <= 0 || len(rest) < n+2 || step == 0 || step > uint64(len(c.words)-1-last) {
			return nil, errWeights
		}
		last += int(step)
		c.words[last] = [2]int8{int8(rest[n]), int8(rest[n+1])}
		rest = rest[n+2:]
	}
	return c, nil
}
