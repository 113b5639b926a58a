package rows

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"sort"
	"strings"
	"sync"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// Table is a parquet file whose rows are of any kind, such as the questions of a benchmark: the caller names the
// columns.
type Table struct {
	path string
	file *parquetFile

	mutex  sync.Mutex
	held   string // which images these are
	images [][]picture.Image
}

// OpenTable reads a file's footer.
func OpenTable(path string) (_ *Table, err error) {
	defer failure.MarkInput(&err)
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, picture.Bare(err))
	}
	p, err := picture.Shield(func([]byte) (*parquetFile, error) { return indexParquet(file) }, nil)
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("%s: its footer cannot be read, so it is no parquet file, or damaged or incomplete: %w",
			path, err)
	}
	return &Table{path: path, file: p}, nil
}

// Close closes the file.
func (t *Table) Close() error { return t.file.Close() }

// Len is the number of rows.
func (t *Table) Len() int { return t.file.Len() }

// Fingerprint is that of [Source].
func (t *Table) Fingerprint() string { return t.file.Fingerprint() }

// Columns are the names of the columns, sorted.
func (t *Table) Columns() []string {
	names := map[string]bool{}
	for i := range t.file.meta.Schema.NumColumns() {
		names[t.file.meta.Schema.Column(i).ColumnPath()[0]] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// leaves are the value columns below columns; without pixels, the bytes of images are not among them.
func (t *Table) leaves(columns []string, pixels bool) (leaves []int, err error) {
	for _, name := range columns {
		if !slices.Contains(t.Columns(), name) {
			return nil, fmt.Errorf("it has no column %s; it has %s", name, strings.Join(t.Columns(), ", "))
		}
	}
	schema := t.file.meta.Schema
	for i := range schema.NumColumns() {
		column := schema.Column(i)
		if slices.Contains(columns, column.ColumnPath()[0]) && readable[column.PhysicalType()] &&
			(pixels || !strings.HasSuffix(column.Path(), ".bytes")) {
			leaves = append(leaves, i)
		}
	}
	_, err = picture.Shield(func([]byte) (any, error) { return nil, t.file.checkCodecs(leaves) }, nil)
	return leaves, err
}

// Read passes the rows on in order, each as a JSON object with the given columns; their images are left out.
func (t *Table) Read(columns []string, visit func(row int, text []byte) error) (err error) {
	defer failure.MarkInput(&err)
	leaves, err := t.leaves(columns, false)
	if err != nil {
		return fmt.Errorf("%s: %w", t.path, err)
	}
	number := 0
	for group := range t.file.ends {
		rows, err := t.group(group, leaves)
		if err != nil {
			return fmt.Errorf("%s: row group %d: %w", t.path, group, err)
		}
		for _, row := range rows {
			if err := visit(number, appendJSON(nil, row)); err != nil {
				return fmt.Errorf("%s: row %d: %w", t.path, number, err)
			}
			number++
		}
	}
	return nil
}

func (t *Table) group(group int, leaves []int) ([]fields, error) {
	return picture.Shield(func([]byte) (rows []fields, err error) {
		table, err := t.file.nest(group, leaves)
		if err != nil {
			return nil, err
		}
		for range t.file.meta.RowGroup(group).NumRows() {
			row, err := table.row()
			if err != nil {
				return nil, err
			}
			rows = append(rows, row)
		}
		return rows, nil
	}, nil)
}

// Images reads the images in the given columns of a row; an empty column has none. The row group that was read last
// stays in memory, so that rows are read fastest in order. It is safe for concurrent use.
func (t *Table) Images(row int, columns ...string) (_ []picture.Image, err error) {
	defer failure.MarkInput(&err)
	t.mutex.Lock()
	defer t.mutex.Unlock()
	group := sort.SearchInts(t.file.ends, row+1)
	if wanted := fmt.Sprint(group, columns); t.held != wanted {
		if err := t.readImages(group, columns); err != nil {
			return nil, fmt.Errorf("%s: row group %d: %w", t.path, group, err)
		}
		t.held = wanted
	}
	return t.images[row-t.file.ends[group]+len(t.images)], nil
}

func (t *Table) readImages(group int, columns []string) error {
	if size := t.file.meta.RowGroup(group).TotalByteSize(); size > maxGroupBytes {
		return fmt.Errorf("it takes %s, and reading any row needs all of it: write "+
			"the file with row groups of 100 rows",
			checkpoints.Megabytes(size))
	}
	leaves, err := t.leaves(columns, true)
	if err != nil {
		return err
	}
	rows, err := t.group(group, leaves)
	if err != nil {
		return err
	}
	t.held, t.images = "", nil
	for i, row := range rows {
		var images []picture.Image
		for _, column := range columns { // in the order that was asked for
			value := row.get(column)
			if noImage(value) {
				continue
			}
			held, err := readHeld(value)
			if err != nil {
				return fmt.Errorf("row %d of the group: column %s: image %w", i, column, err)
			}
			images = append(images, held...)
		}
		t.images = append(t.images, images)
	}
	return nil
}
