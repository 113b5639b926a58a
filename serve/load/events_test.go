package load

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// events reads all of a stream's events.
func events(r io.Reader) (list []string, err error) {
	err = readEvents(r, func(data []byte) (bool, error) {
		list = append(list, string(data))
		return true, nil
	})
	return list, err
}

func TestEvents(t *testing.T) {
	for text, want := range map[string][]string{
		"":                                  nil,
		"data: a\n\ndata:b\n\n":             {"a", "b"},
		"data:  a\n\n":                      {" a"},
		"data: a\ndata: b\n\n":              {"a\nb"},
		"data: a\r\n\r\n":                   {"a"},
		"\n\n: note\n\nevent: x\nid: 1\n\n": nil,
		"event: x\ndata: a\nretry: 3\n\n":   {"a"},
		"data: a\n\ndata: half\n":           {"a"},
		"data\n\n":                          {""},
		"datax: a\n\n":                      nil,
	} {
		got, err := events(iotest.OneByteReader(strings.NewReader(text)))
		if !slices.Equal(got, want) || err != io.EOF {
			t.Errorf("%q: %q, %v, want %q", text, got, err, want)
		}
	}
}

// Streams without an end are not read to it.
func TestEventsLimits(t *testing.T) {
	for name, r := range map[string]io.Reader{
		"one line":   endless("data: x"),
		"one event":  endless("data: x\n"),
		"no events":  endless(": x\n\n"),
		"all events": endless("data: x\n\n"),
	} {
		if _, err := events(r); !errors.Is(err, errTooLong) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// endless repeats a text, in reads of 64 KiB.
type endless string

func (e endless) Read(p []byte) (int, error) {
	return copy(p, bytes.Repeat([]byte(e), 1<<16/len(e))), nil
}

func FuzzEvents(f *testing.F) {
	f.Add([]byte(hello + goodbye + counted + done))
	f.Add([]byte("data: {\"choices\":[{\"delta\":null}],\"usage\":null,\"error\":null}\n\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		whole, err := events(bytes.NewReader(text))
		pieces, other := events(iotest.OneByteReader(bytes.NewReader(text)))
		if !slices.Equal(whole, pieces) || !errors.Is(other, err) {
			t.Errorf("%q, %v in one read, %q, %v byte by byte", whole, err, pieces, other)
		}
		var o outcome
		if o.read(bytes.NewReader(text), o.ended); o.tokens() < 0 || o.kind != "" && o.message == "" {
			t.Errorf("outcome %+v", o)
		}
	})
}
