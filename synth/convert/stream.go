package convert

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// maxEntry is the size of the largest entry that is read, in bytes. The largest of the published files, pictures with
// some hundred regions, have less than 1 MB.
const maxEntry = 16 << 20

var errTooLong = fmt.Errorf("an entry is longer than %d MiB", maxEntry>>20)

// entry is one element of a list or member of an object, as it stands in the file.
type entry struct {
	name string // where it is: its list and number, or its key
	at   int64  // where it begins, in bytes
	text []byte // valid until the next entry is read
}

// visit takes one entry. An error of the entry's methods gets its place in front.
type visit func(e entry) error

// readLists passes the elements of a file's lists on: those of the list at its top to lists[""], and if there is an
// object at its top, those of its members to the list's name. All of one or the other must be there.
func readLists(path string, lists map[string]visit) error {
	return readFile(path, func(d *document, top json.Delim) error {
		atTop, ok := lists[""]
		if top == '[' && ok {
			return d.elements("entry", atTop)
		}
		if top == '[' || len(lists) == 1 && ok {
			return fmt.Errorf("it is %s; want %s", kinds[top], expected(lists))
		}
		return d.members(lists)
	})
}

// readTable passes the members of the object at a file's top on.
func readTable(path string, visit func(key string, e entry) error) error {
	return readFile(path, func(d *document, top json.Delim) error {
		if top != '{' {
			return fmt.Errorf("it is %s; want an object with one member for each identifier", kinds[top])
		}
		for d.decoder.More() {
			key, err := d.key()
			if err != nil {
				return err
			}
			if err := d.next(strconv.Quote(key), func(e entry) error { return visit(key, e) }); err != nil {
				return err
			}
		}
		return nil
	})
}

var kinds = map[json.Delim]string{'[': "a list", '{': "an object"}

// expected describes what readLists wants, for an error.
func expected(lists map[string]visit) string {
	var names []string
	top := ""
	for _, name := range slices.Sorted(maps.Keys(lists)) {
		if name == "" {
			top = "a list"
			continue
		}
		names = append(names, strconv.Quote(name))
	}
	if names == nil {
		return top
	}
	if top != "" {
		top += ", or "
	}
	return top + "an object with " + strings.Join(names, " and ")
}

// document is a file of JSON that is read entry by entry.
type document struct {
	decoder *json.Decoder
	window  *window
	raw     json.RawMessage
}

// window stops a decoder that wants more than maxEntry bytes for one entry.
type window struct {
	file io.Reader
	left int
}

func (w *window) Read(p []byte) (int, error) {
	if w.left == 0 {
		return 0, errTooLong
	}
	n, err := w.file.Read(p[:min(len(p), w.left)])
	w.left -= n
	return n, err
}

// readFile opens a file and reads what is in the list or object at its top, and checks that nothing comes after it.
func readFile(path string, content func(d *document, top json.Delim) error) (err error) {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s: %w", path, err)
		}
	}()
	buffer := bufio.NewReaderSize(file, 1<<16)
	if mark, _ := buffer.Peek(3); string(mark) == "\ufeff" { // of a text editor
		buffer.Discard(3)
	}
	d := &document{window: &window{file: buffer, left: maxEntry}}
	d.decoder = json.NewDecoder(d.window)
	token, err := d.decoder.Token()
	top, ok := token.(json.Delim)
	switch {
	case errors.Is(err, io.EOF):
		return errors.New("it is empty")
	case err != nil:
		return d.damage(err)
	case !ok:
		return errors.New("it is neither a list nor an object")
	}
	if err := content(d, top); err != nil {
		return err
	}
	if _, err := d.decoder.Token(); err != nil {
		return d.damage(err)
	}
	if _, err := d.decoder.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("byte %d: something follows the end of its JSON", d.decoder.InputOffset())
	}
	return nil
}

// damage words an error of the decoder.
func (d *document) damage(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the file ends early: it is incomplete")
	}
	return fmt.Errorf("after byte %d: %w", d.decoder.InputOffset(), err)
}

// members visits the lists that are members of the object at the top, and passes over the other members.
func (d *document) members(lists map[string]visit) error {
	found := map[string]bool{}
	for d.decoder.More() {
		key, err := d.key()
		if err != nil {
			return err
		}
		visit, wanted := lists[key]
		switch {
		case !wanted || key == "":
			err = d.skip()
		case found[key]:
			return fmt.Errorf("%q appears twice", key)
		default:
			err = d.list(key, visit)
		}
		if err != nil {
			return err
		}
		found[key] = true
	}
	for name := range lists {
		if !found[name] && name != "" {
			return fmt.Errorf("it is an object with %s; want %s", quoted(found), expected(lists))
		}
	}
	return nil
}

// list visits the elements of the member of that name.
func (d *document) list(name string, visit visit) error {
	token, err := d.decoder.Token()
	if err != nil {
		return d.damage(err)
	}
	if token != json.Delim('[') {
		return fmt.Errorf("%q is not a list", name)
	}
	if err := d.elements(name, visit); err != nil {
		return err
	}
	if _, err := d.decoder.Token(); err != nil {
		return d.damage(err)
	}
	return nil
}

func (d *document) elements(list string, visit visit) error {
	for n := 0; d.decoder.More(); n++ {
		if err := d.next(list+" "+strconv.Itoa(n), visit); err != nil {
			return err
		}
	}
	return nil
}

// next reads one entry.
func (d *document) next(name string, visit visit) error {
	if err := d.decoder.Decode(&d.raw); err != nil {
		return fmt.Errorf("%s: %w", name, d.damage(err))
	}
	d.window.left = maxEntry
	e := entry{name: name, at: d.decoder.InputOffset() - int64(len(d.raw)), text: d.raw}
	return visit(e)
}

func (d *document) key() (string, error) {
	d.window.left = maxEntry
	token, err := d.decoder.Token()
	if err != nil {
		return "", d.damage(err)
	}
	return token.(string), nil // the decoder refuses other keys
}

// skip passes over a value of any size.
func (d *document) skip() error {
	for depth := 0; ; {
		token, err := d.decoder.Token()
		if err != nil {
			return d.damage(err)
		}
		d.window.left = maxEntry
		switch token {
		case json.Delim('['), json.Delim('{'):
			depth++
		case json.Delim(']'), json.Delim('}'):
			depth--
		}
		if depth == 0 {
			return nil
		}
	}
}

// decode reads the entry into a struct.
func (e entry) decode(into any) error {
	err := json.Unmarshal(e.text, into)
	var mismatch *json.UnmarshalTypeError
	switch {
	case errors.As(err, &mismatch):
		what := "it"
		if mismatch.Field != "" {
			what = strconv.Quote(mismatch.Field)
		}
		return e.fault("%s is %s; want %s", what, valueWords(mismatch.Value), typeWords[mismatch.Type.Kind()])
	case err != nil:
		return e.fault("%w", err)
	}
	return nil
}

// valueWords are those for what encoding/json calls a value.
func valueWords(value string) string {
	switch value {
	case "object":
		return "an object"
	case "array":
		return "a list"
	case "string":
		return "text"
	case "bool":
		return "true or false"
	case "number":
		return "a number"
	}
	return value // number 1.5
}

var typeWords = map[reflect.Kind]string{
	reflect.String: "text", reflect.Bool: "true or false", reflect.Struct: "an object", reflect.Map: "an object",
	reflect.Slice: "a list", reflect.Int: "an integer", reflect.Int64: "an integer", reflect.Float64: "a number",
}

// fault is an error of the entry.
func (e entry) fault(format string, args ...any) error {
	return fmt.Errorf("%s (byte %d): %w", e.name, e.at, fmt.Errorf(format, args...))
}

// lacks is the error of an entry without a member that every published form has.
func (e entry) lacks(key string) error {
	var members map[string]json.RawMessage
	if json.Unmarshal(e.text, &members) != nil || members == nil {
		return e.fault("it is not an object with %q, but %s", key, shortened(string(bytes.TrimSpace(e.text))))
	}
	return e.fault("it lacks %q; it has %s", key, quoted(members))
}

// quoted lists keys.
func quoted[V any](members map[string]V) string {
	const most = 12
	var names []string
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if len(names) == most {
			names = append(names, "…")
			break
		}
		names = append(names, shortened(name))
	}
	if names == nil {
		return "no members"
	}
	return strings.Join(names, ", ")
}

// shortened quotes text of a file for a message.
func shortened(text string) string {
	const longest = 40
	if runes := []rune(text[:min(len(text), 4*longest)]); len(runes) > longest {
		text = string(runes[:longest]) + "…"
	}
	return strconv.Quote(text)
}
