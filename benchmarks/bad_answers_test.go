package benchmarks

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// copied is a folder of the recorded set, to be damaged.
func copied(t testing.TB, path ...string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(recorded(t, path...))); err != nil {
		t.Fatal(err)
	}
	filepath.WalkDir(to, func(path string, _ os.DirEntry, _ error) error { return os.Chmod(path, 0o777) })
	return to
}

// change rewrites a file.
func change(t testing.TB, folder, name string, how func(text string) string) {
	t.Helper()
	path := filepath.Join(folder, filepath.FromSlash(name))
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(how(string(text))), 0o666); err != nil {
		t.Fatal(err)
	}
}

// refused checks that an error is the user's, in one line, and says what it should.
func refused(t *testing.T, what string, err error, says string) {
	t.Helper()
	if err == nil || !errors.Is(err, failure.ErrInput) || !strings.Contains(err.Error(), says) ||
		strings.Contains(err.Error(), "\n") {
		t.Errorf("%s: %v; want an input error that says %q", what, err, says)
	}
}

// scoreIn scores the answer file in a folder.
func scoreIn(name, folder, file, rule string, partial bool) (*Result, []Row, error) {
	set, err := Open(name, folder, rule, ToScore)
	if err != nil {
		return nil, nil, err
	}
	defer set.Close()
	path := filepath.Join(folder, file)
	answers, err := ReadAnswers(path, partial)
	if err != nil {
		return nil, nil, err
	}
	return set.Score(answers, path, ScoreOptions{Partial: partial})
}

// textMember is the answer in a line.
var textMember = regexp.MustCompile(`"text": "(?:[^"\\]|\\.)*"`)

func firstLines(n int) func(string) string {
	return func(text string) string { return strings.Join(strings.SplitAfter(text, "\n")[:n], "") }
}

func withoutFirst(text string) string { return text[strings.IndexByte(text, '\n')+1:] }

// Answer files that do not fit: refused with counts and a first place, and scored as far as they fit with --partial.
func TestAnswersThatDoNotFit(t *testing.T) {
	const stranger = `{"question_id": 999999, "prompt": "x", "text": "yes"}` + "\n"
	set := opened(t, "pope", recorded(t, "pope"), "", ToScore)
	n, first := len(set.Questions), set.Questions[0].ID.String()
	for _, c := range []struct {
		name, says string
		how        func(string) string
		check      func(*Result) bool
	}{
		{"an answer without question", fmt.Sprintf("1 answer has no question (question_id "+
			"999999 in line %d); is it the answer file of", n+1),
			func(s string) string { return s + stranger },
			func(r *Result) bool { return r.Strangers == 1 && r.Missing == 0 }},
		{"answers without question", "2 answers have no question (the first: question_id 999999 in line 1)",
			func(s string) string { return stranger + stranger + s }, func(r *Result) bool { return r.Strangers == 2 }},
		{"a question without answer", "1 question has no answer (question_id " + first +
			"); is it the answer file of this split",
			withoutFirst, func(r *Result) bool { return r.Missing == 1 && r.Answered == r.Questions-1 }},
		{"questions without answers", fmt.Sprintf("%d questions have no answer (the first: question_id %s)", n-10,
			set.Questions[10].ID),
			firstLines(10), func(r *Result) bool { return r.Missing == n-10 && r.Answered == 10 }},
		{"a doubled id", fmt.Sprintf("1 question is answered twice (question_id %s in line %d)", first, n+1),
			func(s string) string { return s + firstLines(1)(s) }, func(r *Result) bool { return r.Doubled == 1 }},
	} {
		folder := copied(t, "pope")
		change(t, folder, "answers.jsonl", c.how)
		_, _, err := scoreIn("pope", folder, "answers.jsonl", "", false)
		refused(t, c.name, err, c.says)
		r, _, err := scoreIn("pope", folder, "answers.jsonl", "", true)
		if err != nil || !c.check(r) {
			t.Errorf("%s, partial: %+v, %v", c.name, r, err)
		}
	}
}

// Answer files that cannot be read.
func TestAnswersThatCannotBeRead(t *testing.T) {
	n := len(opened(t, "pope", recorded(t, "pope"), "", ToScore).Questions)
	for what, c := range map[string]struct {
		how  func(string) string
		says string
	}{
		"a torn last line": {func(s string) string { return s[:len(s)-30] }, fmt.Sprintf("line "+
			"%d is cut off: the run that wrote it did not end", n)},
		"no id": {func(s string) string { return `{"prompt": "", "text": ""}` + "\n" + s },
			"line 1: question_id is missing"},
		"no text": {func(s string) string { return s + `{"question_id": 1}` + "\n" },
			fmt.Sprintf("line %d: text is missing: an answer has", n+1)},
		"a strange id": {func(s string) string { return `{"question_id": [1], "text": ""}` + "\n" },
			"line 1: question_id must be a string or a number"},
		"a list": {func(s string) string { return "[]\n" }, "line 1: it is a list; want an object"},
		"another type": {func(s string) string { return `{"question_id": 1, "text": 5}` + "\n" },
			`"text" is a number; want text`},
		"damage within": {func(s string) string { return "{\"question_id\": \n" + s }, "line 1: it is not JSON"},
		"nothing":       {func(s string) string { return "\n" }, "has no answers"},
		"UTF-16":        {func(s string) string { return "\xff\xfe{" }, "UTF-16"},
		"another benchmark": {func(s string) string {
			return regexp.MustCompile(`"question_id": (\d+)`).ReplaceAllString(s, `"question_id": "x$1"`)
		}, fmt.Sprintf("%d answers have no question", n)},
	} {
		folder := copied(t, "pope")
		change(t, folder, "answers.jsonl", c.how)
		_, _, err := scoreIn("pope", folder, "answers.jsonl", "", false)
		refused(t, what, err, c.says)
	}
	folder := copied(t, "pope")
	_, _, err := scoreIn("pope", folder, "nothing.jsonl", "", false)
	refused(t, "no file", err, "answers: "+filepath.Join(folder, "nothing.jsonl"))
	change(t, folder, "answers.jsonl", func(s string) string {
		return regexp.MustCompile(`"question_id": (\d+)`).ReplaceAllString(s, `"question_id": "x$1"`)
	})
	_, _, err = scoreIn("pope", folder, "answers.jsonl", "", true)
	refused(t, "nothing fits, partial", err, fmt.Sprintf("none of its %d answers belongs to a question of pope", n))
	change(t, folder, "answers.jsonl", func(s string) string { return strings.ReplaceAll(s, `"x`, `"`)[:len(s)/2] })
	r, _, err := scoreIn("pope", folder, "answers.jsonl", "", true)
	if err != nil || !r.Torn || r.Answered == 0 {
		t.Errorf("a torn last line, partial: %+v, %v", r, err)
	}
}

// What editors and systems do to text files changes no figure: carriage returns, a byte order mark, no last line break,
// another order; nor do line breaks of Unicode within an answer, which are no ends of lines.
func TestFilesOfOtherSystems(t *testing.T) {
	want, _ := scored(t, "pope", "pope", "answers.jsonl", "")
	for what, how := range map[string]func(string) string{
		"CR LF":         func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") },
		"BOM":           func(s string) string { return "\ufeff" + s },
		"no last break": func(s string) string { return strings.TrimSuffix(s, "\n") },
		"blank lines":   func(s string) string { return "\n" + strings.ReplaceAll(s, "\n", "\n \n") },
		"order": func(s string) string {
			lines := strings.Split(strings.TrimSpace(s), "\n")
			for i := range len(lines) / 2 {
				lines[i], lines[len(lines)-1-i] = lines[len(lines)-1-i], lines[i]
			}
			return strings.Join(lines, "\n") + "\n"
		},
	} {
		folder := copied(t, "pope")
		for _, name := range []string{"answers.jsonl", "llava_pope_test.jsonl", "coco/coco_pope_random.json"} {
			if what == "order" && name != "answers.jsonl" {
				continue
			}
			change(t, folder, name, how)
		}
		r, _, err := scoreIn("pope", folder, "answers.jsonl", "", false)
		if err != nil || r.Metrics["f1"] != want.Metrics["f1"] || r.Prompts != want.Prompts {
			t.Errorf("%s: %v, %v", what, r, err)
		}
	}
	folder := copied(t, "pope")
	change(t, folder, "answers.jsonl", func(s string) string {
		return textMember.ReplaceAllString(s, "\"text\": \"No\u2028yes\u0085\"")
	})
	_, rows, err := scoreIn("pope", folder, "answers.jsonl", "", false)
	if err != nil || rows[0].Answer != "No\u2028yes\u0085" {
		t.Errorf("U+2028: %v", err)
	}
	change(t, folder, "answers.jsonl", func(s string) string {
		return textMember.ReplaceAllString(s, `"text": ""`)
	})
	r, _, err := scoreIn("pope", folder, "answers.jsonl", "lmms", false)
	if err != nil || r.Empty != r.Questions || r.Unparsed != r.Questions || r.Metrics["accuracy"] != 0 {
		t.Errorf("empty answers: %+v, %v", r, err)
	}
}

func TestNamesThatAreUnknown(t *testing.T) {
	_, err := Open("pop", recorded(t, "pope"), "", ToScore)
	refused(t, "benchmark", err, `benchmark must be one of ai2d, `)
	_, err = Open("pope", recorded(t, "pope"), "official", ToScore)
	refused(t, "rule", err, `rule of pope must be one of original, lmms`)
	_, err = Open("pope", recorded(t, "pope", "answers.jsonl"), "", ToScore)
	refused(t, "folder", err, "is a file; give the folder that holds the benchmark's files")
}

// Where labels are hidden there is no score, and where they are public no upload; a judged rule needs replies.
func TestWhatCannotBeScored(t *testing.T) {
	_, _, err := scoreIn("vqav2", recorded(t, "vqav2_test"),
		"answers/llava_vqav2_mscoco_test-dev2015/made-up-7b/merge.jsonl", "", true)
	refused(t, "hidden", err, "split test2015, are not public: `llavatrain benchmark "+
		"submit vqav2` writes what its server takes")
	_, _, err = scoreIn("mmvet", recorded(t, "mmvet"), "answers.jsonl", "", false)
	refused(t, "judged", err, "scores by a judge's replies: `llavatrain benchmark judge mmvet` asks for them")
	set := opened(t, "pope", recorded(t, "pope"), "", ToSubmit)
	answers, err := ReadAnswers(recorded(t, "pope", "answers.jsonl"), false)
	if err != nil {
		t.Fatal(err)
	}
	_, err = set.Submit(answers, "answers.jsonl", filepath.Join(t.TempDir(), "out"), false)
	refused(t, "public", err, "pope has no server to submit to: its labels are "+
		"public, and `llavatrain benchmark score pope`")
}

// An upload with answers missing would be scored by the server as wrong answers.
func TestUploadsAreComplete(t *testing.T) {
	for _, c := range []struct{ name, folder, file string }{{"gqa", "gqa", "answers.jsonl"},
		{"vizwiz", "vizwiz", "answers.jsonl"}, {"seed", "seed", "answers.jsonl"}, {"mme", "mme", "answers.jsonl"},
		{"mmbench_en", "mmbench_en", "answers.jsonl"}, {"mmvet", "mmvet", "answers.jsonl"}} {
		folder := copied(t, c.folder)
		change(t, folder, c.file, withoutFirst)
		set := opened(t, c.name, folder, "", ToSubmit)
		path := filepath.Join(folder, c.file)
		answers, err := ReadAnswers(path, false)
		if err != nil {
			t.Fatal(err)
		}
		out := filepath.Join(t.TempDir(), "out")
		_, err = set.Submit(answers, path, out, false)
		refused(t, c.name, err, "1 question has no answer")
		if _, err := os.Stat(out); err == nil {
			t.Errorf("%s: an upload was written all the same", c.name)
		}
		report, err := set.Submit(answers, path, out, true)
		if err != nil || report.Missing != 1 || report.Written != len(answers.List) {
			t.Errorf("%s, partial: %+v, %v", c.name, report, err)
		}
	}
	// Answers to all of test-dev are complete: the figure is of test-dev.
	folder := copied(t, "vqav2_test")
	set := opened(t, "vqav2", folder, "", ToSubmit)
	var lines strings.Builder
	for id := range set.expected {
		lines.WriteString(`{"question_id": ` + id + `, "prompt": "", "text": "yes"}` + "\n")
	}
	path := filepath.Join(folder, "all.jsonl")
	os.WriteFile(path, []byte(lines.String()), 0o666)
	answers, err := ReadAnswers(path, false)
	if err != nil {
		t.Fatal(err)
	}
	report, err := set.Submit(answers, path, filepath.Join(folder, "out"), false)
	if err != nil || report.Missing != 0 || report.Written != len(set.expected) ||
		len(set.Questions) == len(set.expected) {
		t.Errorf("test-dev: %+v, %v", report, err)
	}
}

// An answer with a tab ends MME's tool in an error. Here it is scored as it is, and written with a space.
func TestMMEWithATabAndABreak(t *testing.T) {
	folder := copied(t, "mme")
	texts := []string{"No\tIt is not.", "Yes\nIt is."}
	at := 0
	change(t, folder, "answers.jsonl", func(s string) string {
		return textMember.ReplaceAllStringFunc(s, func(string) string {
			at++
			return `"text": ` + string(pythonString(nil, texts[at%2]))
		})
	})
	r, rows, err := scoreIn("mme", folder, "answers.jsonl", "", false)
	if err != nil || r.Unparsed != 0 || rows[0].Parsed != "yes" || rows[1].Parsed != "no" {
		t.Fatalf("%+v, %v", r, err)
	}
	set := opened(t, "mme", folder, "", ToSubmit)
	answers, _ := ReadAnswers(filepath.Join(folder, "answers.jsonl"), false)
	out := filepath.Join(folder, "upload")
	report, err := set.Submit(answers, "", out, false)
	if err != nil || report.Changed != len(set.Questions) {
		t.Errorf("%+v, %v", report, err)
	}
	text, _ := os.ReadFile(filepath.Join(out, "count.txt"))
	for _, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
		if strings.Count(line, "\t") != 3 || !strings.HasSuffix(line, "No It is not.") && !strings.HasSuffix(line,
			"Yes It is.") {
			t.Errorf("%q", line)
		}
	}
}

// LLaVA-Bench's "8, 9" fails in the original, and counts as minus one.
func TestRepliesWithAComma(t *testing.T) {
	for rule, want := range map[string]float64{"original": unread, "lmms": 9, "readable": 9} {
		by, err := llavaBench.rule(rule)
		if err != nil {
			t.Fatal(err)
		}
		if m := by.reply(nil, "8, 9\nbecause"); m.Score != want || m.Unparsed != (want == unread) {
			t.Errorf("%s: %+v", rule, m)
		}
	}
}

// Whatever an answer file holds, there is an error or a result.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte(`{"question_id": 1, "prompt": "p", "text": "t", "metadata": {"step": 5}}` + "\n"))
	f.Add([]byte("{\"question_id\": \"a\", \"text\": \"\"}\r\n{"))
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(t.TempDir(), "a.jsonl")
		if err := os.WriteFile(path, text, 0o666); err != nil {
			t.Skip()
		}
		answers, err := ReadAnswers(path, true)
		if err != nil {
			if !errors.Is(err, failure.ErrInput) {
				t.Error(err)
			}
			return
		}
		set := &Set{Benchmark: chartQA, Rule: &chartQA.Rules[0], Labelled: true, Questions: []Question{
			{ID: numberID(1), Prompt: "p", key: key{answers: []string{"t"}}}, {ID: numberID(1), Prompt: "q",
				key: key{answers: []string{"5"}}}}}
		_, _, err = set.Score(answers, path, ScoreOptions{Partial: true})
		if err != nil && !errors.Is(err, failure.ErrInput) {
			t.Error(err)
		}
	})
}
