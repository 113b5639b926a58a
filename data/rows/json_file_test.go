package rows

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/data/datatest"
	"github.com/llavatrain/llavatrain/data/picture"
)

// scanRows runs the scanner over content in blocks.
func scanRows(content []byte, block int) (*rowScanner, error) {
	s := &rowScanner{}
	for chunk := range slices.Chunk(content, block) {
		if err := s.scan(chunk); err != nil {
			return s, err
		}
	}
	return s, s.finish()
}

// cutRows cuts content at the scanner's offsets as rowFile.text does.
func cutRows(content []byte, s *rowScanner) []string {
	rows := []string{}
	for i := 1; i < len(s.starts); i++ {
		rows = append(rows, string(bytes.TrimRight(content[s.starts[i-1]:s.starts[i]], " \t\r\n,")))
	}
	return rows
}

func TestRowScanner(t *testing.T) {
	for _, test := range []struct {
		content string
		want    []string
	}{
		{`[]`, []string{}},
		{" \n[ ]\n", []string{}},
		{"\xef\xbb\xbf[{}]", []string{"{}"}},
		{`[{"a": "]}\"{,"} , {"b": [1, {"c": "\\"}]}]`, []string{`{"a": "]}\"{,"}`, `{"b": [1, {"c": "\\"}]}`}},
		{`["x\\\"", 1.5e3,null ,[[]]]`, []string{`"x\\\""`, `1.5e3`, `null`, `[[]]`}},
	} {
		for block := 1; block <= len(test.content); block++ {
			s, err := scanRows([]byte(test.content), block)
			if err != nil {
				t.Fatalf("%s in blocks of %d: %v", test.content, block, err)
			}
			if diff := cmp.Diff(test.want, cutRows([]byte(test.content), s)); diff != "" {
				t.Errorf("%s in blocks of %d (-want +got):\n%s", test.content, block, diff)
			}
		}
	}
}

func TestRowScannerRefuses(t *testing.T) {
	for content, want := range map[string]string{
		``:                  "it is empty",
		`  `:                "it is empty",
		`{"a": 1}`:          `byte 0: found '{', want [`,
		`hello`:             `byte 0: found 'h', want [`,
		`[{"a": 1}`:         "byte 9: the file ends after 1 rows without ]: it is incomplete",
		`[{"a": 1},`:        "byte 10: the file ends after 1 rows without ]",
		`[{}, {"a": "b`:     "byte 13: the file ends within row 1: it is incomplete",
		`[{}, 12`:           "byte 7: the file ends within row 1",
		`[{}] x`:            "byte 5: found 'x' after the end of the array",
		`[{}]]`:             "byte 4: found ']' after the end of the array",
		`[{},]`:             "byte 4: found ']', want row 1",
		`[,{}]`:             "byte 1: found ',', want row 0",
		`[{} {}]`:           "byte 4: found '{' after row 0, want a comma or ]",
		"[{}]\xef\xbb\xbf{": `after the end of the array`,
	} {
		for block := 1; block <= len(content)+1; block++ {
			if _, err := scanRows([]byte(content), block); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%q in blocks of %d: error is %v, want %q", content, block, err, want)
			}
		}
	}
}

// FuzzRowScanner compares with encoding/json: whatever that takes for an array is cut into the same rows.
func FuzzRowScanner(f *testing.F) {
	f.Add([]byte(`[{"a": "]}\"{,"} , {"b": [1, {"c": "\\"}]}, 12, "x,", []]`), uint8(3))
	f.Add([]byte("\xef\xbb\xbf [ ]"), uint8(1))
	f.Add([]byte(`[{}`), uint8(2))
	f.Fuzz(func(t *testing.T, content []byte, block uint8) {
		s, err := scanRows(content, int(block)+1)
		var want []json.RawMessage
		if json.Unmarshal(content, &want) != nil || want == nil {
			return // nothing to compare; the scan must only not panic
		}
		if err != nil {
			t.Fatalf("%q: %v", content, err)
		}
		for i, row := range cutRows(content, s) {
			if row != string(want[i]) {
				t.Errorf("%q: row %d is %q, want %q", content, i, row, want[i])
			}
		}
		if len(s.starts)-1 != len(want) {
			t.Errorf("%q: %d rows, want %d", content, len(s.starts)-1, len(want))
		}
	})
}

func paths(list ...string) (images []picture.Image) {
	for _, path := range list {
		images = append(images, picture.Image{Path: path})
	}
	return images
}

// writeRows writes a file of rows and opens it.
func writeRows(t testing.TB, content string) (Source, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rows.json")
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := Open(path, nil)
	if err == nil {
		t.Cleanup(func() { l.Close() })
	}
	return l, err
}

func TestJSONRecord(t *testing.T) {
	const turns = `"conversations": [{"from": "human", "value": "Hi\n\"?\u00e9"}, {"value": "Yes.", "from": "gpt", ` +
		`"extra": {"x": [1]}}]`
	read := []Turn{{Role: "human", Text: "Hi\n\"?é"}, {Role: "gpt", Text: "Yes."}}
	unused := func(r Record, keys ...string) Record {
		r.Unused = append(keys, "conversations.extra")
		return r
	}
	for _, test := range []struct {
		row  string
		want Record
		err  string
	}{
		{`{"id": "a", "image": "x/y.jpg", "model": "m", "none": "", ` + turns + `}`,
			unused(Record{ID: "a", Images: paths("x/y.jpg"), Turns: read}, "model"), ""},
		{`{"id": 17, ` + turns + `}`, unused(Record{ID: "17", Turns: read}), ""},
		{`{` + turns + `, "image": ["a.jpg", "b.jpg"]}`,
			unused(Record{Images: paths("a.jpg", "b.jpg"), Turns: read}), ""},
		{`{"Image": "not this key", ` + turns + `}`, unused(Record{Turns: read}, "Image"), ""},
		{`{"conversations": []}`, Record{}, ""},
		{`{"id": ["a"], "image": null, "images": null, ` + turns + `}`, unused(Record{Turns: read}), ""},
		{`{"id": NaN, "score": -Infinity, "image": "", ` + turns + `}`, unused(Record{Turns: read}, "score"), ""},
		{`{"image": {"bytes": null, "path": "a.jpg"}, ` + turns + `}`,
			unused(Record{Images: paths("a.jpg"), Turns: read}), ""},
		{`{"image": "/data/a.jpg", ` + turns + `}`, unused(Record{Images: paths("/data/a.jpg"), Turns: read}), ""},

		{`{"id": "a"}`, Record{}, "conversations (or messages) is missing"},
		{`12`, Record{}, "it is a number; it must be an object"},
		{`{"id": "a" "b"}`, Record{}, "invalid character '\"' after object key:value pair"},
		{`{"id": "a", "id": "b", ` + turns + `}`, Record{}, `"id" appears twice`},
		{`{"image": 5, ` + turns + `}`, Record{}, "image is a number; it must be a path or a list of paths; " +
			"leave the key out in a row without an image"},
		{`{"image": {"bytes": "aGk="}, ` + turns + `}`, Record{}, "image has bytes, which JSON cannot hold"},
		{`{"image": {"url": "a.jpg"}, ` + turns + `}`, Record{}, "image has no path"},
		{`{"image": "https://x.org/a.jpg", ` + turns + `}`, Record{},
			`image is a URL ("https://…"); nothing is downloaded`},
		{`{"image": ["a", 5], ` + turns + `}`, Record{}, "image[1] is a number; it must be a string"},
		{`{"image": ["a", ""], ` + turns + `}`, Record{}, `image[1] is ""; it must be a path within the image folder`},
		{`{"image": ["a.jpg", "x/../../b"], ` + turns + `}`, Record{},
			`image[1] is "x/../../b"; it must be a path within`},
		{`{"conversations": {}}`, Record{}, "conversations is an object; it must be a list of turns"},
		{`{"conversations": ["hi"]}`, Record{}, "conversations[0] is a string; it must be an object"},
		{`{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt"}]}`, Record{},
			"conversations[1].value is missing"},
		{`{"conversations": [{"value": ""}]}`, Record{}, "conversations[0].from is missing"},
		{`{"conversations": [{"from": "human", "value": null}]}`, Record{},
			"conversations[0].value is missing or null"},
		{`{"conversations": [{"from": true, "value": ""}]}`, Record{},
			"conversations[0].from is true or false; it must be a string"},
		{`{"conversations": [{"from": "tool", "value": "a"}]}`, Record{},
			`conversations[0].from is "tool"; it must be human or user, gpt or assistant, or system`},
		{`{"conversations": [{"from": "gpt", "value": "a", "value": "b"}]}`, Record{},
			`conversations[0]."value" appears twice`},
		{"{\"id\": \"\xff\", " + turns + `}`, Record{}, "text is not UTF-8"},
	} {
		l, err := writeRows(t, `[{"conversations": []}, `+test.row+"\n, 5]")
		if err != nil {
			t.Fatalf("%s: %v", test.row, err)
		}
		if l.Len() != 3 {
			t.Fatalf("%s: %d rows", test.row, l.Len())
		}
		got, err := l.Record(1)
		if test.err != "" {
			if err == nil || !strings.HasPrefix(err.Error(), test.err) || !errors.Is(err, picture.ErrRow) {
				t.Errorf("%s: error is %v, want %q", test.row, err, test.err)
			}
			continue
		}
		if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", test.row, err, diff)
		}
	}
}

func TestOpenJSON(t *testing.T) {
	if _, err := Open(filepath.Join(t.TempDir(), "none.json"), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	if _, err := writeRows(t, `[{}`); err == nil || !strings.Contains(err.Error(), "rows.json: byte 3: ") {
		t.Errorf("cut file: %v", err)
	}
	path := filepath.Join(t.TempDir(), "rows.json")
	row := `{"conversations": [{"from": "human", "value": "` + strings.Repeat("long ", 1000) + `"}]}`
	content := "[" + strings.Repeat(row+",\n", 500) + row + "]"
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	var last, calls int64
	l, err := Open(path, func(done, total int64) {
		calls++
		if done < last || total != int64(len(content)) {
			t.Errorf("progress %d of %d after %d", done, total, last)
		}
		last = done
	})
	if err != nil {
		t.Fatal(err)
	}
	if l.Len() != 501 || last != int64(len(content)) || calls < 3 {
		t.Errorf("%d rows, progress %d in %d calls", l.Len(), last, calls)
	}
	l.Close()
	if _, err := l.Record(0); err == nil || errors.Is(err, picture.ErrRow) {
		t.Errorf("a closed file is no fault of the row: %v", err)
	}
	if _, err := Lengths(l); err == nil {
		t.Error("lengths of a closed file")
	}
}

func TestFingerprint(t *testing.T) {
	one, err := writeRows(t, `[{"id": "a"}]`)
	if err != nil {
		t.Fatal(err)
	}
	same, err := writeRows(t, `[{"id": "a"}]`)
	if err != nil {
		t.Fatal(err)
	}
	other, err := writeRows(t, `[{"id": "b"}]`)
	if err != nil {
		t.Fatal(err)
	}
	if one.Fingerprint() != same.Fingerprint() || one.Fingerprint() == other.Fingerprint() {
		t.Errorf("%s, the same %s, another %s", one.Fingerprint(), same.Fingerprint(), other.Fingerprint())
	}
}

func TestLengths(t *testing.T) {
	l, err := writeRows(t, `[{"image": "x", "conversations": [
			{"from": "human", "value": "<image>\nwhat  is"}, {"from": "gpt", "value": "a\u00a0cat"}]},
		{"conversations": [{"from": "human", "value": "one\u001ctwo"}]},
		{"image": "x", "conversations": []}, {"image": 5}]`)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Lengths(l)
	if diff := cmp.Diff([]int32{5, -2, 1, -1}, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// TestLengthsMatchOriginal compares with the lengths that the original's sampler got for instruct.json.
func TestLengthsMatchOriginal(t *testing.T) {
	content, err := os.ReadFile(datatest.Shared(t, "parity", "sampler.json"))
	if err != nil {
		t.Fatal(err)
	}
	var want struct {
		Lengths []int32 `json:"modality_lengths"`
	}
	if err := json.Unmarshal(content, &want); err != nil {
		t.Fatal(err)
	}
	l, err := Open(datatest.Shared(t, "coco-mini", "instruct.json"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got, err := Lengths(l)
	if diff := cmp.Diff(want.Lengths, got); err != nil || diff != "" {
		t.Errorf("%v (-original +this):\n%s", err, diff)
	}
}

// benchmarkRows is about size bytes of rows shaped like those of mix665k.
func benchmarkRows(size int) []byte {
	var b bytes.Buffer
	b.WriteByte('[')
	for i := 0; b.Len() < size; i++ {
		if i > 0 {
			b.WriteString(",\n  ")
		}
		fmt.Fprintf(&b, `{"id": "%09d", "image": "coco/train2017/%012d.jpg", "conversations": [`, i, i)
		for turn := range 10 {
			fmt.Fprintf(&b, `{"from": "%s", `+
				`"value": "What is the \"colour\" of the bus in the image?\nAnswer with one word, number %d."}, `,
				[2]string{"human", "gpt"}[turn%2], turn)
		}
		b.WriteString(`{"from": "human", "value": "x"}, {"from": "gpt", "value": "White and red, ` +
			`with a large advertisement that covers most of its side."}]}`)
	}
	b.WriteByte(']')
	return b.Bytes()
}

func BenchmarkJSON(b *testing.B) {
	content := benchmarkRows(64 << 20)
	path := filepath.Join(b.TempDir(), "rows.json")
	if err := os.WriteFile(path, content, 0o644); err != nil {
		b.Fatal(err)
	}
	l, err := Open(path, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	b.Run("op=open", func(b *testing.B) {
		b.SetBytes(int64(len(content)))
		for b.Loop() {
			l, err := Open(path, nil)
			if err != nil {
				b.Fatal(err)
			}
			l.Close()
		}
	})
	b.Run("op=lengths", func(b *testing.B) {
		b.SetBytes(int64(len(content)))
		for b.Loop() {
			if _, err := Lengths(l); err != nil {
				b.Fatal(err)
			}
		}
	})
}
