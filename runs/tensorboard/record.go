package tensorboard

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// A record is, all little-endian: the length of the payload, 8 bytes; the checksum of those; the payload; its checksum.
const (
	checksumSize = 4
	headSize     = 8 + checksumSize
)

// ErrDamaged means that a file goes on with something that is no whole record: what a kill left of one, or damage. What
// follows cannot be read.
var ErrDamaged = errors.New("it is torn or damaged")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is a CRC-32C, masked as TFRecord does it: rotated, so that checksums of data with checksums in it are no
// weaker.
func checksum(data []byte) uint32 {
	c := crc32.Checksum(data, castagnoli)
	return (c>>15 | c<<17) + 0xa282ead8
}

// record frames a payload.
func record(payload []byte) []byte {
	r := binary.LittleEndian.AppendUint64(make([]byte, 0, headSize+len(payload)+checksumSize), uint64(len(payload)))
	r = binary.LittleEndian.AppendUint32(r, checksum(r))
	r = append(r, payload...)
	return binary.LittleEndian.AppendUint32(r, checksum(payload))
}

// Read calls visit with each event of a file until it returns false. It returns the size of the records that visit
// accepted. An error wraps ErrDamaged or is r's own.
func Read(r io.Reader, visit func(Event) (more bool)) (size int64, err error) {
	for {
		payload, err := next(r)
		if err == io.EOF {
			return size, nil
		}
		var e Event
		if err == nil {
			err = e.decode(payload)
		}
		if err != nil {
			return size, fmt.Errorf("record at byte %d: %w", size, err)
		}
		if !visit(e) {
			return size, nil
		}
		size += int64(headSize + len(payload) + checksumSize)
	}
}

// next reads the payload of the next record; the error is io.EOF if there is none.
func next(r io.Reader) ([]byte, error) {
	var head [headSize]byte
	if _, err := io.ReadFull(r, head[:]); errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, ErrDamaged
	} else if err != nil {
		return nil, err
	}
	length := binary.LittleEndian.Uint64(head[:8])
	if binary.LittleEndian.Uint32(head[8:]) != checksum(head[:8]) || length > 1<<31 {
		return nil, ErrDamaged
	}
	var payload bytes.Buffer // which grows with what is there, whatever the length says
	if _, err := io.CopyN(&payload, r, int64(length)+checksumSize); err == io.EOF {
		return nil, ErrDamaged
	} else if err != nil {
		return nil, err
	}
	data := payload.Bytes()[:length]
	if binary.LittleEndian.Uint32(payload.Bytes()[length:]) != checksum(data) {
		return nil, ErrDamaged
	}
	return data, nil
}
