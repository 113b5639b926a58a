package chat

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// LedgerFile is the name of a ledger in its folder.
const LedgerFile = "ledger.jsonl"

// maxLine is the longest line that is believed to be a ledger's. The longest that is written is a refusal of 8 MB whose
// every byte takes six.
const maxLine = 64 << 20

// ledger is the file. Lines are only ever added.
//
// A record is in the file once append returns, whatever happens to this process: the kernel has it. A loss of power is
// another matter: the kernel writes its pages within about half a minute, so that is what can be lost of claims and
// answers. Forcing each line to the disk would cost thousands of writes a minute to save answers worth cents.
type ledger struct {
	file    *os.File
	path    string
	size    int64 // of the complete lines
	room    int64 // up to here the disk has set blocks aside
	release func()
}

// span is where a line lies.
type span struct {
	at   int64
	size int32
}

// openLedger takes the folder and opens its ledger, making both if need be.
func openLedger(folder string) (*ledger, error) {
	release, err := checkpoints.Run{Dir: folder}.Lock()
	if err != nil {
		return nil, err
	}
	l := &ledger{path: filepath.Join(folder, LedgerFile), release: release}
	l.file, err = os.OpenFile(l.path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o666)
	if err == nil {
		err = syncFolder(folder) // or a loss of power could take the file with it
	}
	if err != nil {
		l.close()
		return nil, failure.Storage(err)
	}
	return l, nil
}

// lookLedger opens a ledger without taking its folder or writing anything. A missing one is nil.
func lookLedger(folder string) (*ledger, error) {
	path := filepath.Join(folder, LedgerFile)
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, failure.Input(err)
	}
	return &ledger{file: file, path: path, release: func() {}}, nil
}

func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// scan visits the complete lines and returns where they end. What follows the last of them is torn: a process was
// killed while it wrote, or is still writing.
func (l *ledger) scan(visit func(line []byte, at span) error) (end int64, err error) {
	lines := bufio.NewReaderSize(io.NewSectionReader(l.file, 0, 1<<62), 1<<20)
	for number := 1; ; number++ {
		line, err := readLine(lines, maxLine)
		if err == io.EOF {
			return end, nil
		}
		if err == nil {
			err = visit(line[:len(line)-1], span{end, int32(len(line))})
		}
		if err != nil {
			return end, fmt.Errorf("%s, line %d: %w", l.path, number, err)
		}
		end += int64(len(line))
	}
}

var errLongLine = failure.Inputf("it is longer than any that is written here")

// readLine is the next line with its end. io.EOF comes with what follows the last end of a line; errLongLine with
// nothing, in place of a line of more bytes than most. A line is valid until the next call.
func readLine(lines *bufio.Reader, most int) ([]byte, error) {
	line, err := lines.ReadSlice('\n')
	if err != bufio.ErrBufferFull {
		return line, err
	}
	long := append([]byte{}, line...)
	for err == bufio.ErrBufferFull {
		if line, err = lines.ReadSlice('\n'); len(long) <= most {
			long = append(long, line...)
		}
	}
	if len(long) > most && (err == nil || err == io.EOF) {
		return nil, errLongLine
	}
	return long, err
}

// cut removes what follows the complete lines, as the next would be added to it.
func (l *ledger) cut() error { return failure.Storage(l.file.Truncate(l.size)) }

// append adds a record. If that fails, no part of it stays in the file.
func (l *ledger) append(r record) (span, error) {
	line := encode(r)
	n, err := l.file.Write(line)
	if err != nil {
		return span{}, fmt.Errorf("%s: %w", l.path, failure.Storage(errors.Join(err, l.file.Truncate(l.size))))
	}
	at := span{l.size, int32(n)}
	l.size += int64(n)
	return at, nil
}

// fallocate is replaced by tests.
var fallocate = unix.Fallocate

// reserve sets room aside for the next records: an answer that was paid for must not find the disk full. File systems
// that cannot do this go without.
func (l *ledger) reserve(bytes int64) error {
	const step = 4 << 20
	if l.size+bytes <= l.room {
		return nil
	}
	err := l.allocate(bytes + step)
	if err != nil {
		err = l.allocate(bytes)
	}
	switch {
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EINVAL):
		return nil
	case err != nil:
		return fmt.Errorf("%s: no room for answers: %w", l.path, failure.Storage(err))
	}
	return nil
}

func (l *ledger) allocate(bytes int64) error {
	err := error(unix.EINTR)
	for err == unix.EINTR {
		err = fallocate(int(l.file.Fd()), unix.FALLOC_FL_KEEP_SIZE, l.size, bytes)
	}
	if err == nil {
		l.room = l.size + bytes
	}
	return err
}

// read reads a line again.
func (l *ledger) read(at span) (record, error) {
	line := make([]byte, at.size)
	if _, err := l.file.ReadAt(line, at.at); err != nil {
		return record{}, failure.Storage(err)
	}
	r, err := whole(line)
	if err != nil {
		return record{}, fmt.Errorf("%s, byte %d: %w", l.path, at.at, err)
	}
	return r, nil
}

// close flushes the ledger and gives its folder back. Blocks that were set aside and not used are given back, too.
func (l *ledger) close() error {
	var err error
	if l.file != nil {
		if l.room > l.size {
			err = l.file.Truncate(l.size)
		}
		err = errors.Join(err, l.file.Sync(), l.file.Close())
	}
	l.release()
	return failure.Storage(err)
}
