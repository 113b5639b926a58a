package data

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
)

// LLaVA is a data set in the original's format: one JSON array of rows
//
//	{"id": …, "image": "path" or ["path", …], "conversations": [{"from": "human", "value": "<image>\n…"}, {"from": "gpt", "value": "…"}, …]}
//
// The file is read once to find its rows, and kept open; rows are parsed when they are asked for. In memory it takes eight bytes a row.
type LLaVA struct {
	file        *os.File
	images      string
	starts      []int64 // of each row, and the end of the array
	fingerprint string
}

var _ Source = (*LLaVA)(nil)

// scanBlock is how much is read at a time, and how often progress is told.
const scanBlock = 1 << 20

// OpenLLaVA indexes a file; images is the folder that its paths are relative to. progress, if not nil, is told the bytes done and in
// all. A file that is not a whole array of rows is refused here; a bad row when it is read.
func OpenLLaVA(path, images string, progress func(done, total int64)) (*LLaVA, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	l := &LLaVA{file: file, images: images}
	if err := l.index(progress); err != nil {
		file.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return l, nil
}

func (l *LLaVA) index(progress func(done, total int64)) error {
	info, err := l.file.Stat()
	if err != nil {
		return err
	}
	var scanner rowScanner
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	block := make([]byte, scanBlock)
	for {
		n, err := l.file.Read(block)
		if err := scanner.scan(block[:n]); err != nil {
			return err
		}
		sum.Write(block[:n])
		if progress != nil {
			progress(scanner.offset, max(scanner.offset, info.Size()))
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	l.starts = scanner.starts
	l.fingerprint = fmt.Sprintf("%d-%08x", scanner.offset, sum.Sum32())
	return scanner.finish()
}

// Close frees the file.
func (l *LLaVA) Close() error { return l.file.Close() }

// Len is the number of rows.
func (l *LLaVA) Len() int { return len(l.starts) - 1 }

// Images is the folder that the rows' paths are relative to.
func (l *LLaVA) Images() string { return l.images }

// Fingerprint is the same for files with the same content, wherever they lie: size and CRC-32C of the whole. It is there to notice
// changes, not to withstand an adversary.
func (l *LLaVA) Fingerprint() string { return l.fingerprint }

// Record parses row number row, from 0. An error that wraps ErrRow is the row's own.
func (l *LLaVA) Record(row int) (Record, error) {
	text := make([]byte, l.starts[row+1]-l.starts[row])
	if _, err := l.file.ReadAt(text, l.starts[row]); err != nil {
		return Record{}, fmt.Errorf("row %d of %s: %w", row, l.file.Name(), err)
	}
	r, err := parseRecord(bytes.TrimRight(text, " \t\r\n,")) // up to the next row there are blanks and a comma
	if err != nil {
		return Record{}, badRow("row %d: %v", row, err)
	}
	return r, nil
}
