package convert

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

// recorded is the path of recorded files that lie beside the repository.
func recorded(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join("../../../shared", name)
	if _, err := os.Stat(path); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("needs recorded files: %v", err)
	}
	return path
}

func readJSON(t testing.TB, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// converted is what Convert makes of files that it accepts.
func converted(t testing.TB, format string, files []string, o Options) ([]row, Report) {
	t.Helper()
	var out bytes.Buffer
	report, err := Convert(&out, format, files, o)
	if err != nil {
		t.Fatalf("%s: %v", format, err)
	}
	var rows []row
	if err := json.Unmarshal(out.Bytes(), &rows); err != nil {
		t.Fatalf("%s wrote no JSON: %v", format, err)
	}
	return rows, report
}

// written writes the texts into files.
func written(t testing.TB, texts ...string) (paths []string) {
	t.Helper()
	dir := t.TempDir()
	for i, text := range texts {
		path := filepath.Join(dir, string(rune('a'+i))+".json")
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	return paths
}

// recordings are the recorded rows by name, with the files that they were made of.
var recordings = map[string]struct {
	format  string
	files   []string
	limited bool
	frame   string
}{
	"vqa":                    {"vqa", []string{"vqa-questions", "vqa-annotations"}, false, ""},
	"okvqa":                  {"vqa", []string{"okvqa-questions", "okvqa-annotations"}, false, ""},
	"gqa":                    {"gqa", []string{"gqa"}, false, ""},
	"aokvqa":                 {"aokvqa", []string{"aokvqa"}, false, ""},
	"textcaps":               {"textcaps", []string{"textcaps", "textcaps-ocr"}, false, ""},
	"ocrvqa":                 {"ocrvqa", []string{"ocrvqa"}, true, ""},
	"refcoco":                {"refcoco", []string{"refcoco"}, false, "padded"},
	"refcoco_original_frame": {"refcoco", []string{"refcoco"}, false, "original"},
	"vg":                     {"visual-genome", []string{"vg-regions", "vg-images"}, false, "padded"},
}

// The recorded rows were made by another program, from the rules alone.
func TestRecordedRows(t *testing.T) {
	dir := recorded(t, "parity-synth/convert")
	var expected map[string]struct {
		Dropped int   `json:"dropped"`
		Rows    []row `json:"rows"`
	}
	readJSON(t, filepath.Join(dir, "expected.json"), &expected)
	for name, want := range expected {
		t.Run(name, func(t *testing.T) {
			s, ok := recordings[name]
			if !ok {
				t.Fatal("the test does not know these recorded rows")
			}
			var files []string
			for _, file := range s.files {
				files = append(files, filepath.Join(dir, file+".json"))
			}
			o := Options{Seed: 42, Frame: s.frame}
			if s.limited {
				o.Limit = len(want.Rows)
			}
			rows, report := converted(t, s.format, files, o)
			if diff := cmp.Diff(want.Rows, rows); diff != "" {
				t.Errorf("rows (-want +got):\n%s", diff)
			}
			if report.Dropped.Total() != want.Dropped {
				t.Errorf("dropped %v, want %d", report.Dropped, want.Dropped)
			}
			pairs := 0
			for _, r := range want.Rows {
				pairs += len(r.Turns) / 2
			}
			if report.Rows != len(want.Rows) || report.Pairs != pairs {
				t.Errorf("report %+v, want %d rows and %d pairs", report, len(want.Rows), pairs)
			}
		})
	}
	if len(expected) != len(recordings) {
		t.Errorf("%d sets are recorded, %d known", len(expected), len(recordings))
	}
}

// The rows of the recorded ScienceQA problems ask as its evaluation does: as the question file and, with its line, as
// the prompts that reached the model.
func TestRecordedScienceQA(t *testing.T) {
	dir := recorded(t, "parity-bench/scienceqa")
	var questions []row
	readJSON(t, filepath.Join(dir, "llava_test_CQM-A.json"), &questions)
	rows, report := converted(t, "scienceqa",
		[]string{filepath.Join(dir, "problems.json"), filepath.Join(dir, "pid_splits.json")}, Options{Split: "test"})
	asked := map[string]string{}
	for _, r := range rows {
		asked[r.ID] = r.Turns[0].Value
	}
	for i := range questions {
		questions[i].Turns[0].Value += "\n" + letterLine
	}
	if diff := cmp.Diff(questions, rows); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if len(report.Dropped) > 0 || report.Rows != len(questions) {
		t.Errorf("report %+v of %d questions", report, len(questions))
	}
	checkAsked(t, dir, asked)
}

// checkAsked compares the questions with those that the recorded answers name, and those that reached the model.
func checkAsked(t *testing.T, dir string, asked map[string]string) {
	t.Helper()
	answers, err := os.ReadFile(filepath.Join(dir, "answers.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	prompts := 0
	for line := range strings.Lines(string(answers)) {
		var answer struct {
			ID     string `json:"question_id"`
			Prompt string `json:"prompt"`
		}
		if err := json.Unmarshal([]byte(line), &answer); err != nil {
			t.Fatal(err)
		}
		prompts++
		if answer.Prompt != asked[answer.ID] {
			t.Errorf("problem %s: %q, want %q", answer.ID, asked[answer.ID], answer.Prompt)
		}
	}
	var reached struct{ Prompts []string }
	readJSON(t, filepath.Join(dir, "prompts.json"), &reached)
	all := map[string]bool{}
	for _, question := range asked {
		all[question] = true
	}
	for _, prompt := range reached.Prompts {
		_, prompt, _ = strings.Cut(prompt, "USER: ")
		if prompt = strings.TrimSuffix(prompt, " ASSISTANT:"); !all[prompt] {
			t.Errorf("the model was asked %q, and no row asks so", prompt)
		}
	}
	if prompts == 0 || len(reached.Prompts) == 0 {
		t.Error("no prompts are recorded")
	}
}

// Wrong numbers of files, and options.
func TestArguments(t *testing.T) {
	for _, c := range []struct {
		format string
		files  []string
		o      Options
		want   string
	}{
		{"voc", nil, Options{}, `format must be one of aokvqa, gqa, ocrvqa, refcoco, scienceqa, textcaps, ` +
			`visual-genome, vqa, not "voc"`},
		{"vqa", []string{"a"}, Options{}, "format vqa: the file of annotations is missing: give questions " +
			"(v2_OpenEnded_mscoco_train2014_questions.json), annotations (v2_mscoco_train2014_annotations.json)"},
		{"textcaps", nil, Options{}, "format textcaps: the file of captions is missing: give captions " +
			"(TextCaps_0.1_train.json), optionally OCR tokens (TextVQA_Rosetta_OCR_v0.2_train.json)"},
		{"gqa", []string{"a", "b"}, Options{}, `format gqa: "b" is one file too many: give questions ` +
			`(train_balanced_questions.json)`},
		{"gqa", []string{"a"}, Options{Frame: "x"}, `frame must be one of padded, original, not "x"`},
		{"gqa", []string{"a"}, Options{Prompt: "x"}, `prompt must be one of first, every, not "x"`},
		{"gqa", []string{"a"}, Options{Limit: -1}, "limit is -1; it must be 1 or more, or 0 for all"},
		{"gqa", []string{"a"}, Options{Split: "test"}, "format gqa: there is no split to name, " +
			"its training questions are converted"},
		{"gqa", []string{"/nowhere/a"}, Options{}, "open /nowhere/a: no such file or directory"},
	} {
		_, err := Convert(&bytes.Buffer{}, c.format, c.files, c.o)
		if err == nil || err.Error() != c.want || !errors.Is(err, failure.ErrInput) {
			t.Errorf("%v\nwant %s", err, c.want)
		}
	}
}
