package rows

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// A row of a table is a value: nil, string, []byte, int64, float64, bool, []any,
// or fields. The columns are the keys of a row in JSON:
// those of rowColumns; others are not read. An image is a path, the bytes of a file, or
// Hugging Face's struct of bytes and path, either of which may be null. Shards have additional columns.

// fields is a struct, or a row.
type fields []field

type field struct {
	name  string
	value any
}

func (f fields) has(name string) bool {
	return slices.ContainsFunc(f, func(member field) bool { return member.name == name })
}

func (f fields) get(name string) any {
	for _, member := range f {
		if member.name == name {
			return member.value
		}
	}
	return nil
}

// record converts a row of a table to the record that the same row in JSON would give, apart from embedded images. Of a
// row that cannot be used it gives the id.
func (f fields) record() (Record, error) {
	r, err := f.read()
	if err != nil {
		return Record{ID: readID(appendJSON(nil, f.get("id")))}, err
	}
	return r, nil
}

func (f fields) read() (Record, error) {
	text := []byte{'{'}
	var held []picture.Image
	for _, column := range f {
		if !rowColumns[column.name] || column.value == nil {
			continue
		}
		if why, ok := unsupportedKeys[column.name]; ok {
			if holdsNothing(column.value) {
				continue
			}
			return Record{}, picture.BadRow("%s %s", column.name, why)
		}
		if imageColumns[column.name] && holdsImages(column.value) {
			if noImage(column.value) {
				continue
			}
			var err error
			if held, err = readHeld(column.value); err != nil {
				return Record{}, picture.BadRow("%s %v", column.name, err)
			}
			continue
		}
		if id, ok := column.value.([]byte); ok && column.name == "id" && !utf8.Valid(id) {
			continue
		}
		if len(text) > 1 {
			text = append(text, ',')
		}
		text = append(appendQuoted(text, column.name), ':')
		if turns, ok := asText(column.value); ok && (column.name == "conversations" || column.name == "messages") {
			text = append(text, cmp.Or(turns, "null")...) // already JSON
			continue
		}
		text = appendJSON(text, column.value)
	}
	r, err := parseRecord(append(text, '}'))
	switch {
	case err != nil:
		return Record{}, picture.BadRow("%v", err)
	case len(held) > 0 && len(r.Images) > 0:
		return Record{}, picture.BadRow("both a column and the messages have images; keep only one of the two")
	case !slices.ContainsFunc(held, known) && !slices.ContainsFunc(r.Turns, marked):
	case len(held) > 0:
		r.Images = held
	}
	return r, nil
}

// known is false for an image of which an outline has only an empty path: whether there are bytes beside it was not
// read, but a row with images has their placeholders.
func known(image picture.Image) bool {
	return image.Path != "" || image.File != nil || image.Prepared != nil
}

func marked(turn Turn) bool { return strings.Contains(turn.Text, ImageMark) }

func asText(value any) (string, bool) {
	if v, ok := value.([]byte); ok {
		return string(v), true
	}
	v, ok := value.(string)
	return v, ok
}

// appendJSON writes a value; bytes are text that its writer did not mark as such. Text that is not UTF-8 is copied
// unchanged, for parseRecord to refuse.
func appendJSON(text []byte, value any) []byte {
	switch v := value.(type) {
	case string:
		return appendQuoted(text, v)
	case []byte:
		return appendQuoted(text, string(v))
	case int64:
		return strconv.AppendInt(text, v, 10)
	case float64:
		return strconv.AppendFloat(text, v, 'g', -1, 64) // NaN too, for parseRecord to refuse
	case bool:
		return strconv.AppendBool(text, v)
	case []any:
		text = append(text, '[')
		for i, element := range v {
			if i > 0 {
				text = append(text, ',')
			}
			text = appendJSON(text, element)
		}
		return append(text, ']')
	case fields:
		text = append(text, '{')
		for i, member := range v {
			if i > 0 {
				text = append(text, ',')
			}
			text = appendJSON(append(appendQuoted(text, member.name), ':'), member.value)
		}
		return append(text, '}')
	}
	return append(text, "null"...)
}

func appendQuoted(text []byte, s string) []byte {
	const digits = "0123456789abcdef"
	text = append(text, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			text = append(text, '\\', c)
		case c < 0x20:
			text = append(text, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		default:
			text = append(text, c)
		}
	}
	return append(text, '"')
}

// holdsNothing is isEmpty for the values of tables.
func holdsNothing(value any) bool {
	switch v := value.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case []byte:
		return len(v) == 0
	case []any:
		return !slices.ContainsFunc(v, func(element any) bool { return !holdsNothing(element) })
	case fields:
		return !slices.ContainsFunc(v, func(member field) bool { return !holdsNothing(member.value) })
	}
	return false
}

// holdsImages reports whether a value contains images, not paths.
func holdsImages(value any) bool {
	switch v := value.(type) {
	case []byte, fields:
		return true
	case []any:
		return slices.ContainsFunc(v, holdsImages)
	}
	return false
}

// noImage reports whether a value is the struct of an image without bytes and path, or a list of them, as tables have
// for rows of text.
func noImage(value any) bool {
	switch v := value.(type) {
	case nil:
		return true
	case []any:
		return !slices.ContainsFunc(v, func(element any) bool { return !noImage(element) })
	case fields:
		return !isOutline(v) && !slices.ContainsFunc(v, func(member field) bool {
			return member.value != nil && member.value != ""
		})
	}
	return false
}

// isOutline reports whether the bytes of an image were not read.
func isOutline(image fields) bool { return !image.has("bytes") && !image.has("pixels") }

// readHeld reads one embedded image or a list of them.
func readHeld(value any) (images []picture.Image, err error) {
	list, ok := value.([]any)
	if !ok {
		list = []any{value}
	}
	for i, element := range list {
		image, err := readHeldImage(element)
		if err != nil {
			return nil, fmt.Errorf("%d: %w", i+1, err)
		}
		images = append(images, image)
	}
	return images, nil
}

func readHeldImage(value any) (picture.Image, error) {
	var image picture.Image
	outlined := false // its bytes were not read
	switch v := value.(type) {
	case []byte:
		image.File = v
	case fields:
		outlined = isOutline(v)
		image.Path, _ = v.get("path").(string)
		image.File, _ = v.get("bytes").([]byte)
		image.Prepared = heldPicture(v)
	}
	switch {
	case len(image.File) > picture.MaxFileBytes:
		return image, fmt.Errorf("is a file of %d bytes, over the limit of %d", len(image.File), picture.MaxFileBytes)
	case image.File != nil || image.Prepared != nil:
		return image, nil
	case outlined:
		return image, nil
	case image.Path == "":
		return image, errors.New("has neither bytes nor a path")
	}
	return image, checkPath(image.Path)
}

// heldPicture reads the prepared image of shards with pixels.
func heldPicture(image fields) *picture.Picture {
	pixels, ok := image.get("pixels").([]byte)
	if !ok {
		return nil
	}
	width, _ := image.get("width").(int64)
	height, _ := image.get("height").(int64)
	return &picture.Picture{Pixels: pixels, Width: int(width), Height: int(height)}
}

// atRow adds a row's number to an error that is not the row's own.
func atRow(row int, err error) error {
	if err == nil || errors.Is(err, picture.ErrRow) {
		return err
	}
	return failure.Inputf("row %d: %w", row, err)
}
