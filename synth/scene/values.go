package scene

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
)

// wrongType says in words which key has a value of the wrong type.
func wrongType(err error) error {
	if err == nil {
		return nil
	}
	var wrong *json.UnmarshalTypeError
	if !errors.As(err, &wrong) {
		return err
	}
	found, _, _ := strings.Cut(wrong.Value, " ") // "number 1.5"
	subject := "it"
	if wrong.Field != "" {
		subject = strconv.Quote(wrong.Field)
	}
	return fmt.Errorf("%s is %s; it must be %s", subject, foundNames[found], wantedName(wrong.Type))
}

var foundNames = map[string]string{"string": "a string", "number": "a number", "bool": "true or false",
	"object": "an object", "array": "a list"}

func wantedName(wanted reflect.Type) string {
	switch wanted {
	case reflect.TypeFor[number]():
		return "a number"
	case reflect.TypeFor[label]():
		return "a whole number or a string"
	case reflect.TypeFor[flag]():
		return "0 or 1"
	}
	switch wanted.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Slice:
		return "a list"
	}
	return "an object"
}

// number is any number, NaN and infinities too; null, as tables write NaN, is NaN.
type number float64

func (n *number) UnmarshalJSON(text []byte) error {
	if value := string(text); value == nanValue || value == "null" {
		*n = number(math.NaN())
		return nil
	}
	value, err := strconv.ParseFloat(string(text), 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) { // beyond the range it is infinite
		return mismatch[number](text)
	}
	*n = number(value)
	return nil
}

// label is an id: digits, or the text of a string. "1" and 1 are the same.
type label []byte

func (l *label) UnmarshalJSON(text []byte) error {
	*l = (*l)[:0]
	switch {
	case string(text) == "null":
	case text[0] == '"':
		var s string
		if err := json.Unmarshal(text, &s); err != nil {
			return err
		}
		*l = append(*l, s...)
	case strings.Trim(string(text), "-0123456789") == "":
		*l = append(*l, text...)
	default:
		return mismatch[label](text)
	}
	return nil
}

// flag is 0 or 1, or false or true.
type flag bool

func (f *flag) UnmarshalJSON(text []byte) error {
	switch string(text) {
	case "0", "false", "null":
		*f = false
	case "1", "true":
		*f = true
	default:
		return mismatch[flag](text)
	}
	return nil
}

// mismatch is the decoder's error of a value that a T cannot hold; the decoder adds the key.
func mismatch[T any](text []byte) error {
	found := "number"
	switch text[0] {
	case '"':
		found = "string"
	case '{':
		found = "object"
	case '[':
		found = "array"
	case 't', 'f':
		found = "bool"
	}
	return &json.UnmarshalTypeError{Value: found, Type: reflect.TypeFor[T]()}
}
