package convert

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// fuzzFormat checks that no files of a format do more than be refused as the user's, or give proper rows.
func fuzzFormat(f *testing.F, format string, o Options) {
	f.Helper()
	seed := func(of string, files []string) {
		if of == format {
			f.Add([]byte(files[0]), []byte(strings.Join(files[1:], "")))
		}
	}
	for _, c := range forms {
		seed(c.format, c.files)
	}
	for _, c := range refusals {
		seed(c.format, c.files)
	}
	dir := f.TempDir() // inputs run one after the other
	f.Fuzz(func(t *testing.T, first, second []byte) {
		files := []string{filepath.Join(dir, "first"), filepath.Join(dir, "second")}
		for i, text := range [][]byte{first, second} {
			if err := os.WriteFile(files[i], text, 0o666); err != nil {
				t.Fatal(err)
			}
		}
		for _, known := range Formats() {
			if known.Name == format && (len(known.Files) == 1 || known.Files[1].Optional && len(second) == 0) {
				files = files[:1]
			}
		}
		var out bytes.Buffer
		report, err := Convert(&out, format, files, o)
		if err != nil {
			if !errors.Is(err, failure.ErrInput) {
				t.Fatal(err)
			}
			return
		}
		var rows []row
		if err := json.Unmarshal(out.Bytes(), &rows); err != nil {
			t.Fatalf("no JSON: %v\n%s", err, out.Bytes())
		}
		checkRows(t, rows)
		if len(rows) != report.Rows || report.Rows == 0 || report.Pairs < report.Rows {
			t.Fatalf("%d rows and %+v", len(rows), report)
		}
	})
}

func FuzzVQA(f *testing.F)       { fuzzFormat(f, "vqa", Options{}) }
func FuzzGQA(f *testing.F)       { fuzzFormat(f, "gqa", Options{Limit: 1}) }
func FuzzAOKVQA(f *testing.F)    { fuzzFormat(f, "aokvqa", Options{Prompt: "every"}) }
func FuzzTextCaps(f *testing.F)  { fuzzFormat(f, "textcaps", Options{}) }
func FuzzOCRVQA(f *testing.F)    { fuzzFormat(f, "ocrvqa", Options{Limit: 2}) }
func FuzzRefCOCO(f *testing.F)   { fuzzFormat(f, "refcoco", Options{Size: sized(7, 9)}) }
func FuzzScienceQA(f *testing.F) { fuzzFormat(f, "scienceqa", Options{}) }
func FuzzGenome(f *testing.F) {
	fuzzFormat(f, "visual-genome", Options{Frame: "original", Size: sized(7, 9)})
}
