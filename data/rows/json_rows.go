package rows

import (
	"bytes"
	"errors"
	"fmt"
)

// rowScanner finds where the elements of one top-level JSON array start, without parsing them. It is fed the file block
// by block and keeps eight bytes per element. It accepts an array of separated elements; an element itself may still be
// invalid JSON.
type rowScanner struct {
	starts []int64 // of each element; after finish, also where the array ends

	state   rowState
	depth   int   // of brackets and braces, 1 within the top-level array
	escaped bool  // in a string: the last byte was a backslash that escapes the next
	offset  int64 // of the next byte
}

type rowState int

const (
	beforeArray rowState = iota
	beforeFirst          // after [
	beforeRow            // after a comma
	inScalar             // in an element that is neither object, array nor string
	inRow                // in an object or array, outside strings
	inString
	afterRow
	afterArray
)

// scan takes the next block of the file.
func (s *rowScanner) scan(block []byte) error {
	for i := 0; i < len(block); {
		switch s.state {
		case inString:
			i += s.skipString(block[i:])
		case inRow:
			i += s.skipRow(block[i:])
		default:
			if err := s.step(block[i], s.offset+int64(i)); err != nil {
				return err
			}
			i++
		}
	}
	s.offset += int64(len(block))
	return nil
}

// skipString returns the number of bytes up to and including the string's closing quote.
func (s *rowScanner) skipString(b []byte) int {
	end := bytes.IndexByte(b, '"')
	text := b
	if end >= 0 {
		text = b[:end]
	}
	backslashes := len(text) - len(bytes.TrimRight(text, `\`))
	escaped := backslashes%2 == 1
	if backslashes == len(text) {
		escaped = escaped != s.escaped
	}
	if end < 0 {
		s.escaped = escaped
		return len(b)
	}
	s.escaped = false
	if !escaped {
		s.state = inRow
		if s.depth == 1 {
			s.state = afterRow
		}
	}
	return end + 1
}

// skipRow returns the number of bytes up to and including the next quote, or the bracket that ends the row.
func (s *rowScanner) skipRow(b []byte) int {
	for i, c := range b {
		switch c {
		case '"':
			s.state = inString
			return i + 1
		case '{', '[':
			s.depth++
		case '}', ']':
			if s.depth--; s.depth == 1 {
				s.state = afterRow
				return i + 1
			}
		}
	}
	return len(b)
}

// step takes one byte between rows, or of a scalar.
func (s *rowScanner) step(c byte, at int64) error {
	blank := c == ' ' || c == '\t' || c == '\r' || c == '\n'
	switch {
	case s.state == beforeArray && at < 3 && c == "\xef\xbb\xbf"[at]: // byte order mark
	case blank && s.state == inScalar:
		s.state = afterRow
	case blank:
	case s.state == beforeArray && c == '[':
		s.state, s.depth = beforeFirst, 1
	case s.state == beforeArray:
		return fmt.Errorf("byte %d: found %q, want [: LLaVA's JSON is one array of rows", at, c)
	case s.state == afterArray:
		return fmt.Errorf("byte %d: found %q after the end of the array", at, c)
	case c == ']' && s.state != beforeRow:
		s.state = afterArray
		s.starts = append(s.starts, at)
	case c == ',' && (s.state == afterRow || s.state == inScalar):
		s.state = beforeRow
	case s.state == beforeFirst || s.state == beforeRow:
		return s.begin(c, at)
	case s.state == inScalar && c != '"' && c != '{' && c != '[' && c != '}':
	default:
		return fmt.Errorf("byte %d: found %q after row %d, want a comma or ]", at, c, len(s.starts)-1)
	}
	return nil
}

// begin starts a row with its first byte.
func (s *rowScanner) begin(c byte, at int64) error {
	switch c {
	case ',', ']', '}', ':':
		return fmt.Errorf("byte %d: found %q, want row %d", at, c, len(s.starts))
	case '{', '[':
		s.state, s.depth = inRow, 2
	case '"':
		s.state = inString
	default:
		s.state = inScalar
	}
	s.starts = append(s.starts, at)
	return nil
}

// finish is called at the end of the file.
func (s *rowScanner) finish() error {
	switch {
	case s.state == afterArray:
		return nil
	case s.state == beforeArray:
		return errors.New("it is empty")
	case s.state == beforeFirst || s.state == beforeRow || s.state == afterRow:
		return fmt.Errorf("byte %d: the file ends after %d rows without ]: it is incomplete", s.offset, len(s.starts))
	}
	return fmt.Errorf("byte %d: the file ends within row %d: it is incomplete", s.offset, len(s.starts)-1)
}
