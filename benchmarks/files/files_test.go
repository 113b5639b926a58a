package files

import (
	"archive/zip"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/llavatrain/llavatrain/data/datatest"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// folder is a folder with files.
func folder(t testing.TB, contents map[string]string) *Folder {
	t.Helper()
	f := &Folder{Path: t.TempDir()}
	for name, text := range contents {
		path := filepath.Join(f.Path, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// refused checks that an error is the user's and says something.
func refused(t *testing.T, err error, says string) {
	t.Helper()
	if err == nil || !errors.Is(err, failure.ErrInput) || !strings.Contains(err.Error(), says) ||
		strings.Contains(err.Error(), "\n") {
		t.Errorf("%v; want an input error that says %q", err, says)
	}
}

type question struct {
	ID   int `json:"question_id"`
	Text string
}

// Line feeds alone end a line; byte order marks, carriage returns and blank lines are passed over.
func TestLinesOfAnyEditor(t *testing.T) {
	f := folder(t, map[string]string{"q.jsonl": "\ufeff{\"question_id\": 1, \"text\": " +
		"\"a\u2028b\u0085c\"}\r\n\r\n{\"question_id\": 2}"})
	var got []question
	err := EachLine(f, "q.jsonl", func(q question) error { got = append(got, q); return nil })
	if err != nil || len(got) != 2 || got[0].Text != "a\u2028b\u0085c" || got[1].ID != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	if read := f.Read(); len(read) != 1 || read[0].Name != "q.jsonl" || len(read[0].Hash) != 64 {
		t.Errorf("%+v", read)
	}
}

func TestBadLinesAreRefused(t *testing.T) {
	for text, says := range map[string]string{
		"{\"question_id\": 1}\n{\"question_id\": 2":   "q.jsonl line 2: it is cut off: the file is incomplete",
		"{\"question_id\": 1}\n{\"question_id\": }\n": "q.jsonl line 2: it is not JSON",
		"{\"question_id\": \"x\"}\n":                  `q.jsonl line 1: "question_id" is text; want an integer`,
		"[1]\n":                                       "q.jsonl line 1: it is a list; want an object",
		"\n\n":                                        "q.jsonl is empty",
		"\xff\xfe{\x00":                               "UTF-16",
		"\x1f\x8b":                                    "gzip",
		"<html>":                                      "HTML",
		"version https://git-lfs.github.com/spec/v1\noid: x": "Git LFS",
	} {
		f := folder(t, map[string]string{"q.jsonl": text})
		refused(t, EachLine(f, "q.jsonl", func(question) error { return nil }), says)
	}
	f := folder(t, map[string]string{"a.json": "[1", "b.json": "{}"})
	_, err := Document[[]int](f, "a.json")
	refused(t, err, "fetch the file again")
	_, err = Document[[]int](f, "b.json")
	refused(t, err, "b.json: it is an object; want a list; is it the file of another release?")
	_, err = Document[[]int](f, "c.json")
	refused(t, err, "c.json: no such file")
	refused(t, EachLine(f, "b.json", func(question) error { return errors.New("no") }), "b.json line 1: no")
}

func TestFoldersAreRefused(t *testing.T) {
	f := folder(t, map[string]string{"a.json": "[1"})
	_, err := Open(filepath.Join(f.Path, "a.json"))
	refused(t, err, "is a file; give the folder")
	_, err = Open(f.Path + "/x/y")
	refused(t, err, "no such file")
	t.Setenv("HF_HUB_CACHE", f.Path)
	_, err = Open("lmms-lab/POPE")
	refused(t, err, "neither a folder nor a data set in the local hub cache")
	commit := filepath.Join(f.Path, "datasets--lmms-lab--POPE")
	os.MkdirAll(filepath.Join(commit, "refs"), 0o777)
	os.MkdirAll(filepath.Join(commit, "snapshots", "abc"), 0o777)
	os.WriteFile(filepath.Join(commit, "refs", "main"), []byte("abc\n"), 0o666)
	if opened, err := Open("lmms-lab/POPE"); err != nil || filepath.Base(opened.Path) != "abc" {
		t.Errorf("%v, %v", opened, err)
	}
}

func TestTSV(t *testing.T) {
	const table = "index\tquestion\tA\r\n7\t\"What does \"\"x\"\" mean?\n\ttwo\"\tnan\n\n8\tplain " +
		"\"quotes\" inside\t\n9\t\t\"\""
	f := folder(t, map[string]string{"t.tsv": "\ufeff" + table})
	var got []map[string]string
	err := f.TSV("t.tsv", []string{"index", "A"}, func(c map[string]string) error { got = append(got, c); return nil })
	want := []map[string]string{
		{"index": "7", "question": "What does \"x\" mean?\n\ttwo", "A": "nan"},
		{"index": "8", "question": `plain "quotes" inside`, "A": ""},
		{"index": "9", "question": "", "A": ""},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	for text, says := range map[string]string{
		"a\tb\n1\t2\n":                       "it has no column index; its first line names a, b",
		"index\tA\n1\t2\t3\n":                "line 2: 3 cells, and its first line names 2 columns",
		"index\tA\n\"1\n2\"\tx\n3\t\"open\n": "line 4: the cell in quotes that begins with \"open\\n\" does not end",
		"index\tA\n1\t\"a\"b\n":              "text follows the closing quote",
		"index\tA\n1\n":                      "line 2: 1 cells",
	} {
		f := folder(t, map[string]string{"t.tsv": text})
		refused(t, f.TSV("t.tsv", []string{"index", "A"}, func(map[string]string) error { return nil }), says)
	}
}

// Whatever cells are written, the same are read.
func TestTSVReadsWhatIsWritten(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		word := rapid.StringMatching(`[a-z"\t\n ,]*`)
		rows := rapid.SliceOfN(rapid.SliceOfN(word, 3, 3), 0, 5).Draw(r, "rows")
		text := "a\tb\tc\n"
		for _, row := range rows {
			for i, cell := range row {
				text += "\"" + strings.ReplaceAll(cell, "\"", "\"\"") + "\"" + "\t\t\n"[i:i+1]
			}
		}
		s := &cells{text: text, line: 1}
		s.row()
		for _, row := range rows {
			got, err := s.row()
			if err != nil || !cmp.Equal(got, row) {
				r.Fatalf("%q, %v; want %q", got, err, row)
			}
		}
		if s.at != len(text) || s.line != 1+strings.Count(text, "\n") {
			r.Errorf("at %d, line %d", s.at, s.line)
		}
	})
}

func FuzzTSV(f *testing.F) {
	f.Add("index\tA\n1\t\"a\"\"b\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		s := &cells{text: text, line: 1}
		for s.at < len(text) {
			before := s.at
			if _, err := s.row(); err != nil || s.at == before {
				break
			}
		}
	})
}

func TestHub(t *testing.T) {
	f, err := Open(datatest.Shared(t, "parity-bench", "hub", "POPE"))
	if err != nil {
		t.Fatal(err)
	}
	h, err := f.OpenHub("data/test-*.parquet")
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	n := 0
	type row struct{ Question string }
	err = EachRow(h, []string{"question"}, func(at int, r row) error {
		if at != n || r.Question == "" {
			t.Errorf("row %d: %+v", at, r)
		}
		n++
		return nil
	})
	images, imageErr := h.Images(0, "image")
	if err != nil || n != 4 || imageErr != nil || len(images) != 1 || len(images[0].File) == 0 {
		t.Errorf("%d rows, %d images, %v, %v", n, len(images), err, imageErr)
	}
	refused(t, EachRow(h, []string{"label"}, func(int, row) error { return nil }), "has no column label")
	_, err = f.OpenHub("data/val-*.parquet")
	refused(t, err, "has no data/val-*.parquet, rows.jsonl")
	lines := folder(t, map[string]string{"rows.jsonl": `{"question": "Is it?"}` + "\n"})
	h, err = lines.OpenHub("data/val-*.parquet")
	if err != nil || EachRow(h, nil, func(at int, r row) error { n = at; return nil }) != nil || n != 0 {
		t.Errorf("%v, last row %d", err, n)
	}
	_, err = h.Images(0, "image")
	refused(t, err, "has no pictures")
}

func TestSheet(t *testing.T) {
	rows := [][]any{{"index", "A"}, {7, "a <b> & \"c\"\n\x01d"}, {8, nil}}
	var first, second bytes.Buffer
	if err := errors.Join(WriteSheet(&first, rows), WriteSheet(&second, rows)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("the same rows give other bytes")
	}
	archive, err := zip.NewReader(bytes.NewReader(first.Bytes()), int64(first.Len()))
	if err != nil || len(archive.File) != 5 {
		t.Fatalf("%v", err)
	}
	sheet, _ := archive.Open("xl/worksheets/sheet1.xml")
	text, _ := io.ReadAll(sheet)
	for _, want := range []string{`<c r="A2"><v>7</v></c>`, "a &lt;b&gt; &amp; &#34;c&#34;&#xA;d</t>",
		`<row r="3"><c r="A3">`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
	if len(cellText(strings.Repeat("a", 40_000))) != longestCell {
		t.Error("a long cell is not cut")
	}
}
