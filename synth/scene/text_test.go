package scene

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

func readText(from io.Reader) (string, error) {
	text, err := newTextReader(from)
	if err != nil {
		return "", err
	}
	got, err := io.ReadAll(text)
	return string(got), err
}

func TestTextReader(t *testing.T) {
	for text, want := range map[string]string{
		"{}":                            "{}",
		"\ufeff{}":                      "   {}",
		`[NaN, Infinity, -Infinity]`:    `[[0], 1e999   , -1e999   ]`,
		`["NaN", "a\"NaN", NaN]`:        `["NaN", "a\"NaN", [0]]`,
		`"\\" NaN`:                      `"\\" [0]`,
		"Na":                            "Na",
		"Infinit":                       "Infinit",
		`"é" ` + strings.Repeat("ü", 9): `"é" ` + strings.Repeat("ü", 9),
	} {
		if got, err := readText(strings.NewReader(text)); got != want || err != nil {
			t.Errorf("%s: %s, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"":              "empty",
		"\x1f\x8b\x08":  "gunzip",
		"PK\x03\x04":    "zip",
		"\xff\xfe{\x00": "UTF-16",
		"\xfe\xff\x00{": "UTF-16",
		"a\xff":         "byte 1: the text is not UTF-8",
		"\"caf\xe9\"":   "byte 4: the text is not UTF-8",
		"abc\xc3":       "byte 3: the text is not UTF-8",
		"version https://git-lfs.github.com/spec/v1": "git lfs pull",
	} {
		if _, err := readText(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	if _, err := readText(io.MultiReader(strings.NewReader("{"), iotest.ErrReader(io.ErrNoProgress))); !errors.Is(err,
		io.ErrNoProgress) {
		t.Errorf("an error of reading became %v", err)
	}
}

var wordOrString = regexp.MustCompile(`"(?:[^"\\]|\\.)*(?:"|\\?$)|Infinity|NaN`)

// However the text is cut into blocks, the same comes out, and it is as long.
func TestTextBlocks(t *testing.T) {
	piece := rapid.SampledFrom([]string{"NaN", "Na", "Infinity", "-Infinity", "Inf", `"`, `\"`, `\\`, `"a\"NaN"`, "1",
		",", "é",
		"漢", "🐈", "N", "I", " "})
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOfN(piece, 1, 40).Draw(t, "pieces"), "")
		text = strings.ReplaceAll(text, "\n", "")
		if outside := wordOrString.ReplaceAllString(text, ""); strings.Contains(outside, `\`) {
			return // a backslash outside strings is no JSON
		}
		want := wordOrString.ReplaceAllStringFunc(text, func(s string) string {
			switch s {
			case "NaN":
				return nanValue
			case "Infinity":
				return "1e999   "
			}
			return s
		})
		size := rapid.IntRange(16, 40).Draw(t, "block")
		r := &textReader{from: strings.NewReader(text), buffer: make([]byte, size), limit: maxValue}
		got, err := io.ReadAll(iotest.OneByteReader(r))
		if err != nil || string(got) != want {
			t.Errorf("%q in blocks of %d: %q, %v, want %q", text, size, got, err, want)
		}
	})
}

// A block may end anywhere in an escape.
func TestTextEscapes(t *testing.T) {
	for n := range 40 {
		for text, want := range map[string]string{`\"" NaN`: `\"" [0]`, `\"a" NaN`: `\"a" [0]`, `\\" NaN`: `\\" [0]`} {
			head := `"` + strings.Repeat("a", n)
			r := &textReader{from: strings.NewReader(head + text), buffer: make([]byte, 16), limit: maxValue}
			if got, err := io.ReadAll(r); err != nil || string(got) != head+want {
				t.Errorf("%s: %s, %v", head+text, got, err)
			}
		}
	}
}

// What is not UTF-8 is found wherever it stands, and named.
func TestTextNotUTF8(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := []byte(strings.Repeat("aé漢🐈", 20))
		at := rapid.IntRange(0, len(text)-1).Draw(t, "at")
		text = append(bytes.Clone(text[:at]), append([]byte{0xff}, text[at:]...)...)
		r := &textReader{from: bytes.NewReader(text), buffer: make([]byte, 16), limit: maxValue}
		got, err := io.ReadAll(r)
		if err == nil || len(got) > at || at-len(got) > 3 {
			t.Errorf("0xff at %d: %d bytes, then %v", at, len(got), err)
		}
	})
}

// A value may not be longer than the limit, wherever it begins.
func TestTooLong(t *testing.T) {
	long := `"` + strings.Repeat("a", maxValue) + `"`
	for _, head := range []string{"", `["b", `} {
		s := newTestStream(t, head+long)
		var err error
		for err == nil {
			_, err = s.token()
		}
		if !errors.Is(err, errTooLong) {
			t.Errorf("after %d bytes: %v", len(head), err)
		}
	}
	s := newTestStream(t, `[`+strings.Repeat(long[:maxValue/2]+`",`, 3)+`1]`)
	n := 0
	if err := s.list("", func(int) error { n++; return s.skip() }); err != nil || n != 4 {
		t.Errorf("%d values of half the limit: %v", n, err)
	}
}
