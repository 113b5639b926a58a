package answer

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Wherever the writing of an answer file was cut off, complete answers are kept and the rest is asked, even for ids
// that occur twice.
func TestUnansweredAtEveryByte(t *testing.T) {
	var questions []question
	var file []byte
	for i, id := range []string{`1`, `"one"`, `1`, `"<é>"`, `2`} {
		q := question{index: i, line: i + 1}
		if err := q.parse([]byte(`{"question_id": ` + id + `, "text": "a \"b\""}`)); err != nil {
			t.Fatal(err)
		}
		line, err := json.Marshal(newQuestionAnswer(q, "yes", "model"))
		if err != nil {
			t.Fatal(err)
		}
		questions, file = append(questions, q), append(append(file, line...), '\n')
	}
	path := filepath.Join(t.TempDir(), "answers.jsonl")
	for n := range len(file) + 1 {
		if err := os.WriteFile(path, file[:n], 0o666); err != nil {
			t.Fatal(err)
		}
		rest, err := unanswered(questions, path)
		if err != nil {
			t.Fatalf("cut at byte %d: %v", n, err)
		}
		whole := bytes.Count(file[:n], []byte("\n"))
		diff := cmp.Diff(questions[whole:], rest, cmp.AllowUnexported(question{}))
		if diff != "" && whole < len(questions) || len(rest) != len(questions)-whole {
			t.Fatalf("cut at byte %d (-want +got):\n%s", n, diff)
		}
		complete := file[:bytes.LastIndexByte(file[:n], '\n')+1]
		if kept, err := os.ReadFile(path); err != nil || !bytes.Equal(kept, complete) {
			t.Fatalf("cut at byte %d: the file holds %q", n, kept)
		}
	}
}

// A file that is not an answer file is refused and keeps every byte.
func TestUnansweredRefusesOtherFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	for _, text := range []string{
		"x", "\n", "{\"a\": 1}\n", "{\"a\": 1}", "[1]\n", "null\n", "{\"question_id\": 1}\n",
		"{\"question_id\":[],\"prompt\":\"\"}\n", "{\"question_id\":1,\"prompt\":\"a\"}\nx",
	} {
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		if rest, err := unanswered(nil, path); err == nil {
			t.Errorf("%q holds answers to all but %d questions", text, len(rest))
		}
		if kept, err := os.ReadFile(path); err != nil || string(kept) != text {
			t.Errorf("%q became %q, %v", text, kept, err)
		}
	}
}

func FuzzQuestion(f *testing.F) {
	f.Add([]byte(`{"question_id": 1, "image": "a.png", "text": "What?"}`))
	f.Add([]byte(`{"question_id": "\ud800", "text": "\u0000"}`))
	f.Add([]byte(`{"question_id": "<&>", "text": "x"}`))
	f.Add([]byte(`{"question_id": 1e999, "text": "x"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		var q question
		if q.parse(line) != nil {
			return
		}
		answer, err := json.Marshal(newQuestionAnswer(q, "a", "m"))
		if err != nil {
			t.Fatalf("%q cannot be answered: %v", line, err)
		}
		if id, err := answeredID(append(answer, '\n')); err != nil || id != string(q.ID) {
			t.Fatalf("%q: the answer %q is to question %q, %v, want %q", line, answer, id, err, q.ID)
		}
	})
}
