package prompt

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/llavatrain/llavatrain/synth/answer"
)

// folder is the folder of a kind of answer, and the path of the file that holds each part of the prompt.
type folder struct {
	kind  answer.Kind
	from  fs.FS
	name  string
	files map[part]string
}

// part is a part of a prompt.
type part struct {
	name   string // system, questions, context or answer
	number int    // of an example
}

var (
	systemPart    = part{name: "system"}
	questionsPart = part{name: "questions"}
)

const fileNames = "the files of a prompt are system.txt, examples/001.context.txt, examples/001.answer.txt and so " +
	"on, and for descriptions questions.txt"

// scan finds the files of a folder, if there is one.
func (f *folder) scan(dir string) error {
	entries, err := fs.ReadDir(f.from, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		file := path.Join(dir, entry.Name())
		if entry.IsDir() || path.Ext(file) != ".txt" {
			continue
		}
		one, ok := f.partOf(entry.Name())
		if !ok {
			return fmt.Errorf("%q would not be read; %s", file, fileNames)
		}
		if other, twice := f.files[one]; twice {
			return fmt.Errorf("%q and %q are the same part of the prompt; keep one", other, file)
		}
		f.files[one] = file
	}
	return nil
}

// exampleFile matches the names of examples' files: ours, and those of LLaVA's repository.
var exampleFile = regexp.MustCompile(`^(\d{1,9})(?:\.(context|answer)|_(caps|conv))\.txt$`)

// partOf is the part that a file of this name holds.
func (f *folder) partOf(name string) (part, bool) {
	switch name {
	case "system.txt", "system_message.txt":
		return systemPart, true
	case questionsFile:
		return questionsPart, f.kind == answer.Detail
	}
	match := exampleFile.FindStringSubmatch(name)
	if match == nil {
		return part{}, false
	}
	number, err := strconv.Atoi(match[1])
	theirs := map[string]string{"caps": "context", "conv": "answer"}
	return part{cmp.Or(match[2], theirs[match[3]]), number}, err == nil
}

// read reads the files that were found.
func (f *folder) read() (*Prompt, error) {
	p := &Prompt{Kind: f.kind}
	var err error
	if p.System, err = f.text(systemPart, "system.txt"); err != nil {
		return nil, err
	}
	for _, number := range f.examples() {
		example, err := f.example(number)
		if err != nil {
			return nil, err
		}
		p.Examples = append(p.Examples, example)
	}
	questions := ""
	if f.kind == answer.Detail {
		if questions, err = f.questions(); err != nil {
			return nil, err
		}
		p.Questions = nonBlank(questions)
	}
	p.finish(questions)
	return p, nil
}

// text is the text of a part, which must not be empty.
func (f *folder) text(one part, usual string) (string, error) {
	file, ok := f.files[one]
	if !ok {
		return "", fmt.Errorf("%q is missing; %s", path.Join(f.name, usual), fileNames)
	}
	return readText(f.from, file)
}

// examples are the numbers of the examples, in order.
func (f *folder) examples() (numbers []int) {
	for one := range f.files {
		if one.name == "context" || one.name == "answer" {
			numbers = append(numbers, one.number)
		}
	}
	slices.Sort(numbers)
	return slices.Compact(numbers)
}

// example reads an example. An answer that would not be accepted from a model teaches it to be rejected.
func (f *folder) example(number int) (e Example, err error) {
	usual := func(what string) string { return fmt.Sprintf("%s/%03d.%s.txt", examplesFolder, number, what) }
	if e.Context, err = f.text(part{"context", number}, usual("context")); err != nil {
		return e, err
	}
	answered := part{"answer", number}
	if e.Answer, err = f.text(answered, usual("answer")); err != nil {
		return e, err
	}
	if read := answer.ReadText(f.kind, e.Answer, false, nil); read.Outcome != answer.Accept {
		return e, fmt.Errorf("%q would not be accepted as an answer of kind %s, for the reason %s; "+
			"compare it with the program's own, which `llavatrain synth prompts DIR` writes",
			f.files[answered], f.kind, read.Reason)
	}
	return e, nil
}

// questions is the text of the file of questions, or that of the program's own.
func (f *folder) questions() (string, error) {
	file, ok := f.files[questionsPart]
	if !ok {
		return readText(own(), path.Join(folders[answer.Detail][0], questionsFile))
	}
	text, err := readText(f.from, file)
	if err == nil && strings.Contains(strings.ToLower(text), imageMark) {
		err = fmt.Errorf("%q has %s in it, which every row gets anyway; remove it", file, imageMark)
	}
	return text, err
}

// imageMark is where a row of training data has its image.
const imageMark = "<image>"

// longestFile is more than any model reads.
const longestFile = 1 << 20

// readText reads a file without a byte order mark, carriage returns and blank lines at the end. It must not be empty.
func readText(from fs.FS, name string) (string, error) {
	file, err := from.Open(name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	bytes, err := io.ReadAll(io.LimitReader(file, longestFile+1))
	if err != nil {
		return "", err
	}
	text := strings.ReplaceAll(strings.TrimPrefix(string(bytes), "\ufeff"), "\r", "")
	for {
		end := strings.LastIndexByte(text, '\n')
		if end < 0 || strings.TrimSpace(text[end:]) != "" {
			break
		}
		text = text[:end]
	}
	switch {
	case len(bytes) > longestFile:
		return "", fmt.Errorf("%q is longer than %d MiB", name, longestFile>>20)
	case !utf8.ValidString(text):
		return "", fmt.Errorf("%q is not UTF-8; convert it", name)
	case strings.TrimSpace(text) == "":
		return "", fmt.Errorf("%q is empty", name)
	}
	return text, nil
}

// nonBlank are the lines of a text with something on them.
func nonBlank(text string) (lines []string) {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}
