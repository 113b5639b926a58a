package caption

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// Caption is one that can become a row.
type Caption struct{ ID, Image, Text string }

// Reason is why a caption was passed over.
type Reason string

const (
	NoImage   Reason = "no_image"   // the row names none, or COCO's list of images lacks it
	NoCaption Reason = "no_caption" // it is empty, or the row has no turn of the model
	Encoding  Reason = "encoding"   // it was damaged: it has U+FFFD, which stands for bytes that are no text
	Markup    Reason = "markup"     // it has LLaVA's placeholder, for which training would want another image
)

// usable is the reason to pass a caption over, or "".
func (c Caption) usable() Reason {
	switch {
	case c.Image == "":
		return NoImage
	case c.Text == "":
		return NoCaption
	case strings.ContainsRune(c.Text, utf8.RuneError):
		return Encoding
	case strings.Contains(c.Text, "<image>"):
		return Markup
	}
	return ""
}

// file is a file of captions. It can be read again and again.
type file struct {
	path   string
	form   form
	images map[string]string // of COCO's files: the names, by id
}

type form int

const (
	array form = iota // of rows, as LLaVA's files are
	lines             // a row on each line
	coco              // captions_*.json
)

const formsHint = `known forms: LLaVA's rows and {"id", "image", "caption"}, in one array or one a line; ` +
	`COCO's captions, one object with "images" and "annotations"`

// openFile finds out a file's form.
func openFile(path string) (*file, error) {
	f := &file{path: path}
	err := f.open(func(text *bufio.Reader) (err error) {
		f.form, err = formOf(text)
		return err
	})
	if err == nil && f.form == coco {
		f.images = map[string]string{}
		err = f.open(f.readImages)
	}
	return f, err
}

// each visits the captions in their order, also those that are not usable. An error of visit ends it, and comes back
// as it is.
func (f *file) each(visit func(Caption) error) error {
	read := map[form]func(*bufio.Reader, func(Caption) error) error{
		array: readArray, lines: readLines, coco: f.readAnnotations}[f.form]
	var stopped error
	err := f.open(func(text *bufio.Reader) error {
		return read(text, func(c Caption) error {
			stopped = visit(c)
			return stopped
		})
	})
	if stopped != nil {
		return stopped
	}
	return err
}

// open gives the text to a function, without byte order mark, and puts the path before its error.
func (f *file) open(read func(*bufio.Reader) error) error {
	opened, err := os.Open(f.path)
	if err != nil {
		return failure.Input(err)
	}
	defer opened.Close()
	if info, err := opened.Stat(); err != nil || !info.Mode().IsRegular() {
		return failure.Inputf("%s is not a regular file; it is read more than once", f.path)
	}
	text := bufio.NewReaderSize(opened, sniffed)
	if mark, _ := text.Peek(3); string(mark) == "\ufeff" {
		text.Discard(3)
	}
	if err := read(text); err != nil {
		return failure.Input(fmt.Errorf("%s: %w", f.path, err))
	}
	return nil
}

// sniffed is how much of a file must show its form.
const sniffed = 1 << 20

func formOf(text *bufio.Reader) (form, error) {
	start, err := text.Peek(sniffed)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	start = bytes.TrimLeft(start, " \t\r\n")
	if len(start) == 0 {
		return 0, errors.New("it is empty; " + formsHint)
	}
	if start[0] == '[' {
		return array, nil
	}
	first, _, _ := bytes.Cut(start, []byte("\n"))
	var object struct{ Images, Annotations json.RawMessage }
	if json.Unmarshal(first, &object) == nil && object.Images == nil && object.Annotations == nil {
		return lines, nil
	}
	return coco, nil // on one line, or on many
}

// row is a row of LLaVA's, or {"id", "image", "caption"}.
type row struct {
	ID            label   `json:"id"`
	Image         *string `json:"image"`
	Caption       *string `json:"caption"`
	Conversations []turn  `json:"conversations"`
}

type turn struct {
	From  string `json:"from"`
	Value string `json:"value"`
}

// label is an id: a string, or a number as it is written.
type label string

func (l *label) UnmarshalJSON(text []byte) error {
	if text[0] == '"' {
		return json.Unmarshal(text, (*string)(l))
	}
	var number json.Number
	if err := json.Unmarshal(text, &number); err != nil {
		return errors.New("an id must be a string or a number")
	}
	*l = label(number)
	return nil
}

func (r *row) caption() (Caption, error) {
	c := Caption{ID: string(r.ID)}
	if c.ID == "" {
		return c, errors.New(`it has no "id"; ` + formsHint)
	}
	if r.Image != nil {
		c.Image = *r.Image
	}
	switch {
	case r.Caption != nil:
		c.Text = strings.TrimSpace(*r.Caption)
	case r.Conversations == nil:
		return c, errors.New(`it has neither "caption" nor "conversations"; ` + formsHint)
	}
	for _, turn := range r.Conversations {
		if r.Caption == nil && turn.From == "gpt" {
			c.Text = strings.TrimSpace(turn.Value)
			break
		}
	}
	return c, nil
}

func readArray(text *bufio.Reader, visit func(Caption) error) error {
	values := newValues(text)
	if err := values.open('['); err != nil {
		return err
	}
	if err := values.list("row", func() error { return values.row(visit) }); err != nil {
		return err
	}
	return values.end()
}

func (v *values) row(visit func(Caption) error) error {
	var r row
	if err := v.decode(&r); err != nil {
		return err
	}
	c, err := r.caption()
	if err != nil {
		return err
	}
	return visit(c)
}

func readLines(text *bufio.Reader, visit func(Caption) error) error {
	return eachLine(text, func(l line) error {
		var r row
		if err := json.Unmarshal(l.text, &r); err != nil {
			return fmt.Errorf("line %d: %w", l.number, wrongType(err))
		}
		c, err := r.caption()
		if err != nil {
			return fmt.Errorf("line %d: %w", l.number, err)
		}
		return visit(c)
	})
}

// wrongType says in the words of JSON what a decoder says in Go's.
func wrongType(err error) error {
	var wrong *json.UnmarshalTypeError
	if !errors.As(err, &wrong) {
		return err
	}
	want, got := "a string", wrong.Value
	switch wrong.Type.Kind() {
	case reflect.Slice:
		want = "a list"
	case reflect.Struct:
		want = "an object"
	}
	if got == "array" {
		got = "list"
	}
	if wrong.Field == "" {
		return fmt.Errorf("it must be %s, not a JSON %s; %s", want, got, formsHint)
	}
	return fmt.Errorf("%q must be %s, not a JSON %s", wrong.Field, want, got)
}

const longest = 16 << 20 // bytes of a line or a value

// line is one of a text, without white space at its ends. The text is good until the next line is read.
type line struct {
	number int // from 1
	text   []byte
}

// eachLine visits the lines that are not blank.
func eachLine(text io.Reader, visit func(line) error) error {
	scanner := bufio.NewScanner(text)
	scanner.Buffer(nil, longest)
	number := 0
	for scanner.Scan() {
		number++
		if trimmed := bytes.TrimSpace(scanner.Bytes()); len(trimmed) > 0 {
			if err := visit(line{number, trimmed}); err != nil {
				return err
			}
		}
	}
	err := scanner.Err()
	if errors.Is(err, bufio.ErrTooLong) {
		err = fmt.Errorf("line %d is longer than %d MB", number+1, longest>>20)
	}
	return err
}
