package load

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// Limits of an answer, from a server that nobody vouches for.
const (
	maxEvent  = 1 << 20
	maxAnswer = 64 << 20
)

var errTooLong = errors.New("the answer is longer than any answer is")

// readEvents reads server-sent events (HTML, section 9.2) and hands on the data of each, until each wants no more. The
// error is io.EOF where the stream ends before; an event that is not ended by an empty line is none.
func readEvents(r io.Reader, each func(data []byte) (more bool, err error)) error {
	limited := &io.LimitedReader{R: r, N: maxAnswer}
	lines := bufio.NewScanner(limited)
	lines.Buffer(nil, maxEvent)
	var data []byte
	for lines.Scan() {
		line := lines.Bytes()
		if len(line) == 0 && len(data) > 0 {
			if more, err := each(data[:len(data)-1]); err != nil || !more {
				return err
			}
			data = data[:0]
		}
		name, value, _ := bytes.Cut(line, []byte(":")) // a comment has no name
		if string(name) != "data" {
			continue
		}
		if len(data)+len(value) > maxEvent {
			return errTooLong
		}
		data = append(append(data, bytes.TrimPrefix(value, []byte(" "))...), '\n')
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong), err == nil && limited.N == 0:
		return errTooLong
	case err != nil:
		return err
	}
	return io.EOF
}
