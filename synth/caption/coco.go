package caption

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// readImages collects the names of a COCO file's images. They may stand after the captions, so it is a reading of its
// own.
func (f *file) readImages(text *bufio.Reader) error {
	values := newValues(text)
	return values.member("images", func() error {
		var image struct {
			ID       label  `json:"id"`
			FileName string `json:"file_name"`
		}
		if err := values.decode(&image); err != nil {
			return err
		}
		if image.ID == "" || image.FileName == "" {
			return errors.New(`it has no "id" or no "file_name"; ` + formsHint)
		}
		f.images[string(image.ID)] = image.FileName
		return nil
	})
}

// readAnnotations visits a COCO file's captions. Their ids are those of the annotations, since an image has several.
func (f *file) readAnnotations(text *bufio.Reader, visit func(Caption) error) error {
	values := newValues(text)
	return values.member("annotations", func() error {
		var annotation struct {
			ID      label   `json:"id"`
			ImageID label   `json:"image_id"`
			Caption *string `json:"caption"`
		}
		if err := values.decode(&annotation); err != nil {
			return err
		}
		if annotation.ID == "" || annotation.Caption == nil {
			return errors.New(`it has no "id" or no "caption" (is it the file of instances?); ` + formsHint)
		}
		return visit(Caption{ID: string(annotation.ID), Image: f.images[string(annotation.ImageID)],
			Text: strings.TrimSpace(*annotation.Caption)})
	})
}

// values takes a JSON text apart value by value, so that its size does not matter.
type values struct {
	decoder *json.Decoder
	text    *bounded
}

func newValues(text io.Reader) *values {
	b := &bounded{text: text}
	return &values{json.NewDecoder(b), b}
}

// bounded is a text of which no value is longer than the limit: without it, one quote too few could fill the memory.
type bounded struct {
	text         io.Reader
	read, beyond int64 // bytes read, and how many may be
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.read >= b.beyond {
		return 0, fmt.Errorf("a value is longer than %d MB; %s", longest>>20, formsHint)
	}
	n, err := b.text.Read(p)
	b.read += int64(n)
	return n, err
}

// allow lets the next value be read.
func (v *values) allow() { v.text.beyond = v.decoder.InputOffset() + longest }

// decode reads the next value.
func (v *values) decode(into any) error {
	v.allow()
	return wrongType(cut(v.decoder.Decode(into)))
}

func (v *values) token() (json.Token, error) {
	v.allow()
	token, err := v.decoder.Token()
	return token, cut(err)
}

func (v *values) more() bool {
	v.allow()
	return v.decoder.More()
}

var errCut = errors.New("the file ends here: it is incomplete")

func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errCut
	}
	return err
}

// open reads the bracket that must come.
func (v *values) open(bracket json.Delim) error {
	token, err := v.token()
	if err == nil && token != bracket {
		err = fmt.Errorf("%.40q stands where %v should; %s", fmt.Sprint(token), bracket, formsHint)
	}
	return err
}

// list visits the elements of an opened list, and reads its end.
func (v *values) list(what string, element func() error) error {
	for n := 0; v.more(); n++ {
		if err := element(); err != nil {
			return fmt.Errorf("%s %d, after byte %d: %w", what, n, v.decoder.InputOffset(), err)
		}
	}
	_, err := v.token()
	return err
}

// member visits the elements of a list that is a member of the object which the text is. The others are passed over.
func (v *values) member(name string, element func() error) error {
	if err := v.open('{'); err != nil {
		return err
	}
	found := false
	for v.more() {
		key, err := v.token()
		if err != nil {
			return err
		}
		if key != name {
			if err := v.skip(); err != nil {
				return err
			}
			continue
		}
		found = true
		if err := v.open('['); err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
		if err := v.list("element", element); err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
	}
	if _, err := v.token(); err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("it has no %q; %s", name, formsHint)
	}
	return v.end()
}

// end checks that nothing follows.
func (v *values) end() error {
	switch token, err := v.token(); {
	case err == nil:
		return fmt.Errorf("%.40q follows after the end, at byte %d; %s", fmt.Sprint(token), v.decoder.InputOffset(),
			formsHint)
	case errors.Is(err, errCut):
		return nil
	default:
		return err
	}
}

// skip passes over a value, token by token.
func (v *values) skip() error {
	for depth := 0; ; {
		token, err := v.token()
		if err != nil {
			return err
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return nil
		}
	}
}
