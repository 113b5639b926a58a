package tensorboard

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// Writer appends events to a file of a folder. Not safe for concurrent use.
type Writer struct {
	file *os.File
	size int64 // of the whole records
}

// Open cuts the files of a folder to the events up to a step, calls kept with each that stays, and begins a new file
// with the step after it, so that all of TensorBoard's readers show each step once. What a kill left of a record is cut
// off, too, with all that lies behind it.
func Open(dir string, step int, kept func(Event)) (*Writer, error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, failure.Storage(err)
	}
	files, err := eventFiles(dir)
	if err != nil {
		return nil, failure.Storage(err)
	}
	for i, path := range files {
		whole, err := cut(path, step, kept)
		if err != nil {
			return nil, failure.Storage(err)
		}
		if whole {
			continue
		}
		for _, later := range files[i+1:] {
			if err := os.Remove(later); err != nil {
				return nil, failure.Storage(err)
			}
		}
		break
	}
	now := time.Now()
	path := filepath.Join(dir, nextName(files, now))
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o666)
	if err != nil {
		return nil, failure.Storage(err)
	}
	w := &Writer{file: file}
	for _, e := range []Event{{Version: version}, {Step: int64(step) + 1, Start: true}} {
		if err := w.append(e, now); err != nil {
			file.Close()
			return nil, err
		}
	}
	return w, nil
}

// Append writes values at a step. If it fails, no part of them stays in the file.
func (w *Writer) Append(step int, values ...Value) error {
	return w.append(Event{Step: int64(step), Values: values}, time.Now())
}

func (w *Writer) append(e Event, at time.Time) error {
	e.WallTime = seconds(at)
	n, err := w.file.Write(record(e.encode()))
	if err != nil {
		return failure.Storage(errors.Join(err, w.file.Truncate(w.size)))
	}
	w.size += int64(n)
	return nil
}

// Sync flushes the events to the disk.
func (w *Writer) Sync() error { return failure.Storage(w.file.Sync()) }

// Close flushes and closes the file.
func (w *Writer) Close() error { return failure.Storage(errors.Join(w.file.Sync(), w.file.Close())) }

// cut cuts a file at its first event past a step, or at what is no event. It says whether the file was left whole. A
// file that has no values left is removed.
func cut(path string, step int, kept func(Event)) (whole bool, err error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return false, err
	}
	defer file.Close()
	values := 0
	size, err := Read(bufio.NewReaderSize(file, 1<<20), func(e Event) bool {
		if e.Step > int64(step) && !e.Start { // with a start all that follows may still be of the step before it
			return false
		}
		values += len(e.Values)
		kept(e)
		return true
	})
	if err != nil && !errors.Is(err, ErrDamaged) {
		return false, fmt.Errorf("%s: %w", path, err)
	}
	info, err := file.Stat()
	if err != nil {
		return false, err
	}
	whole = info.Size() == size
	if values == 0 {
		return whole, os.Remove(path)
	}
	if !whole {
		err = errors.Join(file.Truncate(size), file.Sync())
	}
	return whole, err
}

const prefix = "events.out.tfevents."

var fileName = regexp.MustCompile(`^events\.out\.tfevents\.([0-9]{10})\..*\.([0-9]+)$`)

// eventFiles are the files of a folder that this package has written, in the order in which they are read.
func eventFiles(dir string) (files []string, err error) {
	entries, err := os.ReadDir(dir)
	for _, entry := range entries {
		if entry.Type().IsRegular() && fileName.MatchString(entry.Name()) {
			files = append(files, filepath.Join(dir, entry.Name()))
		}
	}
	return files, err // ReadDir sorts by name
}

// nextName is the name of a file that is read after the others: its second is later than theirs, whatever the clock
// says, because within a second the number of the process would decide.
func nextName(files []string, now time.Time) string {
	second, number := now.Unix(), 0
	if len(files) > 0 {
		parts := fileName.FindStringSubmatch(filepath.Base(slices.Max(files)))
		last, _ := strconv.ParseInt(parts[1], 10, 64) // of ten digits, as the expression says
		second = max(second, last+1)
		number, _ = strconv.Atoi(parts[2])
		number++
	}
	return fmt.Sprintf("%s%010d.%s.%d.%d", prefix, second, host(), os.Getpid(), number)
}

// host is this machine's name, as far as it can be part of a file's name.
func host() string {
	name, _ := os.Hostname() // without one, the file has none
	plain := strings.Map(func(r rune) rune {
		if r < 0x80 && (r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z') {
			return r
		}
		return -1
	}, name)
	return plain[:min(len(plain), 64)]
}
