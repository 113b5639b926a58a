package scene

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// stream takes a JSON file apart value by value, so that reading it takes the memory of its largest element, whatever
// the size of the file.
type stream struct {
	text *textReader
	json *json.Decoder
}

// readFile reads a JSON file, until ctx ends; its name stands before every error.
func readFile(ctx context.Context, path string, read func(*stream) error) error {
	file, err := os.Open(path)
	if err != nil {
		return failure.Input(err)
	}
	defer file.Close()
	err = readNamed(path, reader(func(p []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		return file.Read(p)
	}), read)
	if ctx.Err() != nil {
		return ctx.Err() // nothing is wrong with the file
	}
	return err
}

type reader func(p []byte) (int, error)

func (r reader) Read(p []byte) (int, error) { return r(p) }

func readNamed(name string, from io.Reader, read func(*stream) error) error {
	text, err := newTextReader(from)
	if err == nil {
		s := &stream{text, json.NewDecoder(text)}
		s.json.UseNumber()
		err = read(s)
	}
	if err != nil {
		return failure.Inputf("%s: %w", name, err)
	}
	return nil
}

// errCut is the error of a file whose text ends within a value.
var errCut = errors.New("the file ends here; it is incomplete")

func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errCut
	}
	return err
}

// token reads the next bracket, name or scalar.
func (s *stream) token() (json.Token, error) {
	at := s.json.InputOffset()
	s.text.allow(at)
	token, err := s.json.Token()
	if err != nil {
		err = fmt.Errorf("after byte %d: %w", at, cut(err))
	}
	return token, err
}

// more reports whether another value follows in a list, an object or the text.
func (s *stream) more() bool {
	s.text.allow(s.json.InputOffset())
	return s.json.More()
}

// value reads the next value whole.
func (s *stream) value(into any) error {
	s.text.allow(s.json.InputOffset())
	return wrongType(cut(s.json.Decode(into)))
}

// object reads an object: the values of the named keys by their functions, of which those required must be there.
func (s *stream) object(form string, members map[string]func() error, required ...string) error {
	if err := s.open('{', form); err != nil {
		return err
	}
	seen := map[string]bool{}
	for s.more() {
		token, err := s.token()
		if err != nil {
			return err
		}
		key, _ := token.(string) // the decoder lets nothing else pass
		read := members[key]
		switch {
		case read == nil:
			read = s.skip
		case seen[key]:
			return fmt.Errorf("after byte %d: %q appears twice", s.json.InputOffset(), key)
		}
		seen[key] = true
		if err := read(); err != nil {
			return fmt.Errorf("%.100q: %w", key, err)
		}
	}
	if _, err := s.token(); err != nil {
		return err
	}
	for _, key := range required {
		if !seen[key] {
			return fmt.Errorf("it has no %q, but %s; %s", key, keyList(slices.Collect(maps.Keys(seen))), form)
		}
	}
	return nil
}

// list reads the elements of a list by a function, which is told their numbers, from 0.
func (s *stream) list(form string, element func(n int) error) error {
	if err := s.open('[', form); err != nil {
		return err
	}
	for n := 0; s.more(); n++ {
		at := s.json.InputOffset()
		if err := element(n); err != nil {
			return fmt.Errorf("element %d, after byte %d: %w", n, at, err)
		}
	}
	_, err := s.token()
	return err
}

// open reads the bracket that a value must begin with.
func (s *stream) open(bracket json.Delim, form string) error {
	token, err := s.token()
	if err == nil && token != bracket {
		err = fmt.Errorf("it is %s; %s", kindOf(token), form)
	}
	return err
}

// maxDepth is how deep values that are passed over may be nested.
const maxDepth = 1000

// skip passes over a value.
func (s *stream) skip() error {
	for depth := 0; ; {
		token, err := s.token()
		if err != nil {
			return err
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth > maxDepth {
			return fmt.Errorf("after byte %d: it is nested more than %d deep", s.json.InputOffset(), maxDepth)
		}
		if depth == 0 {
			return nil
		}
	}
}

// end checks that nothing follows.
func (s *stream) end(form string) error {
	at := s.json.InputOffset()
	s.text.allow(at)
	_, err := s.json.Token()
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case err == nil:
		return fmt.Errorf("more follows after byte %d; %s", at, form)
	}
	return fmt.Errorf("after byte %d: %w", at, err)
}

func kindOf(token json.Token) string {
	switch token := token.(type) {
	case json.Delim:
		if token == '{' {
			return "an object"
		}
		return "a list"
	case string:
		return "a string"
	case json.Number:
		return "a number"
	case bool:
		return "true or false"
	}
	return "null"
}

// keyList names the first of an object's keys.
func keyList(keys []string) string {
	const most = 8
	if len(keys) == 0 {
		return "nothing"
	}
	slices.Sort(keys)
	more := ""
	if len(keys) > most {
		keys, more = keys[:most], ", …"
	}
	quoted := make([]string, len(keys))
	for i, key := range keys {
		quoted[i] = fmt.Sprintf("%.40q", key)
	}
	return strings.Join(quoted, ", ") + more
}
