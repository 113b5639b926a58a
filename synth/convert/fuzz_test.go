package convert

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// fuzzFormat checks that no files of a format do more than be refused as the user's, or give proper rows.
func fuzzFormat(f *testing.F, format string, o Options) {
	f.Helper()
	f.Fuzz(func(t *testing.T, first, second []byte) {
		dir := t.TempDir()
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

func FuzzVQA(f *testing.F) {
	f.Add([]byte(`{"questions": [{"question_id": 1, "image_id": 1, "question": "A?"}]}`),
		[]byte(`{"info": {}, "annotations": [{"question_id": 1, "multiple_choice_answer": "a"},
		{"question_id": 2, "answers": [{"answer": "b"}]}]}`))
	fuzzFormat(f, "vqa", Options{})
}

func FuzzGQA(f *testing.F) {
	f.Add([]byte(`{"1": {"imageId": "n1", "question": "A?", "answer": "b", "isBalanced": true}}`), []byte{})
	fuzzFormat(f, "gqa", Options{Limit: 1})
}

func FuzzAOKVQA(f *testing.F) {
	f.Add([]byte(`[{"image_id": 1, "question": "A?", "choices": ["a", "b"], "correct_choice_idx": 1}]`), []byte{})
	fuzzFormat(f, "aokvqa", Options{Prompt: "every"})
}

func FuzzTextCaps(f *testing.F) {
	f.Add([]byte(`{"data": [{"image_id": "a", "caption_str": "b"}]}`), []byte{})
	f.Add([]byte(`{"data": [{"image_id": "a", "reference_strs": ["b", "c"]}]}`),
		[]byte(`{"data": [{"image_id": "a", "ocr_tokens": ["d"]}]}`))
	fuzzFormat(f, "textcaps", Options{})
}

func FuzzOCRVQA(f *testing.F) {
	f.Add([]byte(`{"1": {"split": 1, "questions": ["A?", "B?"], "answers": ["a", "b"]}}`), []byte{})
	fuzzFormat(f, "ocrvqa", Options{Limit: 2})
}

func FuzzRefCOCO(f *testing.F) {
	f.Add([]byte(`[{"ref_id": 1, "image_id": 1, "width": 9, "height": 8, "bbox": [1, 2, 3, 4],
		"sentences": ["a", "b"]}]`), []byte{})
	f.Add([]byte(`[{"ref_id": 1, "image_id": 1, "ann_id": 5, "split": "train", "sentences": [{"sent": "a"}]}]`),
		[]byte(`{"images": [{"id": 1, "width": 9, "height": 8}],
		"annotations": [{"id": 5, "image_id": 1, "bbox": [1, 2, 3, 4]}]}`))
	f.Add([]byte(`{"images": [{"id": 7, "width": 9, "height": 8, "original_id": 1, "caption": "a"}],
		"annotations": [{"id": 5, "image_id": 7, "bbox": [1, 2, 3, 4]}]}`), []byte{})
	fuzzFormat(f, "refcoco", Options{Size: sized(7, 9)})
}

func FuzzGenome(f *testing.F) {
	f.Add([]byte(`[{"id": 1, "regions": [{"region_id": 2, "x": 1, "y": 1, "width": 2, "height": 2, "phrase": "a"}]}]`),
		[]byte(`[{"image_id": 1, "width": 9, "height": 8, "url": "https://a/VG_100K/1.jpg"}]`))
	fuzzFormat(f, "visual-genome", Options{Frame: "original", Size: sized(7, 9)})
}

func FuzzScienceQA(f *testing.F) {
	f.Add([]byte(`{"1": {"question": "A?", "choices": ["a", "b"], "answer": 1, "hint": "h", "image": "image.png"},
		"2": {"question": "A?", "choices": ["a"], "answer": 0, "hint": "", "image": null}}`),
		[]byte(`{"train": ["2", "1"], "val": []}`))
	fuzzFormat(f, "scienceqa", Options{})
}
