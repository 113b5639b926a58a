package scene

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
)

func newTestStream(t *testing.T, text string) *stream {
	t.Helper()
	r, err := newTextReader(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return &stream{r, json.NewDecoder(r)}
}

func TestSkip(t *testing.T) {
	for _, text := range []string{"1", `"a"`, "null", "[]", `{"a": [1, {"b": []}], "c": {}}`, "1e999", "NaN",
		strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth)} {
		s := newTestStream(t, text+" true")
		s.json.UseNumber()
		if err := s.skip(); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if token, err := s.token(); token != true || err != nil {
			t.Errorf("%s: %v, %v", text, token, err)
		}
	}
	deep := newTestStream(t, strings.Repeat("[", maxDepth+1))
	if err := deep.skip(); err == nil || !strings.Contains(err.Error(), "deep") {
		t.Errorf("too deep: %v", err)
	}
}

func TestValues(t *testing.T) {
	var v struct {
		N number `json:"n"`
		L label  `json:"l"`
		F flag   `json:"f"`
	}
	for text, want := range map[string]string{
		`{"n": "1"}`:          `"n" is a string; it must be a number`,
		`{"n": {}}`:           `"n" is an object; it must be a number`,
		`{"n": [1]}`:          `"n" is a list; it must be a number`,
		`{"n": true}`:         `"n" is true or false; it must be a number`,
		`{"l": 1.5}`:          `"l" is a number; it must be a whole number or a string`,
		`{"l": [1]}`:          `"l" is a list; it must be a whole number or a string`,
		`{"f": 2}`:            `"f" is a number; it must be 0 or 1`,
		`{"f": "0"}`:          `"f" is a string; it must be 0 or 1`,
		`[]`:                  `it is a list; it must be an object`,
		`{"n": 1, "l": tru}`:  `invalid character`,
		`{"n": 1`:             errCut.Error(),
		`{"n": 01, "l": tru}`: `invalid character`,
	} {
		if err := newTestStream(t, text).value(&v); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	for text, want := range map[string]string{"7": "7", `"7"`: "7", `"a\u00e9"`: "aé", "null": "", "-3": "-3"} {
		if err := newTestStream(t, `{"l": `+text+`}`).value(&v); err != nil || string(v.L) != want {
			t.Errorf("id %s: %q, %v", text, v.L, err)
		}
	}
	for text, want := range map[string]float64{"7": 7, "1e999": math.Inf(1), "-Infinity": math.Inf(-1),
		"NaN": math.NaN(), "null": math.NaN(), "1e-999": 0} {
		err := newTestStream(t, `{"n": `+text+`}`).value(&v)
		if got := float64(v.N); err != nil || got != want && !(math.IsNaN(got) && math.IsNaN(want)) {
			t.Errorf("number %s: %v, %v", text, got, err)
		}
	}
	for text, want := range map[string]flag{"0": false, "1": true, "false": false, "true": true, "null": false} {
		if err := newTestStream(t, `{"f": `+text+`}`).value(&v); err != nil || v.F != want {
			t.Errorf("flag %s: %v, %v", text, v.F, err)
		}
	}
}

func TestSize(t *testing.T) {
	for _, c := range []struct {
		width, height number
		w, h          int
	}{{640, 480, 640, 480}, {0, 480, 0, 0}, {640, number(math.NaN()), 0, 0}, {-1, 2, 0, 0},
		{1e18, 2, 0, 0}, {1, 1, 1, 1}} {
		if w, h := size(c.width, c.height); w != c.w || h != c.h {
			t.Errorf("%v, %v: %d, %d", c.width, c.height, w, h)
		}
	}
}

func TestKeyList(t *testing.T) {
	for want, keys := range map[string][]string{
		"nothing":   nil,
		`"a", "b"`:  {"b", "a"},
		`"\x1b[2J"`: {"\x1b[2J"},
		`"a", "b", "c", "d", "e", "f", "g", "h", …`: strings.Split("i h g f e d c b a", " "),
	} {
		if got := keyList(keys); got != want {
			t.Errorf("%v: %s, want %s", keys, got, want)
		}
	}
}
