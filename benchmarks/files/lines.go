package files

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// Line is a line of a file of JSON lines.
type Line struct {
	Number int // from 1
	Text   []byte
	Torn   bool // the last one, cut off: it has no line break and is no JSON
}

// Lines splits a text at line feeds alone, since JSON may hold any other line break of Unicode as it is. Blank lines
// are left out.
func Lines(text []byte) (list []Line) {
	number := 0
	for line := range bytes.Lines(text) {
		number++
		trimmed := bytes.TrimSpace(line)
		if len(trimmed) > 0 {
			torn := !bytes.HasSuffix(line, []byte("\n")) && !json.Valid(trimmed)
			list = append(list, Line{number, trimmed, torn})
		}
	}
	return list
}

// Decode reads a value from JSON; the error says what is wrong with it in the field's words, and not where it is.
func Decode(text []byte, into any) error {
	err := json.Unmarshal(text, into)
	var mismatch *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &mismatch) && mismatch.Field == "":
		return fmt.Errorf("it is %s; want %s", article(mismatch.Value), kinds[mismatch.Type.Kind()])
	case errors.As(err, &mismatch):
		return fmt.Errorf("%q is %s; want %s", mismatch.Field, article(mismatch.Value), kinds[mismatch.Type.Kind()])
	case errors.As(err, &syntax):
		return fmt.Errorf("it is not JSON: %w, at byte %d", err, syntax.Offset)
	}
	return err
}

// article words what encoding/json calls a value.
func article(value string) string {
	switch value {
	case "object":
		return "an object"
	case "array":
		return "a list"
	case "string":
		return "text"
	case "bool":
		return "true or false"
	}
	return "a " + value // number 1.5
}

var kinds = map[reflect.Kind]string{reflect.String: "text", reflect.Bool: "true or false", reflect.Struct: "an object",
	reflect.Map: "an object", reflect.Slice: "a list", reflect.Int: "an integer", reflect.Float64: "a number",
	reflect.Pointer: "another value", reflect.Interface: "another value"}

// EachLine passes the lines of a file on. What visit returns gets the file's name and the line's number in front. A
// torn last line is an error.
func EachLine[T any](f *Folder, name string, visit func(T) error) error {
	text, err := f.Text(name)
	if err != nil {
		return err
	}
	lines := Lines(text)
	for _, line := range lines {
		var value T
		switch {
		case line.Torn:
			err = errors.New("it is cut off: the file is incomplete, fetch it again")
		default:
			if err = Decode(line.Text, &value); err == nil {
				err = visit(value)
			}
		}
		if err != nil {
			return failure.Inputf("%s line %d: %w", f.at(name), line.Number, err)
		}
	}
	if len(lines) == 0 {
		return failure.Inputf("%s is empty", f.at(name))
	}
	return nil
}

// Document reads a file of one JSON value.
func Document[T any](f *Folder, name string) (value T, err error) {
	text, err := f.Text(name)
	if err != nil {
		return value, err
	}
	if err := Decode(text, &value); err != nil {
		if json.Valid(text) {
			return value, failure.Inputf("%s: %w; is it the file of another release?", f.at(name), err)
		}
		return value, failure.Inputf("%s: %w; fetch the file again", f.at(name), err)
	}
	return value, nil
}
