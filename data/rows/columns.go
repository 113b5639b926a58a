package rows

import (
	"errors"
	"fmt"
	"strings"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"

	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// columns reads rows from Arrow's arrays.
type columns struct {
	names  []string
	arrays []arrow.Array
}

// imageColumns are the columns whose binary values are image files; others hold text.
var imageColumns = map[string]bool{"image": true, "images": true}

// checkColumns refuses a table that rows cannot be read from.
func checkColumns(schema *arrow.Schema) error {
	turns := false
	for _, field := range schema.Fields() {
		turns = turns || field.Name == "conversations" || field.Name == "messages"
		if t, ok := field.Type.(*arrow.DictionaryType); ok && rowColumns[field.Name] {
			return fmt.Errorf("column %s is dictionary-encoded, which is not supported: write it as %s",
				field.Name, t.ValueType)
		}
	}
	if !turns {
		return errors.New("it has no column conversations or messages")
	}
	return nil
}

// row reads a row; take converts the bytes of an image, which lie in the columns' memory. The columns may come from a
// damaged file, on which Arrow panics: that is an error of the row. A page of the file that cannot be read is an error
// of the disk.
func (c columns) row(i int, take func([]byte) []byte) (row fields, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			if err = failure.OfPage(fault); err == nil {
				err = picture.BadRow("damaged: %v", fault)
			}
		}
	}()
	for k, name := range c.names {
		of := copied
		if imageColumns[name] {
			of = take
		}
		row = append(row, field{name, valueAt(c.arrays[k], i, of)})
	}
	return row, nil
}

// valueAt is one value of an array. Types that rows do not use give nil.
func valueAt(a arrow.Array, i int, take func([]byte) []byte) any {
	if a.IsNull(i) {
		return nil
	}
	switch a := a.(type) {
	case *array.String:
		return strings.Clone(a.Value(i))
	case *array.LargeString:
		return strings.Clone(a.Value(i))
	case *array.Binary:
		return take(a.Value(i))
	case *array.LargeBinary:
		return take(a.Value(i))
	case *array.Boolean:
		return a.Value(i)
	case *array.Float32:
		return float64(a.Value(i))
	case *array.Float64:
		return a.Value(i)
	case *array.Int8:
		return int64(a.Value(i))
	case *array.Int16:
		return int64(a.Value(i))
	case *array.Int32:
		return int64(a.Value(i))
	case *array.Int64:
		return a.Value(i)
	case *array.Struct:
		members := fields{}
		for k, member := range a.DataType().(*arrow.StructType).Fields() {
			members = append(members, field{member.Name, valueAt(a.Field(k), i, take)})
		}
		return members
	case array.ListLike:
		start, end := a.ValueOffsets(i)
		list := []any{}
		for k := start; k < end; k++ {
			list = append(list, valueAt(a.ListValues(), int(k), take))
		}
		return list
	}
	return nil
}

// Functions that convert a binary value: copied, unread and shared.
func copied(value []byte) []byte { return append(make([]byte, 0, len(value)), value...) }
func unread([]byte) []byte       { return []byte{} }
func shared(value []byte) []byte {
	if value == nil { // an empty value, which is not null
		return []byte{}
	}
	return value
}
