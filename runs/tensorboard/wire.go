package tensorboard

import (
	"encoding/binary"
	"errors"
	"math"
)

// message is an encoded protocol buffer.
type message []byte

// The kinds of fields, by the low bits of their keys.
const (
	wireVarint = 0
	wireDouble = 1
	wireBytes  = 2
	wireFloat  = 5
)

func (m message) key(field, wire int) message { return binary.AppendUvarint(m, uint64(field<<3|wire)) }

func (m message) varint(field int, v uint64) message {
	return binary.AppendUvarint(m.key(field, wireVarint), v)
}

func (m message) double(field int, v float64) message {
	return binary.LittleEndian.AppendUint64(m.key(field, wireDouble), math.Float64bits(v))
}

func (m message) float(field int, v float32) message {
	return binary.LittleEndian.AppendUint32(m.key(field, wireFloat), math.Float32bits(v))
}

func (m message) bytes(field int, v []byte) message {
	return append(binary.AppendUvarint(m.key(field, wireBytes), uint64(len(v))), v...)
}

func (m message) text(field int, v string) message { return m.bytes(field, []byte(v)) }

// field is one field of a message. Which of number and bytes it has depends on its kind.
type field struct {
	id, wire int
	number   uint64 // of a varint, or the bits of a double or float
	bytes    []byte
}

func (f field) double() float64 { return math.Float64frombits(f.number) }

func (f field) float() float32 { return math.Float32frombits(uint32(f.number)) }

var errMessage = errors.New("it is no protocol buffer")

// fields calls visit with each field of a message, in order.
func (m message) fields(visit func(field) error) error {
	for len(m) > 0 {
		key, n := binary.Uvarint(m)
		if n <= 0 || key>>3 == 0 || key>>3 > 1<<29-1 {
			return errMessage
		}
		f := field{id: int(key >> 3), wire: int(key & 7)}
		rest, ok := f.value(m[n:])
		if !ok {
			return errMessage
		}
		if err := visit(f); err != nil {
			return err
		}
		m = rest
	}
	return nil
}

// value reads the value that follows a key.
func (f *field) value(m message) (rest message, ok bool) {
	switch f.wire {
	case wireVarint:
		v, n := binary.Uvarint(m)
		if n <= 0 {
			return nil, false
		}
		f.number = v
		return m[n:], true
	case wireDouble:
		if len(m) < 8 {
			return nil, false
		}
		f.number = binary.LittleEndian.Uint64(m)
		return m[8:], true
	case wireFloat:
		if len(m) < 4 {
			return nil, false
		}
		f.number = uint64(binary.LittleEndian.Uint32(m))
		return m[4:], true
	case wireBytes:
		size, n := binary.Uvarint(m)
		if n <= 0 || size > uint64(len(m)-n) {
			return nil, false
		}
		f.bytes = m[n:][:size]
		return m[n:][size:], true
	}
	return nil, false // groups, which no message here has
}
