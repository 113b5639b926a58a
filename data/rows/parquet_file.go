package rows

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"os"
	"slices"
	"sort"
	"strings"
	"sync"

	"github.com/apache/arrow/go/v15/parquet"
	"github.com/apache/arrow/go/v15/parquet/compress"
	"github.com/apache/arrow/go/v15/parquet/file"
	"github.com/apache/arrow/go/v15/parquet/metadata"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// parquetFile is a data set in parquet. A row cannot be read without its whole row group, so the most recently used
// groups stay in memory.
type parquetFile struct {
	file        *os.File
	size        int64 // of the file
	meta        *metadata.FileMetaData
	ends        []int // rows up to and including each row group
	fingerprint string
	unused      []string // names of the columns that rows are not made of

	rows, outlines groupCache
}

const (
	maxGroupBytes = 1 << 30 // of a row group, decoded
	cachedGroups  = 4
)

func openParquet(f *os.File, progress picture.Progress) (Source, error) {
	p, err := picture.Shield(func([]byte) (*parquetFile, error) { return indexParquet(f) }, nil)
	if err != nil {
		return nil, fmt.Errorf("its footer cannot be read, so the file is damaged or incomplete: %w", err)
	}
	if err := p.check(); err != nil {
		return nil, err
	}
	p.rows.load = func(group int) ([]outcomeRow, error) { return p.readGroup(group, true) }
	p.outlines.load = func(group int) ([]outcomeRow, error) { return p.readGroup(group, false) }
	progress(1, 1)
	return p, nil
}

// indexParquet reads the footer. The fingerprint covers it and the file's size: offsets, sizes, minima and maxima of
// all columns.
func indexParquet(f *os.File) (*parquetFile, error) {
	reader, err := file.NewParquetReader(f)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	p := &parquetFile{file: f, size: info.Size(), meta: reader.MetaData()}
	footer := make([]byte, int64(p.meta.Size()))
	if _, err := f.ReadAt(footer, p.size-int64(len(footer))-8); err != nil {
		return nil, err
	}
	p.fingerprint = fmt.Sprintf("%d-%08x", p.size, crc32.Checksum(footer, Castagnoli))
	rows := 0
	for g := range reader.NumRowGroups() {
		rows += int(reader.MetaData().RowGroup(g).NumRows())
		p.ends = append(p.ends, rows)
	}
	return p, nil
}

func (p *parquetFile) check() error {
	roots := map[string]bool{}
	for i := range p.meta.Schema.NumColumns() {
		roots[p.meta.Schema.Column(i).ColumnPath()[0]] = true
	}
	if !roots["conversations"] && !roots["messages"] {
		return errors.New("it has no column conversations or messages")
	}
	p.unused = unusedColumns(slices.Sorted(maps.Keys(roots)))
	for g := range p.ends {
		if size := p.meta.RowGroup(g).TotalByteSize(); size > maxGroupBytes {
			return fmt.Errorf("row group %d takes %s, and reading any row needs all of it: "+
				"write the file with row groups of 100 rows", g, checkpoints.Megabytes(size))
		}
	}
	_, err := picture.Shield(func([]byte) (any, error) { return nil, p.checkCodecs(p.leaves(true)) }, nil)
	return err
}

// checkCodecs refuses what the library cannot decompress, in the columns that rows are made of.
func (p *parquetFile) checkCodecs(leaves []int) error {
	for g := range p.ends {
		group := p.meta.RowGroup(g)
		for _, index := range leaves {
			chunk, err := group.ColumnChunk(index)
			if err != nil {
				return fmt.Errorf("row group %d: column %s: %w", g, p.meta.Schema.Column(index).Path(), err)
			}
			if _, err := compress.GetCodec(chunk.Compression()); err != nil {
				return fmt.Errorf("column %s is compressed with %s, which is not supported: "+
					"write the file again with snappy or zstd", p.meta.Schema.Column(index).Path(), chunk.Compression())
			}
		}
	}
	return nil
}

func (p *parquetFile) Len() int {
	if len(p.ends) == 0 {
		return 0
	}
	return p.ends[len(p.ends)-1]
}

func (p *parquetFile) Record(row int) (Record, error)  { return p.read(&p.rows, row) }
func (p *parquetFile) outline(row int) (Record, error) { return p.read(&p.outlines, row) }

func (p *parquetFile) read(cache *groupCache, row int) (Record, error) {
	group := sort.SearchInts(p.ends, row+1)
	rows, err := cache.get(group)
	if err != nil {
		return Record{}, failure.Inputf("row %d of %s: row group %d: %w", row, p.file.Name(), group, err)
	}
	within := row - p.ends[group] + len(rows)
	return rows[within].record, atRow(row, rows[within].err)
}

func (p *parquetFile) Fingerprint() string { return p.fingerprint }

func (p *parquetFile) Close() error { return p.file.Close() }

// leaves returns the numbers of the value columns that a row is made of; without bytes, image bytes are left out if the
// path beside them says whether there is an image.
func (p *parquetFile) leaves(bytes bool) (leaves []int) {
	paths := map[string]bool{}
	for i := range p.meta.Schema.NumColumns() {
		paths[p.meta.Schema.Column(i).Path()] = true
	}
	for i := range p.meta.Schema.NumColumns() {
		column := p.meta.Schema.Column(i)
		base, held := strings.CutSuffix(column.Path(), ".bytes")
		if rowColumns[column.ColumnPath()[0]] && readable[column.PhysicalType()] &&
			(bytes || !held || !paths[base+".path"]) {
			leaves = append(leaves, i)
		}
	}
	return leaves
}

// readable is the set of value types that readLeaf supports.
var readable = map[parquet.Type]bool{parquet.Types.ByteArray: true, parquet.Types.Int32: true,
	parquet.Types.Int64: true, parquet.Types.Boolean: true, parquet.Types.Float: true, parquet.Types.Double: true}

// readGroup decodes one row group. Every call uses a new reader: the library's readers are not safe for concurrent use.
func (p *parquetFile) readGroup(group int, bytes bool) ([]outcomeRow, error) {
	return picture.Shield(func([]byte) ([]outcomeRow, error) {
		table, err := p.nest(group, p.leaves(bytes))
		if err != nil {
			return nil, err
		}
		return p.assemble(table, int(p.meta.RowGroup(group).NumRows()))
	}, nil)
}

// nest decodes the given columns of a row group, below a node whose values are the rows.
func (p *parquetFile) nest(group int, columns []int) (*nest, error) {
	reader, err := file.NewParquetReader(io.NewSectionReader(p.file, 0, p.size), file.WithMetadata(p.meta))
	if err != nil {
		return nil, err
	}
	leaves := map[int]*leaf{}
	for _, index := range columns {
		if leaves[index], err = readLeaf(reader.RowGroup(group), index); err != nil {
			return nil, fmt.Errorf("column %s: %w", p.meta.Schema.Column(index).Path(), err)
		}
	}
	next := 0
	return newNest(p.meta.Schema.Root(), leaves, &next), nil
}

// assemble combines the columns of a group into rows.
func (p *parquetFile) assemble(table *nest, rows int) ([]outcomeRow, error) {
	outcomes := make([]outcomeRow, 0, rows)
	for range rows {
		row, err := table.row()
		if err != nil {
			return nil, err
		}
		r, err := row.record()
		r.Unused = append(r.Unused, p.unused...)
		outcomes = append(outcomes, outcomeRow{r, err})
	}
	for _, l := range table.leaves {
		if l.repeats() >= 0 {
			return nil, fmt.Errorf("more values than the %d rows in its footer", rows)
		}
	}
	return outcomes, nil
}

// row is the next row of a table.
func (n *nest) row() (row fields, err error) {
	for _, column := range n.children {
		value, err := column.read(0, 0)
		if err != nil {
			return nil, err
		}
		row = append(row, field{column.name, value})
	}
	return row, nil
}

// outcomeRow is the result of reading a row.
type outcomeRow struct {
	record Record
	err    error
}

// groupCache keeps the most recently used row groups. Goroutines that need the same group wait for one to read it.
type groupCache struct {
	load func(group int) ([]outcomeRow, error)

	mutex  sync.Mutex
	groups []*cachedGroup // most recently used last
}

type cachedGroup struct {
	number int
	once   sync.Once
	rows   []outcomeRow
	err    error
}

func (c *groupCache) get(number int) ([]outcomeRow, error) {
	g := c.entry(number)
	g.once.Do(func() { g.rows, g.err = c.load(number) })
	return g.rows, g.err
}

func (c *groupCache) entry(number int) *cachedGroup {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	for i, g := range c.groups {
		if g.number == number {
			c.groups = append(append(c.groups[:i:i], c.groups[i+1:]...), g)
			return g
		}
	}
	g := &cachedGroup{number: number}
	if len(c.groups) == cachedGroups {
		c.groups = c.groups[1:]
	}
	c.groups = append(c.groups, g)
	return g
}
