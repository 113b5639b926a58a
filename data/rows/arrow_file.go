package rows

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"sort"

	"github.com/apache/arrow/go/v15/arrow"
	"golang.org/x/sys/unix"

	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// arrowFile is a data set in Arrow's stream format, in which Hugging Face stores data sets on disk, or its file format.
// The file is mapped: reading a row touches only that row's data, however large its batch is.
type arrowFile struct {
	file        *os.File
	mapping     []byte
	schema      *arrow.Schema
	batches     []int // where each starts
	ends        []int // rows up to and including each batch
	fingerprint string
	unused      []string // names of the columns that rows are not made of
}

const (
	arrowMagic = "ARROW1" // begins and ends a file; streams have none
	arrowLead  = 8        // the magic, padded
)

func openArrow(file *os.File, progress picture.Progress) (Source, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	mapping, err := unix.Mmap(int(file.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, &os.PathError{Op: "mmap", Path: file.Name(), Err: err}
	}
	a := &arrowFile{file: file, mapping: mapping}
	if err := a.index(progress); err != nil {
		unix.Munmap(mapping)
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = fmt.Errorf("the file ends within or before batch %d: it is incomplete", len(a.batches))
		}
		return nil, err
	}
	return a, nil
}

// index visits all messages without reading their bodies. The fingerprint covers the messages, and so the total lengths
// of all values in each batch.
func (a *arrowFile) index(progress picture.Progress) error {
	return failure.ReadMapped(func() error { return a.visit(progress) })
}

func (a *arrowFile) visit(progress picture.Progress) error {
	at, end, err := a.extent()
	if err != nil {
		return err
	}
	schema, size, err := readSchema(a.mapping[at:end])
	if err != nil {
		return err
	}
	if err := checkColumns(schema); err != nil {
		return err
	}
	a.schema = schema
	for _, field := range schema.Fields() {
		a.unused = append(a.unused, field.Name)
	}
	a.unused = unusedColumns(a.unused)
	sum := crc32.New(Castagnoli)
	sum.Write(a.mapping[at : at+size])
	rows := 0
	for at += size; at < end || end == len(a.mapping); {
		m, err := parseMessage(a.mapping[at:end])
		if errors.Is(err, errArrowEnd) {
			break
		}
		if err != nil {
			return err
		}
		if m.kind == batchMessage {
			n, err := m.rows()
			if err == nil && len(a.batches) == 0 {
				_, err = m.columns(schema)
			}
			if err != nil {
				return err
			}
			rows += int(n)
			a.batches, a.ends = append(a.batches, at), append(a.ends, rows)
		}
		sum.Write(m.meta)
		at += m.size
		progress(int64(at), int64(len(a.mapping)))
	}
	a.fingerprint = fmt.Sprintf("%d-%08x", len(a.mapping), sum.Sum32())
	return nil
}

// extent is the range of the messages. A stream ends with a marker, a file with its footer; some writers leave out a
// file's end marker.
func (a *arrowFile) extent() (at, end int, err error) {
	const tail = 4 + len(arrowMagic) // length of the footer, magic
	end = len(a.mapping)
	if !bytes.HasPrefix(a.mapping, []byte(arrowMagic)) {
		return 0, end, nil
	}
	if end < arrowLead+tail || !bytes.HasSuffix(a.mapping, []byte(arrowMagic)) {
		return 0, 0, io.ErrUnexpectedEOF
	}
	footer := int(binary.LittleEndian.Uint32(a.mapping[end-tail:]))
	if footer > end-tail-arrowLead {
		return 0, 0, fmt.Errorf("footer of %d bytes in a file of %d", footer, end)
	}
	return arrowLead, end - tail - footer, nil
}

func (a *arrowFile) Len() int {
	if len(a.ends) == 0 {
		return 0
	}
	return a.ends[len(a.ends)-1]
}

func (a *arrowFile) Record(row int) (Record, error)  { return a.read(row, copied) }
func (a *arrowFile) outline(row int) (Record, error) { return a.read(row, unread) }

func (a *arrowFile) read(row int, take func([]byte) []byte) (r Record, err error) {
	err = failure.ReadMapped(func() error {
		r, err = a.parse(row, take)
		return err
	})
	return r, atRow(row, err)
}

func (a *arrowFile) parse(row int, take func([]byte) []byte) (Record, error) {
	batch := sort.SearchInts(a.ends, row+1)
	first := 0
	if batch > 0 {
		first = a.ends[batch-1]
	}
	m, err := parseMessage(a.mapping[a.batches[batch]:])
	if err != nil {
		return Record{}, err
	}
	c, err := m.columns(a.schema)
	if failure.IsStorage(err) {
		return Record{}, err
	}
	if err != nil {
		return Record{}, picture.BadRow("%v", err)
	}
	values, err := c.row(row-first, take)
	if err != nil {
		return Record{}, err
	}
	r, err := values.record()
	r.Unused = append(r.Unused, a.unused...)
	return r, err
}

func (a *arrowFile) Fingerprint() string { return a.fingerprint }

// Close unmaps the file. Records already read stay valid.
func (a *arrowFile) Close() error {
	return errors.Join(unix.Munmap(a.mapping), a.file.Close())
}
