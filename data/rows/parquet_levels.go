package rows

import (
	"errors"
	"fmt"

	"github.com/apache/arrow/go/v15/parquet"
	"github.com/apache/arrow/go/v15/parquet/file"
	"github.com/apache/arrow/go/v15/parquet/schema"
)

// Parquet stores the values of nested rows in flat columns, with levels that say where each belongs (Melnik et al.
// 2010, "Dremel", section 4). They are assembled here, not by the package pqarrow: that decodes in its own goroutines,
// where a panic over a damaged file would end the process.

// leaf is one column of values of a row group.
type leaf struct {
	definitions, repetitions []int16 // of each entry; nil where all are 0
	values                   []any   // of the entries that are not null
	defined                  int16   // the definition level of an entry that is not null
	entry, value             int     // indices of the next
}

func (l *leaf) definition() int16 {
	if l.definitions == nil {
		return l.defined
	}
	return l.definitions[l.entry]
}

// repeats is the repetition level of the next entry, -1 at the end.
func (l *leaf) repeats() int16 {
	switch {
	case l.entry >= max(len(l.definitions), len(l.repetitions)):
		return -1
	case l.repetitions == nil:
		return 0
	}
	return l.repetitions[l.entry]
}

// take returns the next entry, nil for null.
func (l *leaf) take() any {
	null := l.definition() < l.defined
	l.entry++
	if null {
		return nil
	}
	l.value++
	return l.values[l.value-1]
}

const levelBatch = 1024

// readLeaf decodes one column of a row group.
func readLeaf(reader *file.RowGroupReader, index int) (*leaf, error) {
	chunk, err := reader.Column(index)
	if err != nil {
		return nil, err
	}
	column := chunk.Descriptor()
	l := &leaf{defined: column.MaxDefinitionLevel()}
	definitions, repetitions := make([]int16, levelBatch), make([]int16, levelBatch)
	text := column.ConvertedType() == schema.ConvertedTypes.UTF8
	for chunk.HasNext() {
		total, err := l.readValues(chunk, text, definitions, repetitions)
		if err != nil {
			return nil, err
		}
		if total == 0 {
			return nil, errors.New("a page without values")
		}
		if column.MaxDefinitionLevel() == 0 {
			clear(definitions) // not stored in this case; all equal defined
		}
		l.definitions = append(l.definitions, definitions[:total]...)
		if column.MaxRepetitionLevel() > 0 {
			l.repetitions = append(l.repetitions, repetitions[:total]...)
		}
	}
	return l, chunk.Err()
}

// readValues copies some of a column's values, because the pages that hold them are reused.
func (l *leaf) readValues(chunk file.ColumnChunkReader, text bool,
	definitions, repetitions []int16) (total int64, err error) {
	switch chunk := chunk.(type) {
	case *file.ByteArrayColumnChunkReader:
		return readBatch(l, chunk.ReadBatch, definitions, repetitions, func(v parquet.ByteArray) any {
			if text {
				return string(v)
			}
			return copied(v)
		})
	case *file.BooleanColumnChunkReader:
		return readBatch(l, chunk.ReadBatch, definitions, repetitions, func(v bool) any { return v })
	case *file.Float32ColumnChunkReader:
		return readBatch(l, chunk.ReadBatch, definitions, repetitions, func(v float32) any { return float64(v) })
	case *file.Float64ColumnChunkReader:
		return readBatch(l, chunk.ReadBatch, definitions, repetitions, func(v float64) any { return v })
	case *file.Int32ColumnChunkReader:
		return readBatch(l, chunk.ReadBatch, definitions, repetitions, func(v int32) any { return int64(v) })
	case *file.Int64ColumnChunkReader:
		return readBatch(l, chunk.ReadBatch, definitions, repetitions, func(v int64) any { return v })
	}
	return 0, nil
}

// readBatch reads up to levelBatch entries by read, and keeps the values among them as keep makes them.
func readBatch[V any](l *leaf, read func(int64, []V, []int16, []int16) (int64, int, error),
	definitions, repetitions []int16, keep func(V) any) (total int64, err error) {
	values := make([]V, levelBatch)
	total, n, err := read(levelBatch, values, definitions, repetitions)
	for _, v := range values[:n] {
		l.values = append(l.values, keep(v))
	}
	return total, err
}

// nest is a node of the schema with the columns below it. Nodes without columns are left out.
type nest struct {
	name     string
	optional bool
	repeated bool
	list     bool // a group around the repeated node of a list
	leaves   []*leaf
	children []*nest // if empty, leaves[0] is the node's column
}

// newNest mirrors a node of the schema; leaves is indexed by column number, and next is the next column number.
func newNest(node schema.Node, leaves map[int]*leaf, next *int) *nest {
	n := &nest{
		name:     node.Name(),
		optional: node.RepetitionType() == parquet.Repetitions.Optional,
		repeated: node.RepetitionType() == parquet.Repetitions.Repeated,
	}
	group, ok := node.(*schema.GroupNode)
	if !ok {
		if l := leaves[*next]; l != nil {
			n.leaves = []*leaf{l}
		}
		*next++
		return n
	}
	n.list = node.ConvertedType() == schema.ConvertedTypes.List
	for i := range group.NumFields() {
		if child := newNest(group.Field(i), leaves, next); len(child.leaves) > 0 {
			n.children, n.leaves = append(n.children, child), append(n.leaves, child.leaves...)
		}
	}
	return n
}

// read is the node's next value. definition and repetition are the levels of the enclosing nodes.
func (n *nest) read(definition, repetition int16) (any, error) {
	if n.repeated {
		return n.readList(definition+1, repetition+1)
	}
	if n.optional {
		if definition++; n.leaves[0].definition() < definition {
			n.skip()
			return nil, nil
		}
	}
	return n.content(definition, repetition)
}

func (n *nest) readList(definition, repetition int16) (any, error) {
	list := []any{}
	if n.leaves[0].definition() < definition {
		n.skip()
		return list, nil
	}
	for {
		value, err := n.content(definition, repetition)
		if err != nil {
			return nil, err
		}
		list = append(list, value)
		if n.leaves[0].repeats() < repetition {
			return list, nil
		}
	}
}

// content is the node's value if it is present. The group of a list, and that of its elements if they have one member,
// are only how parquet encodes lists.
func (n *nest) content(definition, repetition int16) (any, error) {
	switch {
	case len(n.children) == 0:
		return n.leaves[0].take(), nil
	case n.list, n.repeated && len(n.children) == 1 && (n.name == "list" || n.name == "array" || n.name == "bag"):
		return n.children[0].read(definition, repetition)
	}
	members := fields{}
	before := n.leaves[0].entry
	for _, child := range n.children {
		value, err := child.read(definition, repetition)
		if err != nil {
			return nil, err
		}
		members = append(members, field{child.name, value})
	}
	if n.leaves[0].entry == before {
		return nil, fmt.Errorf("column %s: levels do not match the schema", n.name)
	}
	return members, nil
}

// skip skips one entry of every column below.
func (n *nest) skip() {
	for _, l := range n.leaves {
		l.take()
	}
}
