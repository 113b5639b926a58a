package recipes

import (
	"reflect"
	"regexp"
	"strconv"

	"gopkg.in/yaml.v3"
)

// Numbers are decimal. YAML's other forms surprise people: 010 is 8, 1_000 is 1000, 0x10 is 16.
var (
	wholeNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)$`)
	number      = regexp.MustCompile(`^[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`)
)

// scalar decodes a single value into v and says what is wrong with it, "" for nothing. Text may look like another type
// (yes, 1.5, 2024-01-01); a number may not be in quotes.
func scalar(n *yaml.Node, v reflect.Value) (problem string) {
	switch {
	case v.Kind() == reflect.String:
		return text(n, v)
	case v.Type() == reflect.TypeFor[Micro]():
		return micro(n, v)
	case v.Kind() == reflect.Bool:
		return truth(n, v)
	case v.Kind() == reflect.Float64:
		return float(n, v)
	default:
		return whole(n, v)
	}
}

func text(n *yaml.Node, v reflect.Value) string {
	switch {
	case n.Kind != yaml.ScalarNode || n.Tag == "!!null":
		return "expected text, found " + kind(n)
	case n.Value == "":
		return "is empty; leave the key out or give it a value"
	case !oneLine(n.Value):
		return "holds control characters or line breaks: " + quoted(n.Value)
	}
	v.SetString(n.Value)
	return ""
}

func truth(n *yaml.Node, v reflect.Value) string {
	if !isPlain(n) || n.Value != "true" && n.Value != "false" {
		return "expected true or false, found " + kind(n)
	}
	v.SetBool(n.Value == "true")
	return ""
}

func float(n *yaml.Node, v reflect.Value) string {
	if !isPlain(n) || !number.MatchString(n.Value) {
		return "expected a number, found " + kind(n)
	}
	f, err := strconv.ParseFloat(n.Value, 64)
	if err != nil {
		return "number too large: " + quoted(n.Value)
	}
	v.SetFloat(f)
	return ""
}

// micro accepts auto or a number from 1, so that the number that stands for Auto cannot be given.
func micro(n *yaml.Node, v reflect.Value) string {
	if n.Kind == yaml.ScalarNode && n.Value == "auto" {
		v.SetInt(int64(Auto))
		return ""
	}
	if !isPlain(n) || !wholeNumber.MatchString(n.Value) {
		return "expected auto or a whole number, found " + kind(n)
	}
	if problem := whole(n, v); problem != "" || v.Int() >= 1 {
		return problem
	}
	return "must be auto or at least 1"
}

func whole(n *yaml.Node, v reflect.Value) string {
	if !isPlain(n) || !wholeNumber.MatchString(n.Value) {
		return "expected a whole number, found " + kind(n)
	}
	if v.Kind() == reflect.Uint64 {
		u, err := strconv.ParseUint(n.Value, 10, 64)
		v.SetUint(u)
		return outOfRange(n, err, "0 to 18446744073709551615")
	}
	i, err := strconv.ParseInt(n.Value, 10, 64)
	v.SetInt(i)
	return outOfRange(n, err, "64 bits")
}

func outOfRange(n *yaml.Node, err error, valid string) string {
	if err == nil {
		return ""
	}
	return "out of range (" + valid + "): " + quoted(n.Value)
}

func isPlain(n *yaml.Node) bool {
	const marked = yaml.SingleQuotedStyle | yaml.DoubleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle
	return n.Kind == yaml.ScalarNode && n.Style&marked == 0
}

// kind describes a node in a message.
func kind(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a section with keys"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Tag == "!!null":
		return "nothing"
	case !isPlain(n):
		return "text in quotes, " + quoted(n.Value)
	}
	return quoted(n.Value)
}
