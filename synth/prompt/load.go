package prompt

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/synth/answer"
)

//go:embed defaults
var embedded embed.FS

// own are the program's own prompts.
func own() fs.FS {
	sub, err := fs.Sub(embedded, "defaults")
	if err != nil {
		panic(err) // the name is valid
	}
	return sub
}

// folders are the names that the folder of a kind may have: ours, and that of LLaVA's repository.
var folders = map[answer.Kind][]string{
	answer.Conversation: {"conversation"},
	answer.Detail:       {"detail", "detail_description"},
	answer.Reasoning:    {"reasoning", "complex_reasoning"},
}

const (
	examplesFolder = "examples"
	questionsFile  = "questions.txt"
	briefFile      = "brief.txt"
)

// Load reads the prompts of kinds from a folder, or the program's own if dir is "". The folder of a kind
// (conversation, detail or reasoning) holds
//
//	system.txt                 the system message
//	examples/001.context.txt   a scene, as package scene writes it; conversations have no boxes
//	examples/001.answer.txt    the answer to it
//	questions.txt              for descriptions: their questions, one a line
//
// or what LLaVA's repository has in its folders conversation, detail_description and complex_reasoning:
// system_message.txt, 000_caps.txt, 000_conv.txt and so on. Without a file of questions the program's own are used.
// A byte order mark, carriage returns and blank lines at the end of a file are passed over.
//
// A part that is missing, a .txt file with a name that is not read, and an example whose answer would not be accepted
// are errors.
func Load(dir string, kinds ...answer.Kind) (map[answer.Kind]*Prompt, error) {
	from, err := open(dir)
	if err != nil {
		return nil, err
	}
	prompts := map[answer.Kind]*Prompt{}
	for _, kind := range kinds {
		if prompts[kind], err = load(from, kind); err != nil {
			return nil, failure.Inputf("prompts in %q: %w", dir, err)
		}
	}
	return prompts, nil
}

// Brief are the requests for a brief description that rows of captions get as questions: brief.txt of a folder of
// prompts, one a line, or the program's own if dir is "".
func Brief(dir string) ([]string, error) {
	from, err := open(dir)
	if err != nil {
		return nil, err
	}
	text, err := readText(from, briefFile)
	if err != nil {
		return nil, failure.Inputf("prompts in %q: %w", dir, err)
	}
	return nonBlank(text), nil
}

func open(dir string) (fs.FS, error) {
	if dir == "" {
		return own(), nil
	}
	if _, err := os.Stat(dir); err != nil {
		return nil, failure.Inputf("prompts: %w", err)
	}
	return os.DirFS(dir), nil
}

func load(from fs.FS, kind answer.Kind) (*Prompt, error) {
	var found []string
	for _, name := range folders[kind] {
		if _, err := fs.Stat(from, name); err == nil {
			found = append(found, name)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("there is no folder %s; `llavatrain synth prompts DIR` writes all prompts",
			strings.Join(folders[kind], " or "))
	case 2:
		return nil, fmt.Errorf("there are both %s; keep one", strings.Join(found, " and "))
	}
	f := folder{kind, from, found[0], map[part]string{}}
	for _, dir := range []string{f.name, path.Join(f.name, examplesFolder)} {
		if err := f.scan(dir); err != nil {
			return nil, err
		}
	}
	return f.read()
}

// Write writes the program's own prompts into a folder, which is made if need be. Files that exist are not changed: if
// there is one, none is written.
func Write(dir string) error {
	var files []string
	err := fs.WalkDir(own(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			files = append(files, name)
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, name := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if _, err := os.Lstat(path); err == nil {
			return failure.Inputf("%s exists; name another folder, or remove it", path)
		}
	}
	for _, name := range files {
		if err := write(filepath.Join(dir, filepath.FromSlash(name)), name); err != nil {
			return failure.Storage(err)
		}
	}
	return nil
}

func write(path, name string) error {
	text, err := fs.ReadFile(own(), name)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	return errors.Join(err, file.Close())
}
