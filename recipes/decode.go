package recipes

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// location is where a key was given: a line of the file, or a --set.
type location struct {
	source string // as Problem.Source
	line   int
	set    bool // from --set, which has no lines
}

func (at location) on(line int) location {
	if !at.set {
		at.line = line
	}
	return at
}

// decoder turns YAML nodes into structs. yaml.v3's decoder is not used: it stops at the first kind of mistake, reads
// 1.5 into an int as 1, ignores a second document and forgets the locations of values.
type decoder struct {
	sets     map[*yaml.Node]location // nodes that come from --set
	where    map[string]location     // each known key that was given, by path
	broken   map[string]bool         // paths that have a problem, so that their values mean nothing
	problems Problems
}

func newDecoder(source string) *decoder {
	return &decoder{
		sets:   map[*yaml.Node]location{},
		where:  map[string]location{"": {source: source}},
		broken: map[string]bool{},
	}
}

// report records a problem.
func (d *decoder) report(path string, at location, format string, args ...any) {
	d.problems = append(d.problems, Problem{at.source, at.line, path, fmt.Sprintf(format, args...)})
}

// fail reports a problem with the value at path and keeps the rules from checking it again: see sound.
func (d *decoder) fail(path string, at location, format string, args ...any) {
	d.broken[path] = true
	d.report(path, at, format, args...)
}

// The form of yaml.v3's messages, and those that give the line before the one where the broken list or section starts.
var (
	syntaxError = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)`)
	lineBefore  = regexp.MustCompile(
		`^did not find expected (node content|key|'-' indicator|',' or '[]}]'|<document start>)$`)
)

// parse reads text, which must be a single document. It returns nil after a problem that leaves nothing to decode.
func (d *decoder) parse(text []byte, at location) *yaml.Node {
	if len(text) > maxBytes {
		d.report("", at, "larger than 1 MB; is this a recipe?")
		return nil
	}
	var document, second yaml.Node
	documents := yaml.NewDecoder(bytes.NewReader(text))
	switch err := documents.Decode(&document); {
	case errors.Is(err, io.EOF):
		d.report("", at, "is empty")
		return nil
	case err != nil:
		d.syntax(err, at)
		return nil
	}
	switch err := documents.Decode(&second); {
	case err == nil:
		d.report("", at.on(second.Line), "a second document; a recipe is a single one, without \"---\"")
	case !errors.Is(err, io.EOF):
		d.syntax(err, at)
	}
	return document.Content[0]
}

func (d *decoder) syntax(err error, at location) {
	m := syntaxError.FindStringSubmatch(err.Error())
	line, _ := strconv.Atoi(m[1])
	if line > 0 && lineBefore.MatchString(m[2]) {
		d.report("", at.on(line+1), "not valid YAML, in the block that starts here: %s", m[2])
		return
	}
	d.report("", at.on(line), "not valid YAML: %s", m[2])
}

// deeper returns a node more than depth levels below n, or nil.
func deeper(n *yaml.Node, depth int) *yaml.Node {
	if depth < 0 {
		return n
	}
	for _, child := range n.Content {
		if found := deeper(child, depth-1); found != nil {
			return found
		}
	}
	return nil
}

// value decodes n, the value at path, into v.
func (d *decoder) value(n *yaml.Node, v reflect.Value, path string, at location) {
	d.where[path] = at
	switch {
	case n.Kind == yaml.AliasNode:
		d.fail(path, at, "aliases (%s) are not supported; write the value out", quoted("*"+n.Value))
		return
	case n.Anchor != "":
		d.fail(path, at, "anchors (%s) are not supported; write the value without", quoted("&"+n.Anchor))
		return
	case n.Style&yaml.TaggedStyle != 0:
		d.fail(path, at, "tags (%s) are not supported; write the value without", quoted(n.Tag))
		return
	}
	if v.Type() == reflect.TypeFor[Pinpoints]() {
		p, problem := pinpoints(n)
		if v.SetString(string(p)); problem != "" {
			d.fail(path, at, "%s", problem)
		}
		return
	}
	if v.Type() == reflect.TypeFor[Vision]() && n.Kind == yaml.SequenceNode {
		d.towers(n, v.Addr().Interface().(*Vision), path, at)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.value(n, v.Elem(), path, at)
	case reflect.Struct:
		if field, ok := shorthands[v.Type()]; ok && n.Kind == yaml.ScalarNode {
			d.value(n, v.FieldByName(field), path, at)
			return
		}
		d.section(n, v, path, at)
	case reflect.Map:
		d.parts(n, v, path, at)
	case reflect.Slice, reflect.Array:
		d.list(n, v, path, at)
	default:
		if problem := scalar(n, v); problem != "" {
			d.fail(path, at, "%s", problem)
		}
	}
}

// section decodes a mapping whose keys are the fields of v.
func (d *decoder) section(n *yaml.Node, v reflect.Value, path string, at location) {
	if fresh, ok := defaults[v.Type()]; ok {
		v.Set(reflect.ValueOf(fresh))
	}
	fields := map[string]reflect.Value{}
	for i := range v.NumField() {
		if key, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ","); key != "-" {
			fields[key] = v.Field(i)
		}
	}
	known := slices.Sorted(maps.Keys(fields))
	d.mapping(n, known, path, at, func(key string, n *yaml.Node, path string, at location) {
		d.value(n, fields[key], path, at)
	})
}

// partNames are the keys of Stage.Train, in the order in which messages list them.
var partNames = []string{PartLanguage, PartProjector, PartVision}

// parts decodes Stage.Train.
func (d *decoder) parts(n *yaml.Node, v reflect.Value, path string, at location) {
	v.Set(reflect.MakeMap(v.Type()))
	if n.Kind == yaml.MappingNode && len(n.Content) == 0 {
		d.fail(path, at, "must have at least one of %s", strings.Join(partNames, ", "))
	}
	d.mapping(n, partNames, path, at, func(key string, n *yaml.Node, path string, at location) {
		part := reflect.New(v.Type().Elem()).Elem()
		d.value(n, part, path, at)
		v.SetMapIndex(reflect.ValueOf(key), part)
	})
}

// entry takes the value n of a key; path is that of the value.
type entry func(key string, n *yaml.Node, path string, at location)

// mapping calls do for the first occurrence of each known key of n, and reports all other keys.
func (d *decoder) mapping(n *yaml.Node, known []string, path string, at location, do entry) {
	if n.Kind != yaml.MappingNode {
		d.fail(path, at, "expected a section with keys, found %s", kind(n))
		return
	}
	first := map[string]int{}
	for i := 0; i < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		at := at.on(key.Line)
		if set, ok := d.sets[value]; ok {
			at = set
		}
		path := join(path, key)
		switch earlier, again := first[key.Value]; {
		case key.Kind != yaml.ScalarNode || key.Anchor != "" || key.Style&yaml.TaggedStyle != 0:
			d.fail(path, at, "a key must be a plain word")
			continue
		case key.Tag == "!!merge":
			d.fail(path, at, "merge keys (<<) are not supported; write the keys out")
			continue
		case again:
			d.fail(path, at, "duplicate key; the first is on line %d", earlier)
			continue
		}
		first[key.Value] = key.Line
		if !slices.Contains(known, key.Value) {
			d.unknown(key.Value, known, path, at)
			continue
		}
		do(key.Value, value, path, at)
	}
}

// unknown reports an unknown key. The key that was probably meant is not reported as missing as well.
func (d *decoder) unknown(key string, known []string, path string, at location) {
	meant := ""
	if len(key) < 100 {
		meant = nearest(key, known)
	}
	if meant == "" {
		d.fail(path, at, "unknown key; known here: %s", strings.Join(known, ", "))
		return
	}
	d.fail(path, at, "unknown key; did you mean %q?", meant)
	d.broken[strings.TrimSuffix(path, key)+meant] = true
}

// list decodes a sequence into a slice, or into an array of the same length.
func (d *decoder) list(n *yaml.Node, v reflect.Value, path string, at location) {
	switch {
	case n.Kind != yaml.SequenceNode:
		d.fail(path, at, "expected a list, found %s", kind(n))
		return
	case v.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	case len(n.Content) != v.Len():
		d.fail(path, at, "expected a list of %d values, found %d", v.Len(), len(n.Content))
		return
	}
	for i, value := range n.Content {
		at := at.on(value.Line)
		if set, ok := d.sets[value]; ok {
			at = set
		}
		d.value(value, v.Index(i), path+"."+strconv.Itoa(i), at)
	}
}

// plainKey matches keys that can be printed without quotes.
var plainKey = regexp.MustCompile(`^[A-Za-z0-9_-]{1,60}$`)

// join is the dotted path of a key below path.
func join(path string, key *yaml.Node) string {
	name := key.Value
	if !plainKey.MatchString(name) {
		name = quoted(name)
	}
	if path == "" {
		return name
	}
	return path + "." + name
}
