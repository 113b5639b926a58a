package benchmarks

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// once replaces what an expression finds first.
func once(expression, by string) func(string) string {
	e := regexp.MustCompile(expression)
	return func(text string) string {
		at := e.FindStringSubmatchIndex(text)
		return text[:at[0]] + string(e.ExpandString(nil, by, text, at)) + text[at[1]:]
	}
}

// Labels of another release are refused, whatever is asked for: the original gave a figure for them.
func TestLabelsOfAnotherRelease(t *testing.T) {
	folder := copied(t, "pope")
	other, err := os.ReadFile(recorded(t, "pope", "coco_other_release", "coco_pope_random.json"))
	if err != nil {
		t.Fatal(err)
	}
	change(t, folder, "coco/coco_pope_random.json", func(string) string { return string(other) })
	for _, partial := range []bool{false, true} {
		_, _, err := scoreIn("pope", folder, "answers.jsonl", "", partial)
		refused(t, "POPE", err, "labels no question: the files are of different releases, get both from the same place")
	}
	for _, c := range []struct {
		name, folder, file, says string
		how                      func(string) string
	}{
		{"pope", "pope", "coco/coco_pope_random.json", "1 questions of llava_pope_test.jsonl (random) have no label",
			withoutFirst},
		{"pope", "pope", "coco/coco_pope_popular.json", "line 1: label is \"maybe\"; want yes or no",
			func(s string) string { return strings.Replace(s, `"yes"`, `"maybe"`, 1) }},
		{"pope", "pope", "llava_pope_test.jsonl", "and 1 labels no question", withoutFirst},
		{"gqa", "gqa", "testdev_balanced_questions.json", "of different releases",
			once(`^\{"[^"]+": `, `{"x": `)},
		{"gqa", "gqa", "testdev_balanced_questions.json", "is a list; want an " +
			"object; is it the file of another release?",
			func(s string) string { return "[]" }},
		{"textvqa", "textvqa", "TextVQA_0.5.1_val.json", "of different releases",
			func(s string) string { return strings.Replace(s, `"question": "`, `"question": "x`, 1) }},
		{"seed", "seed", "SEED-Bench.json", "of different releases",
			once(`"question_id": "[^"]+"`, `"question_id": "1"`)},
		{"mme", "mme", mmeFolder + "/count/0000.txt", "1 questions of llava_mme.jsonl have no label",
			once(`^.`, "x")},
		{"mme", "mme", mmeFolder + "/count/0000.txt", "0000.txt line 1: it is not a question, a tab and Yes or No",
			func(s string) string { return strings.Replace(s, "\t", " ", 1) }},
		{"vqav2", "vqav2", vqaAnnotations, "of different releases",
			once(`"question_id": \d+`, `"question_id": 1`)},
		{"scienceqa", "scienceqa", sqaProblems, "of different releases",
			once(`^\{"[^"]+": `, `{"x": `)},
		{"scienceqa", "scienceqa", sqaProblems, `: its answer is option 9, and it has`,
			once(`"answer": \d`, `"answer": 9`)},
		{"llavabench", "llavabench", wildReference, "of different releases", withoutFirst},
		{"mmvet", "mmvet", vetLabels, "of different releases",
			once(`"v1_\d+": `, `"v2_0": `)},
		{"mmmu", "mmmu", "rows.jsonl", "line 1: validation_",
			once(`"options": "\[`, `"options": "`)},
		{"mmmu", "mmmu", "rows.jsonl", "want the letter of an option",
			once(`"answer": "([A-E])"`, `"answer": "${1}eta"`)},
		{"ai2d", "ai2d", "rows.jsonl", `answer is "x"; want the number of an option`,
			once(`"answer": "\d"`, `"answer": "x"`)},
		{"docvqa", "docvqa", "rows.jsonl", `questionId is "x"; want a number`,
			once(`"questionId": "\d+"`, `"questionId": "x"`)},
	} {
		folder := copied(t, c.folder)
		change(t, folder, c.file, c.how)
		set, err := Open(c.name, folder, "", ToScore)
		refused(t, c.name+" "+c.file, err, c.says)
		if err == nil {
			set.Close()
		}
	}
}

func TestFilesThatAreMissing(t *testing.T) {
	for _, c := range []struct{ name, folder, file string }{
		{"pope", "pope", "coco/coco_pope_random.json"}, {"textvqa", "textvqa", textLabels}, {"seed", "seed",
			seedLabels},
		{"scienceqa", "scienceqa", sqaProblems}, {"scienceqa", "scienceqa", sqaSplits}, {"vqav2", "vqav2",
			vqaQuestions},
		{"mmvet", "mmvet", vetLabels}, {"llavabench", "llavabench", wildContext},
	} {
		folder := copied(t, c.folder)
		os.Remove(filepath.Join(folder, filepath.FromSlash(c.file)))
		_, err := Open(c.name, folder, "", ToScore)
		refused(t, c.name, err, filepath.Join(folder, filepath.FromSlash(c.file))+": no such file")
	}
	for _, b := range All() {
		_, err := Open(b.Name, t.TempDir(), "", ToScore)
		refused(t, b.Name, err, "has no ")
	}
	folder := copied(t, "mme")
	os.RemoveAll(filepath.Join(folder, mmeFolder))
	_, err := Open("mme", folder, "", ToScore)
	refused(t, "mme", err, "has no folder of a category with text files")
}

// A parquet file of another set is refused by the column that it lacks.
func TestParquetOfAnotherSchema(t *testing.T) {
	for _, c := range []struct{ name, other, as, says string }{
		{"pope", "MME/data/test-00000-of-00001.parquet", "data/test-00000-of-00001.parquet",
			"it has no column id; it has"},
		{"vqav2", "GQA/testdev_balanced_instructions/testdev-00000-of-00001.parquet", "data/validation-0.parquet",
			"it has no column question_id"},
		{"mmstar", "ChartQA/data/test-00000-of-00001.parquet", "mmstar.parquet", "it has no column index"},
		{"chartqa", "MMStar/mmstar.parquet", "data/test-0.parquet", "it has no column type"},
	} {
		folder := t.TempDir()
		text, err := os.ReadFile(recorded(t, "hub", filepath.FromSlash(c.other)))
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(folder, filepath.FromSlash(c.as))
		os.MkdirAll(filepath.Dir(to), 0o777)
		os.WriteFile(to, text, 0o666)
		_, err = Open(c.name, folder, "", ToScore)
		refused(t, c.name, err, c.says)
		os.WriteFile(to, text[:len(text)/2], 0o666)
		_, err = Open(c.name, folder, "", ToScore)
		refused(t, c.name+" cut off", err, "its footer cannot be read")
	}
}

// A table whose pictures are none is refused by the index of the row.
func TestTablesThatAreDamaged(t *testing.T) {
	picture := regexp.MustCompile(`\t/9j/[^\t]*`)
	const table = "mmbench_dev_20230712.tsv"
	for what, c := range map[string]struct {
		how  func(string) string
		says string
	}{
		"no base64": {func(s string) string { return strings.Replace(s, "\t/9j/", "\t*", 1) },
			": image is no picture in base64: illegal base64 data"},
		"base64 of something else": {
			func(s string) string { return picture.ReplaceAllString(s, "\t"+strings.Repeat("QUJD", 30)) },
			"line 2: index "},
		"no picture": {func(s string) string { return picture.ReplaceAllString(s, "\t") },
			"image is no picture in base64: it is empty"},
		"cut off": {func(s string) string { return s + "1\t\"open" }, ": the cell in quotes that begins with"},
		"a column less": {func(s string) string { return strings.Replace(s, "\timage", "", 1) },
			"it has no column image"},
		"no number": {once(`\n\d+\t`, "\nx\t"), `line 2: index is "x"; want a number`},
	} {
		folder := copied(t, "mmbench_en")
		change(t, folder, table, c.how)
		_, err := Open("mmbench_en", folder, "", ToScore)
		refused(t, what, err, c.says)
	}
	// The site's files have the picture of a question once, and its index in the rows of the other rotations.
	folder := copied(t, "mmbench_en")
	change(t, folder, table, func(s string) string {
		first := picture.FindString(s)
		index := regexp.MustCompile(`\n(\d+)\t`).FindStringSubmatch(s)[1]
		return s[:strings.Index(s, first)] + first +
			picture.ReplaceAllString(s[strings.Index(s, first)+len(first):], "\t"+index)
	})
	set, err := Open("mmbench_en", folder, "", ToScore)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{0, 1, len(set.Questions) - 1} {
		images, err := set.Questions[i].Images()
		if err != nil || len(images) != 1 || !bytes.HasPrefix(images[0].File, []byte("\xff\xd8")) {
			t.Errorf("question %d: %d pictures, %v", i, len(images), err)
		}
	}
}
