package rows

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// rowFile is a data set of rows in JSON, as an array or as lines. The file is scanned once to find its rows, and kept
// open; rows are parsed when they are asked for. It takes eight bytes of memory per row.
type rowFile struct {
	file        *os.File
	starts      []int64 // of each row, and the end of the last
	fingerprint string  // size and CRC-32C of the whole file
}

// scanBlock is how much is read at a time, and how often progress is reported.
const scanBlock = 1 << 20

// openJSON opens one array of rows, the original's format.
func openJSON(file *os.File, progress picture.Progress) (Source, error) {
	scanner := &rowScanner{}
	return indexJSON(file, progress, scanner.scan, func() ([]int64, error) { return scanner.starts, scanner.finish() })
}

// openJSONLines opens a file with one row per line.
func openJSONLines(file *os.File, progress picture.Progress) (Source, error) {
	scanner := &lineScanner{}
	source, err := indexJSON(file, progress, scanner.scan, scanner.finish)
	if err != nil {
		return nil, err
	}
	return source, source.checkLines(scanner.ended)
}

func indexJSON(file *os.File, progress picture.Progress, scan func([]byte) error,
	finish func() ([]int64, error)) (*rowFile, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	sum := crc32.New(Castagnoli)
	block := make([]byte, scanBlock)
	offset := int64(0)
	for {
		n, err := file.Read(block)
		if err := scan(block[:n]); err != nil {
			return nil, err
		}
		sum.Write(block[:n])
		offset += int64(n)
		progress(offset, max(offset, info.Size()))
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	starts, err := finish()
	return &rowFile{file: file, starts: starts, fingerprint: fmt.Sprintf("%d-%08x", offset, sum.Sum32())}, err
}

var Castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checkLines checks that the first row is a complete object, and a last row without a line break too: text in another
// layout and a truncated file are detected at once.
func (j *rowFile) checkLines(ended bool) error {
	text, err := j.text(0)
	if err == nil && checkJSON(text) != nil {
		return errors.New("its first line is not a complete JSON object; " +
			"rows must be in one array [ … ] or one per line")
	}
	if err == nil && j.Len() == 1 {
		if place := rowsWithin(text); place != "" {
			return fmt.Errorf("it is one object that holds rows, in its member %s: write the rows alone, "+
				"in one array [ … ] or one per line", place)
		}
	}
	last := j.Len() - 1
	if err != nil || ended {
		return err
	}
	if text, err = j.text(last); err == nil && checkJSON(text) != nil {
		err = fmt.Errorf("byte %d: the file ends within row %d: it is incomplete", j.starts[last+1], last)
	}
	return err
}

// rowsWithin finds rows in the members of a valid JSON object that is not a row itself, as in {"data": [row, …]} and
// {"0": row, …}, and says where; "" without any.
func rowsWithin(object []byte) string {
	if isRow(object) {
		return ""
	}
	for name, value := range members(object) {
		if value[0] == '[' {
			for element := range elements(value) {
				value = element // the first stands for all
				break
			}
		}
		if value[0] != '{' {
			continue
		}
		if isRow(value) {
			return string(name)
		}
		if within := rowsWithin(value); within != "" {
			return string(name) + ": " + within
		}
	}
	return ""
}

func isRow(object []byte) bool {
	for name, value := range members(object) {
		if key := string(name); value[0] == '[' && (key == `"conversations"` || key == `"messages"`) {
			return true
		}
	}
	return false
}

// Close frees the file.
func (j *rowFile) Close() error { return j.file.Close() }

// Len is the number of rows.
func (j *rowFile) Len() int { return max(0, len(j.starts)-1) }

func (j *rowFile) Fingerprint() string { return j.fingerprint }

// Record parses row number row, from 0.
func (j *rowFile) Record(row int) (Record, error) {
	text, err := j.text(row)
	if err != nil {
		return Record{}, failure.Inputf("row %d of %s: %w", row, j.file.Name(), err)
	}
	r, err := parseRecord(text)
	if err != nil {
		return r, picture.BadRow("%v", err)
	}
	return r, nil
}

// Verbatim is a Source whose rows are JSON text.
type Verbatim interface {
	Source
	Verbatim(row int) ([]byte, error)
}

// Verbatim is the text of row number row, from 0, as it stands in the file.
func (j *rowFile) Verbatim(row int) ([]byte, error) {
	text, err := j.text(row)
	if err != nil {
		err = failure.Inputf("row %d of %s: %w", row, j.file.Name(), err)
	}
	return text, err
}

// text is the JSON of a row. Blanks and a comma may follow it before the next row.
func (j *rowFile) text(row int) ([]byte, error) {
	text := make([]byte, j.starts[row+1]-j.starts[row])
	_, err := j.file.ReadAt(text, j.starts[row])
	return bytes.TrimRight(text, " \t\r\n,"), err
}

// lineScanner finds the lines that are not blank. It is fed the file block by block.
type lineScanner struct {
	starts []int64
	within bool  // in a line that has begun
	ended  bool  // the last byte was a line break
	offset int64 // of the next byte
}

func (s *lineScanner) scan(block []byte) error {
	for i := 0; i < len(block); {
		if s.within {
			end := bytes.IndexByte(block[i:], '\n')
			if end < 0 {
				break
			}
			s.within = false
			i += end + 1
			continue
		}
		at := s.offset + int64(i)
		c := block[i]
		if mark := at < 3 && c == "\xef\xbb\xbf"[at]; !mark && c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			s.starts, s.within = append(s.starts, at), true
		}
		i++
	}
	if len(block) > 0 {
		s.ended = block[len(block)-1] == '\n'
	}
	s.offset += int64(len(block))
	return nil
}

func (s *lineScanner) finish() ([]int64, error) { return append(s.starts, s.offset), nil }
