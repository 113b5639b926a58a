package scene

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// textReader passes JSON text on, of the same length, and allows for what stands in such files against the rules: a
// byte order mark becomes spaces; NaN and Infinity, which Python's json writes, become values that [number] knows.
// What is no UTF-8 text is an error. No value may be longer than maxValue: see allow.
type textReader struct {
	from    io.Reader
	buffer  []byte
	ready   []byte // of the buffer: checked, and not yet passed on
	held    []byte // of the buffer, behind ready: the start of a word or of a character
	err     error  // what follows ready; held is empty then
	read    int64  // bytes passed on
	limit   int64  // of read
	quoted  bool   // what follows ready is within a string
	escaped bool   // and behind a backslash
}

const (
	readBlock = 64 << 10
	maxValue  = 16 << 20 // bytes of one element of a list, or of one row
)

var errTooLong = fmt.Errorf("it is longer than %d MiB", maxValue>>20)

// spelled are the words that are replaced. No number of three bytes is infinite or not a number.
var spelled = []struct{ word, value string }{{"NaN", nanValue}, {"Infinity", "1e999   "}}

const nanValue = "[0]"

// newTextReader reads the first block, and refuses what is no text.
func newTextReader(from io.Reader) (*textReader, error) {
	t := &textReader{from: from, buffer: make([]byte, readBlock), limit: maxValue}
	n, err := io.ReadFull(from, t.buffer)
	if errors.Is(err, io.EOF) {
		return nil, errors.New("the file is empty")
	}
	block := t.buffer[:n]
	for head, problem := range map[string]string{
		"version https://git-lfs": "the file is a pointer of Git LFS; fetch it with git lfs pull",
		"\x1f\x8b":                "the file is compressed by gzip; unpack it with gunzip",
		"PK\x03\x04":              "the file is a zip archive; unpack it",
		"\xff\xfe":                "the text is UTF-16; convert it to UTF-8",
		"\xfe\xff":                "the text is UTF-16; convert it to UTF-8",
	} {
		if bytes.HasPrefix(block, []byte(head)) {
			return nil, errors.New(problem)
		}
	}
	if bytes.HasPrefix(block, []byte("\xef\xbb\xbf")) {
		copy(block, "   ")
	}
	t.check(block, err)
	return t, nil
}

// allow lets a value be read that begins at an offset of the text.
func (t *textReader) allow(offset int64) { t.limit = offset + maxValue }

func (t *textReader) Read(p []byte) (int, error) {
	for len(t.ready) == 0 && t.err == nil {
		had := copy(t.buffer, t.held)
		n, err := io.ReadFull(t.from, t.buffer[had:])
		t.check(t.buffer[:had+n], err)
	}
	switch {
	case len(t.ready) == 0:
		return 0, t.err
	case t.read >= t.limit:
		return 0, errTooLong
	}
	n := copy(p[:min(int64(len(p)), t.limit-t.read)], t.ready)
	t.ready, t.read = t.ready[n:], t.read+int64(n)
	return n, nil
}

// check makes a block ready that was read with an error: the next of the text, from byte t.read on.
func (t *textReader) check(block []byte, err error) {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	whole := block
	if err == nil {
		whole = block[:len(block)-cutCharacter(block)]
	}
	if valid := validPrefix(whole); valid < len(whole) {
		whole, err = whole[:valid], fmt.Errorf("byte %d: the text is not UTF-8; convert it", t.read+int64(valid))
	}
	ready := t.replace(whole, err == nil)
	t.ready, t.held, t.err = block[:ready], block[ready:], err
}

// cutCharacter is the length of a character at the end of the block that goes on in the next.
func cutCharacter(block []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(block); n++ {
		if tail := block[len(block)-n:]; utf8.RuneStart(tail[0]) {
			if utf8.FullRune(tail) {
				return 0
			}
			return n
		}
	}
	return 0
}

// validPrefix is the length of the text before the first byte that is not UTF-8.
func validPrefix(text []byte) int {
	if utf8.Valid(text) {
		return len(text)
	}
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && size <= 1 {
			return i
		}
		i += size
	}
	return len(text)
}

// replace replaces the words that are spelled outside strings, and returns how much of the text is done: all of it, or
// as far as a word that may go on in the next block, if there is more.
func (t *textReader) replace(text []byte, more bool) int {
	i := 0
	if t.escaped && len(text) > 0 {
		t.escaped, i = false, 1
	}
	for i < len(text) {
		if t.quoted {
			i = t.skipString(text, i)
			continue
		}
		switch text[i] {
		case '"':
			t.quoted = true
		case 'N', 'I':
			for _, s := range spelled {
				if bytes.HasPrefix(text[i:], []byte(s.word)) {
					copy(text[i:], s.value)
				} else if more && bytes.HasPrefix([]byte(s.word), text[i:]) {
					return i
				}
			}
		}
		i++
	}
	return len(text)
}

// skipString returns the place behind the end of the string that text[i] is in, or behind the text.
func (t *textReader) skipString(text []byte, i int) int {
	for i < len(text) {
		switch text[i] {
		case '"':
			t.quoted = false
			return i + 1
		case '\\':
			if i++; i == len(text) {
				t.escaped = true
			}
		}
		i++
	}
	return len(text)
}
