package benchmarks

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"

	"github.com/llavatrain/llavatrain/benchmarks/files"
	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// Submitted says what became of an upload.
type Submitted struct {
	Split    string
	Written  int // answers in the upload
	Missing  int // questions without an answer
	Dropped  int // answers without a question, and those that another one replaced
	Torn     bool
	Changed  int  // answers with tabs or line breaks that became spaces, where the form has no room for them
	Unneeded bool // the labels are public: there is nothing to submit for
}

// Submit writes the upload of the answers in a file: to a file, or for MME to a folder. Bytes are those of LLaVA's
// programs, where these always write the same.
func (s *Set) Submit(answers *Answers, path, out string, partial bool) (*Submitted, error) {
	if s.Benchmark.submit == nil {
		return nil, failure.Inputf("%s has no server to submit to: its labels are public, and `llavatrain benchmark "+
			"score %s` uses them", s.Benchmark.Name, s.Benchmark.Name)
	}
	j := s.Join(answers)
	if err := j.fault(path, false); err != nil && !partial {
		return nil, err
	}
	w := &submission{Set: s, Joined: j, out: out, report: Submitted{Split: s.Split, Missing: j.Missing,
		Dropped: j.Strangers + j.Doubled, Torn: answers.Torn, Unneeded: s.Labelled}}
	for _, a := range j.Answers {
		w.report.Written += count(a != nil)
	}
	if err := s.Benchmark.submit(w); err != nil {
		return nil, err
	}
	return &w.report, nil
}

// submission is one call of Submit.
type submission struct {
	*Set
	*Joined
	report Submitted
	out    string
}

// inOrder are the answers that belong to questions, in the order of their file.
func (s *submission) inOrder() (list []*Answer) {
	for _, a := range s.Answers {
		if a != nil {
			list = append(list, a)
		}
	}
	slices.SortFunc(list, func(a, b *Answer) int { return cmp.Compare(a.line, b.line) })
	return list
}

func (s *submission) text(text []byte) error {
	return checkpoints.WriteFile(s.out, func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
}

// file writes a file into the folder that is the upload.
func (s *submission) file(name, text string) error {
	if err := os.MkdirAll(s.out, 0o777); err != nil {
		return failure.Storage(err)
	}
	return checkpoints.WriteFile(filepath.Join(s.out, name), func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	})
}

func (s *submission) sheet(rows [][]any) error {
	return checkpoints.WriteFile(s.out, func(w io.Writer) error { return files.WriteSheet(w, rows) })
}

// json writes a value as Python's json.dump does, lines one value a line, indented with two spaces a level.
func (s *submission) json(value any) error { return s.text(python(nil, value, -1)) }

func (s *submission) indented(value members) error { return s.text(python(nil, value, 0)) }

func (s *submission) lines(values []any) error {
	var text []byte
	for _, value := range values {
		text = append(python(text, value, -1), '\n')
	}
	return s.text(text)
}

// member and members are an object whose order is kept.
type member struct {
	name  string
	value any
}

type members []member

// python appends a value in the form of Python's json.dumps, at a level of indentation, or in one line at level -1.
func python(text []byte, value any, level int) []byte {
	switch v := value.(type) {
	case string:
		return pythonString(text, v)
	case int:
		return strconv.AppendInt(text, int64(v), 10)
	case ID:
		if v.number {
			return append(text, v.text...)
		}
		return pythonString(text, v.text)
	case []any:
		return brackets(text, "[]", len(v), level, func(text []byte, i, level int) []byte {
			return python(text, v[i], level)
		})
	case members:
		return brackets(text, "{}", len(v), level, func(text []byte, i, level int) []byte {
			return python(append(pythonString(text, v[i].name), ": "...), v[i].value, level)
		})
	}
	panic(fmt.Sprintf("%T", value)) // cannot happen: the uploads of this package have no others
}

func brackets(text []byte, pair string, n, level int, element func([]byte, int, int) []byte) []byte {
	text = append(text, pair[0])
	inner := level
	if level >= 0 && n > 0 {
		inner++
	}
	for i := range n {
		if i > 0 {
			text = append(text, ',')
		}
		switch {
		case level >= 0:
			text = append(text, "\n"+strings.Repeat("  ", inner)...)
		case i > 0:
			text = append(text, ' ')
		}
		text = element(text, i, inner)
	}
	if level >= 0 && n > 0 {
		text = append(text, "\n"+strings.Repeat("  ", level)...)
	}
	return append(text, pair[1])
}

// pythonString is a string in ASCII.
func pythonString(text []byte, s string) []byte {
	var quoted bytes.Buffer
	encoder := json.NewEncoder(&quoted)
	encoder.SetEscapeHTML(false)
	encoder.Encode(s) // of a string: it cannot fail
	for _, r := range strings.TrimSuffix(quoted.String(), "\n") {
		switch {
		case r < 0x80 && r != 0x7f:
			text = append(text, byte(r))
		case r < 0x10000:
			text = fmt.Appendf(text, "\\u%04x", r)
		default:
			high, low := utf16.EncodeRune(r)
			text = fmt.Appendf(text, "\\u%04x\\u%04x", high, low)
		}
	}
	return text
}
