package answer

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/runs/failure"
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
		if answers, err := Mend(path); answers != whole || err != nil {
			t.Fatalf("cut at byte %d: %d answers, %v", n, answers, err)
		}
		complete := file[:bytes.LastIndexByte(file[:n], '\n')+1]
		if kept, err := os.ReadFile(path); err != nil || !bytes.Equal(kept, complete) {
			t.Fatalf("cut at byte %d: the file holds %q", n, kept)
		}
	}
}

// A question file may begin with a byte order mark; other kinds of file are named, as they are for data sets.
func TestReadQuestions(t *testing.T) {
	const two = `{"question_id":1,"text":"a","n":1}` + "\n\n" + `{"question_id":2,"text":"b","n":2,"category":"c"}`
	path := filepath.Join(t.TempDir(), "questions.jsonl")
	for text, want := range map[string]string{
		two:                              "",
		"\xef\xbb\xbf" + two:             "",
		"\xff\xfe{\x00\"\x00":            "it is UTF-16 text: save it as UTF-8",
		"{\x00\"\x00":                    "it is UTF-16 text: save it as UTF-8",
		"\x1f\x8b\x08\x00":               "it is compressed by gzip: unpack it with gunzip",
		"[" + two + "]":                  "line 1: it is not an object with question_id, image and text: ",
		`[{"question_id":1}]`:            "line 1: it is not an object with question_id, image and text, but a list",
		two + "\n" + two[:20]:            "line 4: it is not an object",
		`{"text":"a"}`:                   "line 1: question_id is missing",
		`{"question_id":NaN,"text":"a"}`: "line 1: question_id must be a string or a number",
	} {
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		got, err := readQuestions(path)
		if want != "" {
			if !errors.Is(err, failure.ErrInput) || !strings.Contains(err.Error(), "questions.jsonl") ||
				!strings.Contains(err.Error(), want) {
				t.Errorf("%q: error is %v, want %q", text, err, want)
			}
		} else if err != nil || len(got) != 2 || got[1].line != 3 || unreadKeys(got) != "category (1), n (2)" {
			t.Errorf("%q: %v, %+v, unread %s", text, err, got, unreadKeys(got))
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
