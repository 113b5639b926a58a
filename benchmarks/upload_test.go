package benchmarks

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/llavatrain/llavatrain/benchmarks/files"
)

// submitted writes the upload of an answer file of the set.
func submitted(t testing.TB, name, folder, file string, partial bool) (out string, report *Submitted) {
	t.Helper()
	set := opened(t, name, recorded(t, folder), "", ToSubmit)
	path := recorded(t, folder, file)
	answers, err := ReadAnswers(path, partial)
	if err != nil {
		t.Fatal(err)
	}
	out = filepath.Join(t.TempDir(), "upload")
	if report, err = set.Submit(answers, path, out, partial); err != nil {
		t.Fatal(err)
	}
	return out, report
}

// pythonDump is json.dump of objects with the given keys in order, of texts and whole numbers.
func pythonDump(list []map[string]any, keys ...string) string {
	var objects []string
	for _, object := range list {
		var parts []string
		for _, key := range keys {
			value := fmt.Sprint(object[key])
			if text, ok := object[key].(string); ok {
				value = string(pythonString(nil, text))
			}
			parts = append(parts, `"`+key+`": `+value)
		}
		objects = append(objects, "{"+strings.Join(parts, ", ")+"}")
	}
	return "[" + strings.Join(objects, ", ") + "]"
}

// Uploads that the originals write with json.dump.
func TestUploadsAreTheOriginals(t *testing.T) {
	for _, c := range []struct {
		name, folder, answers, expected string
		keys                            []string
		partial                         bool
	}{
		{"vqav2", "vqav2_test", "answers/llava_vqav2_mscoco_test-dev2015/made-up-7b/merge.jsonl", "upload",
			[]string{"question_id", "answer"}, true},
		{"gqa", "gqa", "answers.jsonl", "predictions", []string{"questionId", "prediction"}, false},
		{"vizwiz", "vizwiz", "answers.jsonl", "upload", []string{"image", "answer"}, false},
	} {
		want := document[map[string]any](t, c.folder, "expected.json")
		var list []map[string]any
		for _, entry := range want[c.expected].([]any) {
			list = append(list, entry.(map[string]any))
		}
		out, report := submitted(t, c.name, c.folder, c.answers, c.partial)
		got, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(strings.Split(pythonDump(list, c.keys...), "}, "), strings.Split(string(got),
			"}, ")); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
		if c.partial != report.Torn || c.partial != (report.Missing > 0) || c.partial != (report.Dropped > 0) ||
			report.Written == 0 {
			t.Errorf("%s: %+v", c.name, report)
		}
	}
}

func TestUploadOfSEED(t *testing.T) {
	want := document[struct{ Upload []map[string]string }](t, "seed", "expected.json").Upload
	out, report := submitted(t, "seed", "seed", "answers.jsonl", false)
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	lines := files.Lines(text)
	if len(lines) != len(want) || !report.Unneeded {
		t.Fatalf("%d lines, want %d; %+v", len(lines), len(want), report)
	}
	for i, line := range lines {
		wanted := `{"question_id": ` + string(pythonString(nil, want[i]["question_id"])) + `, "prediction": ` +
			string(pythonString(nil, want[i]["prediction"])) + "}"
		if string(line.Text) != wanted {
			t.Errorf("line %d is %s, the original's %s", i+1, line.Text, wanted)
		}
	}
}

func TestUploadOfMMVet(t *testing.T) {
	want := document[struct{ Upload map[string]string }](t, "mmvet", "expected.json").Upload
	out, _ := submitted(t, "mmvet", "mmvet", "answers.jsonl", false)
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]string
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !bytes.HasPrefix(text, []byte("{\n  \"v1_0\": \"")) || !bytes.HasSuffix(text, []byte("\"\n}")) {
		t.Errorf("it is not indented as json.dump does: %.60q", text)
	}
}

func TestUploadOfDocVQA(t *testing.T) {
	rows, err := os.ReadFile(recorded(t, "docvqa", "rows.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "rows.jsonl"), rows, 0o666); err != nil {
		t.Fatal(err)
	}
	set := opened(t, "docvqa", folder, "", ToSubmit)
	answers, err := ReadAnswers(recorded(t, "docvqa", "answers.jsonl"), false)
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(folder, "upload.json")
	if _, err := set.Submit(answers, "answers.jsonl", out, false); err != nil {
		t.Fatal(err)
	}
	text, _ := os.ReadFile(out)
	want := document[struct {
		Upload []map[string]any `json:"test_upload"`
	}](t, "docvqa", "expected.json").Upload
	// The first ones were recorded.
	if begin := strings.TrimSuffix(pythonDump(want, "questionId", "answer"), "]"); !strings.HasPrefix(string(text),
		begin) {
		t.Errorf("%.2000s, the original's %s", text, begin)
	}
}

func TestUploadOfMME(t *testing.T) {
	want := document[struct {
		Files map[string]string `json:"upload_files"`
	}](t, "mme", "expected.json").Files
	out, report := submitted(t, "mme", "mme", "answers.jsonl", false)
	names, err := os.ReadDir(out)
	if err != nil || len(names) != len(want) {
		t.Errorf("%d files, want %d, %v", len(names), len(want), err)
	}
	for name, text := range want {
		got, err := os.ReadFile(filepath.Join(out, name))
		if err != nil || string(got) != text {
			t.Errorf("%s: %v\n%s", name, err, cmp.Diff(text, string(got)))
		}
	}
	if report.Changed != 0 {
		t.Errorf("%d answers changed", report.Changed)
	}
}

func TestUploadOfMMBench(t *testing.T) {
	for _, name := range []string{"mmbench_en", "mmbench_cn"} {
		want := document[struct {
			Cells [][]any `json:"upload_cells"`
		}](t, name, "expected.json").Cells
		out, _ := submitted(t, name, name, "answers.jsonl", false)
		got := readSheet(t, out)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// readSheet reads the cells of a workbook; missing ones are nil, up to the width of the first row.
func readSheet(t *testing.T, path string) (cells [][]any) {
	t.Helper()
	archive, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	file, err := archive.Open("xl/worksheets/sheet1.xml")
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(file)
	var sheet struct {
		Rows []struct {
			Cells []struct {
				At     string  `xml:"r,attr"`
				Kind   string  `xml:"t,attr"`
				Number float64 `xml:"v"`
				Text   string  `xml:"is>t"`
			} `xml:"c"`
		} `xml:"sheetData>row"`
	}
	if err := xml.Unmarshal(text, &sheet); err != nil {
		t.Fatal(err)
	}
	for _, row := range sheet.Rows {
		width := len(row.Cells)
		if cells != nil {
			width = len(cells[0])
		}
		list := make([]any, width)
		for _, cell := range row.Cells {
			list[cell.At[0]-'A'] = cell.Number
			if cell.Kind == "inlineStr" {
				list[cell.At[0]-'A'] = cell.Text
			}
		}
		cells = append(cells, list)
	}
	return cells
}

// Whatever a text is, its JSON is ASCII and means the same.
func TestPythonStrings(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		text := rapid.String().Draw(r, "text")
		quoted := pythonString(nil, text)
		var back string
		if err := json.Unmarshal(quoted, &back); err != nil || back != strings.ToValidUTF8(text, "\ufffd") {
			r.Errorf("%s is %q, %v", quoted, back, err)
		}
		for _, b := range quoted {
			if b >= 0x7f || b < 0x20 {
				r.Errorf("%s", quoted)
			}
		}
	})
	if got := string(pythonString(nil, "é\u2028😀<\t\x7f")); got != `"\u00e9\u2028\ud83d\ude00<\t\u007f"` {
		t.Errorf("%s", got)
	}
}
