package benchmarks

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// runOf scores the answers in a folder, and writes and reads the result.
func runOf(t testing.TB, name, folder, file, rule string) *Run {
	t.Helper()
	r, rows, err := scoreIn(name, folder, file, rule, false)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "result.json")
	if err := r.Write(path, rows); err != nil {
		t.Fatal(err)
	}
	run, err := ReadRun(path)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// better makes the answers to some questions right.
func better(every int, right string) func(string) string {
	return func(text string) string {
		lines := strings.SplitAfter(text, "\n")
		for i := range lines {
			if i%every == 0 {
				lines[i] = textMember.ReplaceAllString(lines[i], `"text": "`+right+`"`)
			}
		}
		return strings.Join(lines, "")
	}
}

// What is written is read, and gives the same figures again.
func TestResultsAreReadBack(t *testing.T) {
	for _, c := range []struct{ name, rule string }{{"pope", "original"}, {"mme", "original"}, {"gqa", "original"},
		{"mmbench_en", "vlmeval"}, {"mmstar", "lmms"}, {"mmmu", "official"}, {"scienceqa", "original"}} {
		r, rows, err := scoreIn(c.name, recorded(t, c.name), "answers.jsonl", c.rule, false)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "out", "result.json")
		os.MkdirAll(filepath.Dir(path), 0o777)
		if err := r.Write(path, rows); err != nil {
			t.Fatal(err)
		}
		run, err := ReadRun(path)
		if err != nil {
			t.Fatal(err)
		}
		unordered := cmp.Options{cmpopts.IgnoreUnexported(Result{}), cmp.AllowUnexported(ID{}),
			cmp.Comparer(func(a, b *Number) bool { return (a == nil) == (b == nil) }), cmp.AllowUnexported(Row{})}
		if diff := cmp.Diff(*r, run.Result, unordered); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
		if diff := cmp.Diff(rows, run.Rows, unordered); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
		same, err := Compare(run, run)
		if err != nil || len(same.Figures) != len(r.Metrics) || len(same.Flips) != 0 {
			t.Fatalf("%s: %+v, %v", c.name, same, err)
		}
		for _, d := range same.Figures {
			if d.A != r.Metrics[d.Name] || d.Change != 0 || d.Low != 0 || d.High != 0 {
				t.Errorf("%s: %+v, want %v", c.name, d, r.Metrics[d.Name])
			}
		}
		if !strings.HasPrefix(same.Verdict(), "no difference in ") {
			t.Error(same.Verdict())
		}
	}
}

func TestCompare(t *testing.T) {
	folder := copied(t, "realworldqa")
	before := runOf(t, "realworldqa", folder, "answers.jsonl", "")
	change(t, folder, "answers.jsonl", better(2, "A"))
	after := runOf(t, "realworldqa", folder, "answers.jsonl", "")
	c, err := Compare(before, after)
	if err != nil {
		t.Fatal(err)
	}
	fixed, broken := 0, 0
	for _, f := range c.Flips {
		fixed, broken = fixed+count(f.Fixed), broken+count(!f.Fixed)
		if f.A == f.B || f.Label == "" || f.Prompt == "" {
			t.Errorf("%+v", f)
		}
	}
	d := c.Figures[0]
	if len(c.Flips) == 0 || d.Fixed != fixed || d.Broken != broken ||
		!nearly(d.Change, 100*float64(fixed-broken)/float64(len(before.Rows))) || d.McNemar <= 0 || d.McNemar > 1 ||
		d.Low > d.Change || d.High < d.Change {
		t.Errorf("%d fixed, %d broken: %+v", fixed, broken, d)
	}
	lines := c.Lines(1)
	if len(lines) != 3 || !strings.Contains(lines[0], "fixed,") || !strings.Contains(lines[1], "question_id") ||
		!strings.HasPrefix(lines[2], "and ") {
		t.Errorf("%q", lines)
	}
	back, err := Compare(after, before)
	if err != nil || back.Figures[0].Change != -d.Change || len(back.Flips) != len(c.Flips) {
		t.Errorf("%+v, %v", back.Figures, err)
	}
}

func nearly(a, b float64) bool { return a-b < 1e-9 && b-a < 1e-9 }

// Figures that are no accuracies are compared as what they are.
func TestCompareOtherFigures(t *testing.T) {
	folder := copied(t, "pope")
	before := runOf(t, "pope", folder, "answers.jsonl", "")
	change(t, folder, "answers.jsonl", better(3, "Yes"))
	after := runOf(t, "pope", folder, "answers.jsonl", "")
	c, err := Compare(before, after)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range c.Figures {
		if !nearly(d.B, after.Result.Metrics[d.Name]) || d.Low > d.Change || d.High < d.Change {
			t.Errorf("%+v", d)
		}
		if ratio := strings.HasSuffix(d.Name, "f1") || strings.HasSuffix(d.Name, "precision"); ratio && d.McNemar != 0 {
			t.Errorf("%s has a test of right and wrong", d.Name)
		}
	}
}

func TestWhatCannotBeCompared(t *testing.T) {
	folder := copied(t, "textvqa")
	base := runOf(t, "textvqa", folder, "answers.jsonl", "")
	vlmeval := runOf(t, "textvqa", folder, "answers.jsonl", "vlmeval")
	_, err := Compare(base, vlmeval)
	refused(t, "rules", err, `the rule of one is "original", of the other "vlmeval"`)
	_, err = Compare(base, runOf(t, "gqa", recorded(t, "gqa"), "answers.jsonl", ""))
	refused(t, "benchmarks", err, `the benchmark of one is "textvqa", of the other "gqa"`)
	change(t, folder, "answers.jsonl", func(s string) string {
		return strings.Replace(s, "Reference OCR token: ", "Reference OCR token: another, ", 1)
	})
	_, err = Compare(base, runOf(t, "textvqa", folder, "answers.jsonl", ""))
	refused(t, "prompts", err, fmt.Sprintf("1 of %d prompts differ: question_id ", len(base.Rows)))
	if err == nil || !strings.Contains(err.Error(), "token: another") {
		t.Errorf("it does not show the difference: %v", err)
	}
	change(t, folder, textLabels, func(s string) string { return s + "\n" })
	_, err = Compare(base, runOf(t, "textvqa", folder, "answers.jsonl", ""))
	refused(t, "files", err, "they rest on different files: TextVQA_0.5.1_val.json is ")
	other := *base
	other.Result.Judge = "gpt-4"
	_, err = Compare(base, &other)
	refused(t, "judges", err, `the judge of one is "", of the other "gpt-4"`)
	other = *base
	other.Rows = base.Rows[1:]
	_, err = Compare(base, &other)
	refused(t, "questions", err, fmt.Sprintf("one has %d questions, the other %d", len(base.Rows), len(base.Rows)-1))
	other.Rows = append(append([]Row{}, base.Rows[1:]...), base.Rows[0])
	_, err = Compare(base, &other)
	refused(t, "order", err, "they have answers to different questions")
	path := filepath.Join(t.TempDir(), "a.json")
	os.WriteFile(path, []byte("{}"), 0o666)
	_, err = ReadRun(path)
	refused(t, "no result", err, "is no result of `llavatrain benchmark score --json`")
	_, err = ReadRun(path + "x")
	refused(t, "no file", err, "no such file")
	os.Remove(filepath.Join(filepath.Dir(base.Path), base.Result.Rows))
	_, err = ReadRun(base.Path)
	refused(t, "no rows", err, "result.rows.jsonl: no such file")
}

// The conditions of a run go from its answers into the result.
func TestConditions(t *testing.T) {
	folder := copied(t, "chartqa")
	change(t, folder, "answers.jsonl", func(s string) string {
		s = strings.ReplaceAll(s, `"metadata": {}`,
			`"metadata": {"step": 500, "template": "vicuna_v1", "temperature": 0}`)
		return strings.Replace(s, `"step": 500`, `"step": 500, "cut": true`, 3)
	})
	r, _, err := scoreIn("chartqa", folder, "answers.jsonl", "", false)
	if err != nil || r.Model != "made-up-7b" || r.Conditions.Step != 500 || r.Conditions.Template != "vicuna_v1" ||
		r.Cut != 3 || r.Mixed || r.Conditions.Cut {
		t.Errorf("%+v, %v", r, err)
	}
	change(t, folder, "answers.jsonl", func(s string) string { return strings.Replace(s, "500", "600", 1) })
	if r, _, err = scoreIn("chartqa", folder, "answers.jsonl", "", false); err != nil || !r.Mixed {
		t.Errorf("%+v, %v", r, err)
	}
	q := &Question{ID: numberID(7), Prompt: "What?"}
	first, second := NewAnswer(q, "cat", "m", Conditions{}), NewAnswer(q, "dog", "m", Conditions{})
	if first.AnswerID == second.AnswerID || len(first.AnswerID) != 22 || first.Prompt != "What?" {
		t.Errorf("%+v, %+v", first, second)
	}
}

// An answer to MMBench has what the original's has.
func TestAnswersOfMMBench(t *testing.T) {
	set := opened(t, "mmbench_en", recorded(t, "mmbench_en"), "", ToScore)
	answers, err := ReadAnswers(recorded(t, "mmbench_en", "answers.jsonl"), false)
	if err != nil {
		t.Fatal(err)
	}
	same := 0
	for i, theirs := range set.Join(answers).Answers {
		q := &set.Questions[i]
		ours := NewAnswer(q, theirs.Text, theirs.ModelID, Conditions{})
		if slices.ContainsFunc(q.options, isNone) { // the end of the list, for the original
			continue
		}
		same++
		if diff := cmp.Diff(*theirs, ours, cmp.AllowUnexported(ID{}), cmpopts.IgnoreUnexported(Answer{}),
			cmpopts.IgnoreFields(Answer{}, "AnswerID")); diff != "" {
			t.Errorf("question %s: %s", q.ID, diff)
		}
	}
	if same < len(set.Questions)/2 {
		t.Errorf("%d of %d compared", same, len(set.Questions))
	}
}

func TestLines(t *testing.T) {
	r, _ := scored(t, "gqa", "gqa", "answers.jsonl", "original")
	if text := strings.Join(r.Lines(), "\n"); !strings.HasPrefix(text, "accuracy ") || !strings.Contains(text, " ± ") {
		t.Error(text)
	}
	r.Strangers, r.Cut = 2, 1
	if want := fmt.Sprintf("gqa by rule original: %d of %d questions answered, 2 answers without a question",
		r.Questions, r.Questions); !strings.HasPrefix(r.Counts(), want) ||
		!strings.HasSuffix(r.Counts(), "1 cut at the limit of tokens") {
		t.Error(r.Counts())
	}
}

// Every benchmark has what the commands and the documentation list.
func TestTable(t *testing.T) {
	names := map[string]bool{}
	for _, b := range All() {
		if names[b.Name] || b.Title == "" || b.Hub == "" || b.Limit == 0 || len(b.Files) == 0 || len(b.Rules) == 0 ||
			(b.Upload == "") != (b.submit == nil) {
			t.Errorf("%+v", b)
		}
		names[b.Name] = true
		for _, rule := range b.Rules {
			if rule.What == "" || rule.Judged != (rule.mark == nil) || rule.Judged != (rule.reply != nil) {
				t.Errorf("%s: %+v", b.Name, rule)
			}
		}
	}
}
