package rows

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/llavatrain/llavatrain/data/picture"
)

// parted holds the images in the parts of a row's messages.
type parted struct {
	images []picture.Image // of parts with a path or the image itself
	open   int             // number of parts without a path: their images are in the row's list
}

// readContent is the text of a turn: a string, or a list of parts.
func readContent(value []byte, images *parted) (string, error) {
	if value[0] != '[' {
		return readString(value)
	}
	return readParts(value, images)
}

// readParts joins the parts of a message with line breaks, an image as its placeholder. A part is
//
//	{"type": "text", "text": "…"}
//	{"type": "image"}                                      the next of the row's images
//	{"type": "image", "image": "path"}                     also "path" or "url" for "image"
//	{"type": "image_url", "image_url": {"url": "path"}}    or the path itself
//
// and a path may be data:…;base64,… with the image itself. Keys with null count as absent: in tables, every part
// has every key.
func readParts(list []byte, images *parted) (string, error) {
	var texts []string
	n := 0
	for element := range elements(list) {
		text, err := readPart(element, images)
		if err != nil {
			return "", fmt.Errorf("part %d: %w", n+1, err)
		}
		texts = append(texts, text)
		n++
	}
	return strings.Join(texts, "\n"), nil
}

func readPart(part []byte, images *parted) (string, error) {
	if part[0] != '{' {
		return "", fmt.Errorf("it is %s; a turn is one text, or a list of objects with a type", kindOf(part))
	}
	fields, err := readFields(part)
	if err != nil {
		return "", err
	}
	kind, err := fieldText(fields, "type")
	if err != nil {
		return "", err
	}
	switch kind {
	case "text":
		return fieldText(fields, "text")
	case "image", "image_url":
		return ImageMark, images.add(fields)
	}
	return "", fmt.Errorf("type is %q; it must be text, image or image_url", kind)
}

// readFields is the members of an object that are not null.
func readFields(object []byte) (map[string][]byte, error) {
	fields := map[string][]byte{}
	err := eachKey(object, func(key string, value []byte) error {
		if kindOf(value) != "null" {
			fields[key] = value
		}
		return nil
	})
	return fields, err
}

func fieldText(fields map[string][]byte, key string) (string, error) {
	value, ok := fields[key]
	if !ok {
		return "", fmt.Errorf("%s is missing", key)
	}
	text, err := readString(value)
	if err != nil {
		err = fmt.Errorf("%s %w", key, err)
	}
	return text, err
}

// add records the image of one part.
func (p *parted) add(fields map[string][]byte) error {
	for _, key := range []string{"image", "image_url", "path", "url"} {
		value, ok := fields[key]
		if !ok {
			continue
		}
		if value[0] == '{' { // {"url": …}
			inner, err := innerURL(value)
			if err != nil {
				return fmt.Errorf("%s %w", key, err)
			}
			value = inner
		}
		image, err := readLink(value)
		if err != nil {
			return fmt.Errorf("%s %w", key, err)
		}
		p.images = append(p.images, image)
		return nil
	}
	p.open++
	return nil
}

// unescape replaces the %XX of an address by the bytes that they stand for.
func unescape(path string) (string, error) {
	var out strings.Builder
	for {
		before, rest, more := strings.Cut(path, "%")
		out.WriteString(before)
		if !more {
			return out.String(), nil
		}
		code, err := hex.DecodeString(rest[:min(2, len(rest))])
		if err != nil || len(code) != 1 {
			return "", errors.New("% is not followed by two hexadecimal digits")
		}
		out.Write(code)
		path = rest[2:]
	}
}

func innerURL(object []byte) (url []byte, err error) {
	err = eachKey(object, func(key string, value []byte) error {
		if key == "url" && kindOf(value) != "null" {
			url = value
		}
		return nil
	})
	if err == nil && url == nil {
		err = errors.New("has no url")
	}
	return url, err
}

// readLink reads a path or the image itself.
func readLink(value []byte) (picture.Image, error) {
	link, err := readString(value)
	if err != nil {
		return picture.Image{}, err
	}
	if head, text, ok := strings.Cut(link, ";base64,"); ok && strings.HasPrefix(head, "data:") {
		file, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return picture.Image{}, fmt.Errorf("is not base64: %w", err)
		}
		return picture.Image{File: file}, nil
	}
	if path, ok := strings.CutPrefix(link, "file://"); ok {
		if path, err = unescape(path); err != nil || !filepath.IsAbs(path) {
			return picture.Image{}, fmt.Errorf("is %q; write file:/// and the path of a file, or the path alone", link)
		}
		return picture.Image{Path: path}, nil
	}
	if scheme, _, ok := strings.Cut(link, "://"); ok {
		return picture.Image{}, fmt.Errorf("is a URL (%.40q); nothing is downloaded: "+
			"download the image and give its path", scheme+"://…")
	}
	return picture.Image{Path: link}, checkPath(link)
}
