package prompt

import (
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/llavatrain/llavatrain/data/datatest"
	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/synth/answer"
)

// ownFiles are the program's own files, to be changed.
func ownFiles(t testing.TB) fstest.MapFS {
	t.Helper()
	files := fstest.MapFS{}
	err := fs.WalkDir(own(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			text, readErr := fs.ReadFile(own(), name)
			files[name], err = &fstest.MapFile{Data: text}, readErr
		}
		return err
	})
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	return files
}

var sameMade = cmpopts.IgnoreUnexported(Prompt{})

// What is written is what is read, and a folder may hold other files.
func TestWrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "prompts")
	if err := Write(dir); err != nil {
		t.Fatal(err)
	}
	datatest.WriteFile(t, dir, "detail/README.md", "notes")
	got, err := Load(dir, answer.Kinds[:]...)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(defaults(t), got, sameMade); diff != "" {
		t.Errorf("(-own +written):\n%s", diff)
	}
	ours, err := Brief("")
	if err != nil {
		t.Fatal(err)
	}
	if brief, err := Brief(dir); err != nil || !slices.Equal(ours, brief) {
		t.Errorf("%v, %q", err, brief)
	}
}

// What a user has written stays.
func TestWriteKeeps(t *testing.T) {
	dir := t.TempDir()
	datatest.WriteFile(t, dir, "brief.txt", "mine")
	err := Write(dir)
	if !errors.Is(err, failure.ErrInput) || !strings.Contains(err.Error(), "brief.txt exists") {
		t.Errorf("%v", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
	if err := Write("/dev/null/a"); !failure.IsStorage(err) {
		t.Errorf("into what is no folder: %v", err)
	}
}

// theirs gives the files the names and the folders that LLaVA's repository has.
func theirs(files fstest.MapFS) fstest.MapFS {
	renamed := fstest.MapFS{}
	names := strings.NewReplacer("detail/", "detail_description/", "reasoning/", "complex_reasoning/", "examples/", "",
		"system.txt", "system_message.txt", "001.context", "000_caps", "001.answer", "000_conv", "002.context",
		"001_caps", "002.answer", "001_conv", "003.context", "002_caps", "003.answer", "002_conv")
	for name, file := range files {
		renamed[names.Replace(name)] = file
	}
	return renamed
}

// Names, and what editors leave in files, change nothing; a byte of any file does.
func TestVersionOfFiles(t *testing.T) {
	files := ownFiles(t)
	edit := func(change func([]byte) []byte) fstest.MapFS {
		edited := fstest.MapFS{}
		for name, file := range files {
			edited[name] = &fstest.MapFile{Data: change(bytes.Clone(file.Data))}
		}
		return edited
	}
	carriage := func(text []byte) []byte { return bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n")) }
	appended := func(end string) fstest.MapFS {
		return edit(func(text []byte) []byte { return append(text, end...) })
	}
	other := theirs(files)
	delete(other, "detail_description/questions.txt")
	for what, from := range map[string]fstest.MapFS{
		"names of LLaVA":         theirs(files),
		"without questions":      other,
		"a byte order mark":      edit(func(text []byte) []byte { return append([]byte("\ufeff"), text...) }),
		"carriage returns":       edit(carriage),
		"blank lines at the end": appended("\n \t\n\r\n"),
		"blanks at the end":      appended("  "),
		"no line feed":           edit(func(text []byte) []byte { return bytes.TrimRight(text, "\n") }),
	} {
		for kind, want := range defaults(t) {
			got, err := load(from, kind)
			if err != nil {
				t.Errorf("%s: %v", what, err)
				continue
			}
			if diff := cmp.Diff(want, got, sameMade); diff != "" {
				t.Errorf("%s, %s (-want +got):\n%s", what, kind, diff)
			}
			if want.Request("c", Parameters{}).Key != got.Request("c", Parameters{}).Key {
				t.Errorf("%s, %s: another key", what, kind)
			}
		}
	}
}

func TestVersionOfBytes(t *testing.T) {
	for name, file := range ownFiles(t) {
		kind := answer.Kind(strings.Split(name, "/")[0])
		want := defaults(t)[kind]
		if want == nil {
			continue // of no kind
		}
		for at := 0; at < len(bytes.TrimRight(file.Data, "\n")); at += 37 {
			files := ownFiles(t)
			files[name].Data[at] ^= 1
			got, err := load(files, kind)
			if err != nil {
				continue // an example that is none any more
			}
			asked := !strings.HasSuffix(name, questionsFile)
			if got.Version == want.Version ||
				(got.Request("c", Parameters{}).Key == want.Request("c", Parameters{}).Key) == asked {
				t.Errorf("%s, byte %d: version %s, was %s", name, at, got.Version, want.Version)
			}
		}
	}
}

// Examples stand in the order of their numbers, however many digits those have.
func TestOrderOfExamples(t *testing.T) {
	files := ownFiles(t)
	for number, text := range map[string]string{"10": "ten", "9": "nine", "0011": "eleven"} {
		files["reasoning/examples/"+number+".context.txt"] = &fstest.MapFile{Data: []byte(text)}
		files["reasoning/examples/"+number+".answer.txt"] = files["reasoning/examples/001.answer.txt"]
	}
	p, err := load(files, answer.Reasoning)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, example := range p.Examples[3:] {
		got = append(got, example.Context)
	}
	if want := []string{"nine", "ten", "eleven"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestLoadErrors(t *testing.T) {
	type changes map[string]string // to files; "": the file is removed
	for _, c := range []struct {
		kind    answer.Kind
		changes changes
		want    string
	}{
		{answer.Detail, changes{"detail_description/system_message.txt": "a"},
			"there are both detail and detail_description"},
		{answer.Detail, changes{"detail/system.txt": ""}, `"detail/system.txt" is missing; the files of a prompt are`},
		{answer.Detail, changes{"detail/system.txt": "\n \n"}, `"detail/system.txt" is empty`},
		{answer.Detail, changes{"detail/system.txt": "a\xff"}, `"detail/system.txt" is not UTF-8`},
		{answer.Detail, changes{"detail/system.txt": strings.Repeat("a", longestFile+1)}, "is longer than 1 MiB"},
		{answer.Detail, changes{"detail/system_message.txt": "a"}, "are the same part of the prompt; keep one"},
		{answer.Detail, changes{"detail/questions.txt": " "}, `"detail/questions.txt" is empty`},
		{answer.Detail, changes{"detail/questions.txt": "What is <IMAGE>?"}, `has <image> in it`},
		{answer.Detail, changes{"detail/prompt.txt": "a"}, `"detail/prompt.txt" would not be read`},
		{answer.Detail, changes{"detail/examples/004.answer.txt": "a"}, `"detail/examples/004.context.txt" is missing`},
		{answer.Detail, changes{"detail/examples/004.context.txt": "a"}, `"detail/examples/004.answer.txt" is missing`},
		{answer.Detail, changes{"detail/examples/1.answer.txt": "a"}, "are the same part of the prompt"},
		{answer.Detail, changes{"detail/003_conv.txt": "a", "detail/003_caps.txt": "a"},
			"are the same part of the prompt"},
		{answer.Detail, changes{"detail/examples/002.answer.txt": "Question:\nWhat?\n===\nAnswer:\nThis.\n"},
			`"detail/examples/002.answer.txt" would not be accepted as an answer of kind detail, for the reason shape`},
		{answer.Detail, changes{"detail/examples/002.answer.txt": "A dog."}, "for the reason too_short"},
		{answer.Conversation, changes{"conversation/questions.txt": "a"},
			`"conversation/questions.txt" would not be read`},
		{answer.Conversation, changes{"conversation/examples/002.answer.txt": "A dog."}, "for the reason shape"},
		{answer.Conversation, changes{"conversation/examples/002.answer.txt": "Question:\nWhat?\nAnswer:\nThis.\n"},
			"for the reason too_few_turns"},
		{answer.Reasoning, changes{"reasoning/examples/002.answer.txt": "I'm sorry, but I cannot see it."},
			"for the reason refusal"},
	} {
		files := ownFiles(t)
		for name, text := range c.changes {
			if text == "" {
				delete(files, name)
			} else {
				files[name] = &fstest.MapFile{Data: []byte(text)}
			}
		}
		if _, err := load(files, c.kind); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %s", slices.Collect(maps.Keys(c.changes)), err, c.want)
		}
	}
}

// Errors name the folder, and count as the user's.
func TestLoadFolders(t *testing.T) {
	dir := t.TempDir()
	for what, err := range map[string]error{
		"there is no folder reasoning or complex_reasoning": second(Load(dir, answer.Reasoning)),
		"brief.txt":     second(Brief(dir)),
		"none: no such": second(Load(dir+"/none", answer.Reasoning)),
		"none: no":      second(Brief(dir + "/none")),
	} {
		if !errors.Is(err, failure.ErrInput) || !strings.Contains(err.Error(), what) ||
			!strings.Contains(err.Error(), dir) {
			t.Errorf("%v, want %s", err, what)
		}
	}
	if prompts, err := Load(dir); err != nil || len(prompts) > 0 {
		t.Errorf("no kinds: %v, %v", prompts, err)
	}
	if err := os.MkdirAll(dir+"/reasoning/examples", 0o777); err != nil {
		t.Fatal(err)
	}
	datatest.WriteFile(t, dir, "reasoning/system.txt", "Say something.")
	prompts, err := Load(dir, answer.Reasoning)
	if err != nil || len(prompts) != 1 || len(prompts[answer.Reasoning].Examples) > 0 {
		t.Errorf("a prompt without examples: %+v, %v", prompts, err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestBoxes(t *testing.T) {
	for _, kind := range answer.Kinds {
		if got := Boxes(kind); got != (kind != answer.Conversation) {
			t.Errorf("%s: %v", kind, got)
		}
	}
}
