package rows

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	flatbuffers "github.com/google/flatbuffers/go"

	"github.com/llavatrain/llavatrain/data/picture"
)

// The package ipc copies a whole record batch, twice, to return one row of it. So this file lays out the batches of
// Arrow files itself: the message before a batch says where each column's buffers are (Arrow columnar format,
// "Encapsulated message format"), and Arrow's arrays are built on them without a copy.

// arrowMessage is one message of an Arrow stream.
type arrowMessage struct {
	kind byte
	meta []byte // the message itself, a flatbuffer
	body []byte // the buffers
	size int    // of the whole message
}

const (
	schemaMessage     = 1
	dictionaryMessage = 2
	batchMessage      = 3
)

var errArrowEnd = errors.New("end of the stream")

// parseMessage reads the message at the start of stream; at the end-of-stream marker it returns errArrowEnd.
func parseMessage(stream []byte) (arrowMessage, error) {
	if len(stream) < 8 {
		return arrowMessage{}, io.ErrUnexpectedEOF
	}
	if binary.LittleEndian.Uint32(stream) != 0xffffffff {
		return arrowMessage{}, errors.New("no Arrow message where one should begin")
	}
	length := int(int32(binary.LittleEndian.Uint32(stream[4:])))
	switch {
	case length == 0:
		return arrowMessage{}, errArrowEnd
	case length < 8:
		return arrowMessage{}, fmt.Errorf("message of %d bytes", length)
	case length > len(stream)-8:
		return arrowMessage{}, io.ErrUnexpectedEOF
	}
	m := arrowMessage{meta: stream[8 : 8+length]}
	body, err := picture.Shield(m.header, m.meta)
	if err != nil {
		return m, err
	}
	if body < 0 || body > int64(len(stream)-8-length) {
		return m, io.ErrUnexpectedEOF
	}
	m.body = stream[8+length : 8+length+int(body)]
	m.size = 8 + length + int(body)
	return m, nil
}

// Slots in the tables of Arrow's Message.fbs; slot n of a table is at byte 4 + 2n of its vtable.
const (
	messageKind = 6
	messageBody = 8
	messageSize = 10

	batchRows        = 4
	batchNodes       = 6
	batchBuffers     = 8
	batchCompression = 10
)

// header reads the kind, and returns the length of the body.
func (m *arrowMessage) header(meta []byte) (body int64, err error) {
	t := root(meta)
	if o := t.Offset(messageKind); o != 0 {
		m.kind = t.GetByte(t.Pos + flatbuffers.UOffsetT(o))
	}
	if o := t.Offset(messageSize); o != 0 {
		body = t.GetInt64(t.Pos + flatbuffers.UOffsetT(o))
	}
	return body, nil
}

func root(meta []byte) flatbuffers.Table {
	return flatbuffers.Table{Bytes: meta, Pos: flatbuffers.GetUOffsetT(meta)}
}

// batch returns the table of a record batch within its message.
func (m arrowMessage) batch() (flatbuffers.Table, error) {
	t := root(m.meta)
	o := t.Offset(messageBody)
	if m.kind != batchMessage || o == 0 {
		return t, errors.New("not a record batch")
	}
	return flatbuffers.Table{Bytes: m.meta, Pos: t.Indirect(t.Pos + flatbuffers.UOffsetT(o))}, nil
}

// rows is the number of rows of a batch. A compressed batch is refused: its rows could not be read individually.
func (m arrowMessage) rows() (int64, error) {
	return picture.Shield(func([]byte) (int64, error) {
		t, err := m.batch()
		if err != nil {
			return 0, err
		}
		if t.Offset(batchCompression) != 0 {
			return 0, errors.New("its batches are compressed, so rows cannot be read individually: " +
				"write it without compression, or as parquet")
		}
		rows := t.GetInt64Slot(batchRows, 0)
		if rows < 0 || rows > 1<<31 {
			return 0, fmt.Errorf("a batch of %d rows", rows)
		}
		return rows, nil
	}, nil)
}

// columns builds Arrow's arrays on the buffers of a batch. They are valid as long as the message's bytes are.
func (m arrowMessage) columns(schema *arrow.Schema) (columns, error) {
	return picture.Shield(func([]byte) (columns, error) {
		t, err := m.batch()
		if err != nil {
			return columns{}, err
		}
		layout := batchLayout{table: t, body: m.body}
		var c columns
		for _, field := range schema.Fields() {
			data, err := layout.next(field.Type)
			if err != nil {
				return c, fmt.Errorf("column %s: %w", field.Name, err)
			}
			if rowColumns[field.Name] || field.Name == faultColumn {
				c.names, c.arrays = append(c.names, field.Name), append(c.arrays, array.MakeFromData(data))
			}
		}
		return c, nil
	}, nil)
}

// batchLayout hands out the nodes and buffers of a batch, which are in the order of the columns, depth first.
type batchLayout struct {
	table         flatbuffers.Table
	body          []byte
	nodes, placed int // used so far
}

// pair is entry index of a vector of two 64-bit numbers: a node (length, nulls) or a buffer (offset, length).
func (l *batchLayout) pair(slot flatbuffers.VOffsetT, index int) (a, b int64, err error) {
	o := flatbuffers.UOffsetT(l.table.Offset(slot))
	if o == 0 || index >= l.table.VectorLen(o) {
		return 0, 0, errors.New("too few buffers in the batch")
	}
	at := l.table.Vector(o) + flatbuffers.UOffsetT(16*index)
	return l.table.GetInt64(at), l.table.GetInt64(at + 8), nil
}

func (l *batchLayout) buffer() (*memory.Buffer, error) {
	offset, length, err := l.pair(batchBuffers, l.placed)
	l.placed++
	switch {
	case err != nil:
		return nil, err
	case offset < 0 || length < 0 || offset > int64(len(l.body)) || length > int64(len(l.body))-offset:
		return nil, fmt.Errorf("buffer at %d of %d bytes in a batch of %d", offset, length, len(l.body))
	case length == 0:
		return nil, nil
	}
	return memory.NewBufferBytes(l.body[offset : offset+length]), nil
}

// next is the data of the next column, of type t.
func (l *batchLayout) next(t arrow.DataType) (arrow.ArrayData, error) {
	length, nulls, err := l.pair(batchNodes, l.nodes)
	if err != nil {
		return nil, err
	}
	l.nodes++
	if e, ok := t.(arrow.ExtensionType); ok {
		t = e.StorageType()
	}
	buffers, children := 2, []arrow.DataType(nil)
	switch t := t.(type) {
	case *arrow.NullType:
		buffers = 0
	case *arrow.StringType, *arrow.BinaryType, *arrow.LargeStringType, *arrow.LargeBinaryType:
		buffers = 3
	case *arrow.StructType:
		buffers = 1
		for _, field := range t.Fields() {
			children = append(children, field.Type)
		}
	case *arrow.FixedSizeListType:
		buffers, children = 1, []arrow.DataType{t.Elem()}
	case *arrow.ListType, *arrow.LargeListType, *arrow.MapType:
		children = []arrow.DataType{t.(arrow.ListLikeType).Elem()}
	case arrow.FixedWidthDataType:
	default:
		return nil, fmt.Errorf("type %s is not supported", t)
	}
	return l.data(t, int(length), int(nulls), buffers, children)
}

func (l *batchLayout) data(t arrow.DataType, length, nulls, buffers int,
	children []arrow.DataType) (arrow.ArrayData, error) {
	var own []*memory.Buffer
	var below []arrow.ArrayData
	for range buffers {
		b, err := l.buffer()
		if err != nil {
			return nil, err
		}
		own = append(own, b)
	}
	for _, child := range children {
		c, err := l.next(child)
		if err != nil {
			return nil, err
		}
		below = append(below, c)
	}
	if d, ok := t.(*arrow.DictionaryType); ok {
		t = d.IndexType // the values of such columns are not used
	}
	return array.NewData(t, length, own, below, nulls, 0), nil
}

// readSchema reads the message at the start of a stream.
func readSchema(stream []byte) (*arrow.Schema, int, error) {
	m, err := parseMessage(stream)
	if err != nil {
		return nil, 0, err
	}
	if m.kind != schemaMessage {
		return nil, 0, errors.New("it does not begin with a schema")
	}
	schema, err := picture.Shield(func(text []byte) (*arrow.Schema, error) {
		if err := m.checkSchema(); err != nil {
			return nil, err
		}
		r, err := ipc.NewReader(bytes.NewReader(text))
		if err != nil {
			return nil, err
		}
		defer r.Release()
		return r.Schema(), nil
	}, stream[:m.size])
	return schema, m.size, err
}

// Slots in Arrow's Schema.fbs, as above.
const (
	schemaFields   = 6
	schemaMetadata = 8
	fieldChildren  = 14
	fieldMetadata  = 16

	maxFields = 10_000
)

// checkSchema checks the lengths in a schema against its size: the package ipc allocates whatever they say.
func (m arrowMessage) checkSchema() error {
	t := root(m.meta)
	o := t.Offset(messageBody)
	if o == 0 {
		return errors.New("schema is missing")
	}
	schema := flatbuffers.Table{Bytes: m.meta, Pos: t.Indirect(t.Pos + flatbuffers.UOffsetT(o))}
	left := maxFields
	return checkFields(schema, schemaFields, schemaMetadata, &left)
}

// checkFields visits the fields of a schema or the children of a field; left is how many more are allowed.
func checkFields(t flatbuffers.Table, children, metadata flatbuffers.VOffsetT, left *int) error {
	for _, slot := range []flatbuffers.VOffsetT{children, metadata} {
		o := flatbuffers.UOffsetT(t.Offset(slot))
		if o == 0 {
			continue
		}
		n := t.VectorLen(o)
		if *left -= n; n < 0 || *left < 0 {
			return fmt.Errorf("schema has more than %d fields", maxFields)
		}
		for k := 0; k < n && slot == children; k++ {
			field := flatbuffers.Table{Bytes: t.Bytes, Pos: t.Indirect(t.Vector(o) + flatbuffers.UOffsetT(4*k))}
			if err := checkFields(field, fieldChildren, fieldMetadata, left); err != nil {
				return err
			}
		}
	}
	return nil
}
