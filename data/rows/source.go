package rows

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// Record is one row of a data set, checked for form only.
type Record struct {
	ID     string          // the row's own id, "" when it has none
	Images []picture.Image // in the order of their <image> placeholders
	Turns  []Turn
	Unused []string // keys of the row and its turns that are not read, such as "model" and "messages.name"
}

// Turn is one message of a conversation.
type Turn struct {
	Role string // "human", "gpt" or "system", whatever the names in the file
	Text string // with an <image> placeholder where an image goes

	Untrained bool // an answer without supervised tokens
}

// Source is a data set with random access to its rows. Record is safe for concurrent use and does not depend on the
// order in which rows are read. For an error that wraps ErrRow it gives the row's id, and the caller, who knows the
// row's number, puts it before the error. Fingerprint is the same for files
// with the same content, whatever their paths; it is meant to detect changes, not to withstand an adversary.
//
// Record's other errors are input errors too, such as a file that is damaged or has changed, unless the disk fails.
type Source interface {
	Len() int
	Record(row int) (Record, error)
	Fingerprint() string
	io.Closer
}

// format is a kind of data set file.
type format struct {
	begins string // first bytes of its files
	open   func(file *os.File, progress picture.Progress) (Source, error)
}

// formats is the table of formats that Open reads. The format is detected from a file's first bytes, never from its
// name.
var formats = []format{
	{"[", openJSON},
	{"{", openJSONLines},
	{"PAR1", openParquet},
	{"ARROW1", openArrow},
	{"\xff\xff\xff\xff", openArrow},
}

const utf16 = "it is UTF-16 text: save it as UTF-8"

// notText are other files that users take for data sets. The longest beginning of several that fit comes first.
var notText = []struct{ begins, what string }{
	{"\xff\xfe\x00\x00", "it is UTF-32 text: save it as UTF-8"},
	{"\xff\xfe", utf16},
	{"\xfe\xff", utf16},
	{"\x00[", utf16},
	{"\x00{", utf16},
	{"\x1f\x8b", "it is compressed by gzip: unpack it with gunzip"},
	{"\x28\xb5\x2f\xfd", "it is compressed by Zstandard: unpack it with unzstd"},
	{"\xfd7zXZ", "it is compressed by xz: unpack it with unxz"},
	{"BZh", "it is compressed by bzip2: unpack it with bunzip2"},
	{"PK\x03\x04", "it is a ZIP archive: unpack it and give the file of rows"},
	{"version https://git-lfs", "it is a Git LFS pointer: fetch the file with git lfs pull"},
	{"<", "it is HTML or XML, such as the page that a download failed with: fetch the file itself"},
}

// Open opens a data set: one file, or all files that match a pattern such as part-*.jsonl, in the order of their names.
// progress may be nil. An incomplete file is refused here, a bad row when it is read.
func Open(path string, progress picture.Progress) (_ Source, err error) {
	defer failure.MarkInput(&err)
	paths, err := picture.Matches(path)
	if err != nil {
		return nil, err
	}
	if progress == nil {
		progress = func(int64, int64) {}
	}
	all := &parts{}
	for i, path := range paths {
		source, err := openFile(path, progress.Of(i, len(paths)))
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

func openFile(path string, progress picture.Progress) (Source, error) {
	if info, err := os.Stat(path); err != nil {
		return nil, picture.Bare(err)
	} else if !info.Mode().IsRegular() { // opening a pipe would wait for its writer
		return nil, fmt.Errorf("not a regular file (%s); give a file, a pattern such as *.parquet, "+
			"or a folder of shards with the key shards", info.Mode())
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, picture.Bare(err)
	}
	source, err := openAs(file, progress)
	if err != nil {
		file.Close()
		return nil, err
	}
	return source, nil
}

func openAs(file *os.File, progress picture.Progress) (Source, error) {
	head := make([]byte, 512)
	n, err := file.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return nil, err
	}
	head = head[:n]
	text, err := PlainText(head)
	if err != nil {
		return nil, err
	}
	text = bytes.TrimLeft(text, blanks)
	for _, f := range formats {
		if bytes.HasPrefix(text, []byte(f.begins)) {
			return f.open(file, progress)
		}
	}
	if len(text) == 0 {
		return nil, errors.New("it is empty")
	}
	return nil, fmt.Errorf("it begins with %q, which is not a supported data set format; "+
		"JSON (an array of rows), JSON Lines, parquet and Arrow are", head[:min(n, 12)])
}

const blanks = " \t\r\n"

// PlainText is a file, or its beginning, without a byte order mark. What users take for text and is not, such as UTF-16
// and gzip, is refused by name.
func PlainText(file []byte) ([]byte, error) {
	text := bytes.TrimPrefix(file, []byte("\xef\xbb\xbf"))
	for _, other := range notText {
		if bytes.HasPrefix(file, []byte(other.begins)) {
			return nil, errors.New(other.what)
		}
	}
	if begin := bytes.TrimLeft(text[:min(len(text), 512)], blanks); len(begin) > 1 && begin[1] == 0 {
		return nil, errors.New(utf16)
	}
	return text, nil
}

// parts is several files as one data set.
type parts struct {
	sources []Source
	paths   []string
	ends    []int // rows up to and including each file
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

// find returns the file that holds a row, and the row's number in that file.
func (p *parts) find(row int) (file, within int) {
	file = sort.SearchInts(p.ends, row+1)
	return file, row - p.ends[file] + p.sources[file].Len()
}

func (p *parts) Record(row int) (Record, error) {
	file, within := p.find(row)
	r, err := p.sources[file].Record(within)
	return r, p.locate(err, file, within)
}

// Verbatim is the text of a row; it is an error if the row's file is not JSON.
func (p *parts) Verbatim(row int) ([]byte, error) {
	file, within := p.find(row)
	source, ok := p.sources[file].(Verbatim)
	if !ok {
		return nil, failure.Inputf("%s is not JSON", p.paths[file])
	}
	return source.Verbatim(within)
}

func (p *parts) outline(row int) (Record, error) {
	file, within := p.find(row)
	r, err := outline(p.sources[file], within)
	return r, p.locate(err, file, within)
}

// locate adds the name of the file to a row's error, and the row's number in it.
func (p *parts) locate(err error, file, within int) error {
	name := filepath.Base(p.paths[file])
	switch {
	case errors.Is(err, picture.ErrRow):
		return picture.BadRow("row %d of %s: %v", within, name, err)
	case err != nil:
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
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
