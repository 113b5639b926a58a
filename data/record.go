package data

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// ErrRow is wrapped by every error that lies in one row of the data: the row can be left out and the rest used. Any other error is
// a fault of the disk or the program.
var ErrRow = errors.New("row cannot be used")

// rowError is a message that wraps ErrRow without repeating it.
type rowError string

func (e rowError) Error() string { return string(e) }
func (e rowError) Unwrap() error { return ErrRow }

func badRow(format string, args ...any) error { return rowError(fmt.Sprintf(format, args...)) }

// Record is one row of a data set, checked for form only.
type Record struct {
	ID     string  // the row's own id, "" when it has none
	Images []Image // in the order of their <image> marks
	Turns  []Turn
}

// Turn is one message of a conversation.
type Turn struct {
	Role string // "human", "gpt" or "system", whatever the file calls them
	Text string // with an <image> mark where an image goes
}

// Image is one picture of a row: prepared, or a file, or the path of a file in the entry's image folder.
type Image struct {
	Path     string   // as the row spells it; for messages only where one of the others is there
	File     []byte   // the encoded picture, where the row itself holds it
	Prepared *Picture // the picture at the tower's size, from shards with pixels
}

// Source is a data set with random access to its rows. Record is safe for concurrent use, gives the same in any order of rows, and
// puts the row's number into errors that wrap ErrRow. Fingerprint is the same for files with the same content, wherever they lie; it
// is there to notice changes, not to withstand an adversary.
type Source interface {
	Len() int
	Record(row int) (Record, error)
	Fingerprint() string
	io.Closer
}

// Progress is told how much of a long work is done, in any unit.
type Progress func(done, total int64)

// of is the progress of file i of n, each of which counts as much as another.
func (p Progress) of(i, n int) Progress {
	if n == 1 {
		return p
	}
	const each = 1000
	return func(done, total int64) { p(int64(i)*each+each*done/max(total, 1), int64(n)*each) }
}

// format is a kind of data set file.
type format struct {
	begins string // what its files begin with
	open   func(file *os.File, progress Progress) (Source, error)
}

// formats is the table of what Open reads. A file is told by how it begins, never by its name.
var formats = []format{
	{"[", openJSON},
	{"{", openJSONLines},
	{"PAR1", openParquet},
	{"ARROW1", openArrow},
	{"\xff\xff\xff\xff", openArrow},
}

// Open opens a data set: a file, or all that match a pattern such as part-*.jsonl, one after the other in the order of their names.
// progress may be nil. A file that is not whole is refused here, a bad row when it is read.
func Open(path string, progress Progress) (Source, error) {
	paths, err := matches(path)
	if err != nil {
		return nil, err
	}
	if progress == nil {
		progress = func(int64, int64) {}
	}
	all := &parts{}
	for i, path := range paths {
		source, err := openFile(path, progress.of(i, len(paths)))
		if err != nil {
			all.Close()
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		all.add(source, path)
	}
	if len(paths) == 1 {
		return all.sources[0], nil
	}
	return all, nil
}

// matches is the files that a path or pattern names. A path that exists is no pattern.
func matches(path string) ([]string, error) {
	if _, err := os.Stat(path); err == nil || !strings.ContainsAny(path, "*?[") {
		return []string{path}, nil
	}
	paths, err := filepath.Glob(path)
	if err != nil {
		return nil, fmt.Errorf("pattern %q: %w", path, err)
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("pattern %q matches no file", path)
	}
	slices.Sort(paths)
	return paths, nil
}

func openFile(path string, progress Progress) (Source, error) {
	if info, err := os.Stat(path); err != nil {
		return nil, bare(err)
	} else if !info.Mode().IsRegular() { // to open a pipe would wait for its writer
		return nil, fmt.Errorf("not a regular file (%s); name a file, a pattern such as *.parquet, or shards with the key shards", info.Mode())
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, bare(err)
	}
	source, err := openAs(file, progress)
	if err != nil {
		file.Close()
		return nil, err
	}
	return source, nil
}

func openAs(file *os.File, progress Progress) (Source, error) {
	head := make([]byte, 512)
	n, err := file.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return nil, err
	}
	head = head[:n]
	text := bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\xef\xbb\xbf")), " \t\r\n")
	for _, f := range formats {
		if bytes.HasPrefix(text, []byte(f.begins)) {
			return f.open(file, progress)
		}
	}
	if len(text) == 0 {
		return nil, errors.New("it is empty")
	}
	return nil, fmt.Errorf("it begins with %q, which is no data set: JSON (an array of rows), JSON Lines, parquet and Arrow are read", head[:min(n, 12)])
}

// bare is an error of the file system without the path, which its caller names.
func bare(err error) error {
	if path := new(os.PathError); errors.As(err, &path) {
		return path.Err
	}
	return err
}

// parts is several files as one data set.
type parts struct {
	sources []Source
	paths   []string
	ends    []int // rows up to and with each
}

func (p *parts) add(s Source, path string) {
	p.sources, p.paths, p.ends = append(p.sources, s), append(p.paths, path), append(p.ends, p.Len()+s.Len())
}

func (p *parts) Len() int {
	if len(p.ends) == 0 {
		return 0
	}
	return p.ends[len(p.ends)-1]
}

// find says which file holds a row, and which row of it that is.
func (p *parts) find(row int) (file, within int) {
	file = sort.SearchInts(p.ends, row+1)
	return file, row - p.ends[file] + p.sources[file].Len()
}

func (p *parts) Record(row int) (Record, error) {
	file, within := p.find(row)
	r, err := p.sources[file].Record(within)
	return r, p.locate(err, file)
}

func (p *parts) outline(row int) (Record, error) {
	file, within := p.find(row)
	r, err := outline(p.sources[file], within)
	return r, p.locate(err, file)
}

// locate puts the name of the file into a row's error.
func (p *parts) locate(err error, file int) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", filepath.Base(p.paths[file]), err)
}

func (p *parts) Fingerprint() string {
	var prints []string
	for _, s := range p.sources {
		prints = append(prints, s.Fingerprint())
	}
	return strconv.Itoa(len(prints)) + ":" + strings.Join(prints, ",")
}

func (p *parts) Close() error {
	var errs []error
	for _, s := range p.sources {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}
