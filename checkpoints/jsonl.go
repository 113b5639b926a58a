package checkpoints

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// JSONL appends to a file with one JSON object per line. Not safe for concurrent use.
type JSONL struct {
	file *os.File
	size int64 // of the complete lines, in bytes
}

// OpenJSONL opens path for appending and creates it if necessary. After a crash, call TruncateJSONL first.
func OpenJSONL(path string) (*JSONL, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o666)
	if err != nil {
		return nil, failure.Storage(err)
	}
	info, err := f.Stat()
	if err == nil {
		err = flushPath(filepath.Dir(path))
	}
	if err != nil {
		f.Close()
		return nil, failure.Storage(err)
	}
	return &JSONL{f, info.Size()}, nil
}

// Append writes one record. If it fails, no part of the record stays in the file.
func (j *JSONL) Append(record any) error {
	line, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("file %q: %w", j.file.Name(), err)
	}
	n, err := j.file.Write(append(line, '\n'))
	if err != nil {
		return failure.Storage(errors.Join(err, j.file.Truncate(j.size)))
	}
	j.size += int64(n)
	return nil
}

// Sync flushes the records to the disk. Call it before a checkpoint that relies on them.
func (j *JSONL) Sync() error { return failure.Storage(flush(j.file)) }

// Close flushes and closes the file.
func (j *JSONL) Close() error { return failure.Storage(errors.Join(flush(j.file), j.file.Close())) }

// TruncateJSONL keeps the leading lines of path for which keep is true and cuts off the rest, including a torn last
// line, which is not passed to keep. A missing file is left missing.
func TruncateJSONL(path string, keep func(line []byte) bool) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return failure.Storage(err)
	}
	defer f.Close()
	size, err := leading(f, keep)
	if err == nil {
		err = f.Truncate(size)
	}
	if err == nil {
		err = flush(f)
	}
	return failure.Storage(err)
}

// leading is the size of the complete leading lines that keep accepts.
func leading(r io.Reader, keep func(line []byte) bool) (size int64, err error) {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			return size, nil
		}
		if err != nil || !keep(line[:len(line)-1]) {
			return size, err
		}
		size += int64(len(line))
	}
}
