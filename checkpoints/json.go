package checkpoints

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"
)

// jsonReader reads untrusted JSON token by token, because encoding/json alone accepts what a weight file must not
// contain: duplicate keys, keys in a different case, null for a value, bytes that are not UTF-8.
type jsonReader struct{ *json.Decoder }

// readJSON checks that text is one JSON object and nothing else, and calls field for each key, which must then consume
// the key's value.
func readJSON(text []byte, field func(r jsonReader, key string) error) error {
	if !utf8.Valid(text) {
		return errors.New("JSON: not UTF-8")
	}
	r := jsonReader{json.NewDecoder(bytes.NewReader(text))}
	r.UseNumber()
	if err := r.object(func(key string) error { return field(r, key) }); err != nil {
		return fmt.Errorf("JSON, byte %d: %w", r.InputOffset(), err)
	}
	if _, err := r.Token(); err != io.EOF {
		return fmt.Errorf("JSON, byte %d: unexpected data after the closing brace", r.InputOffset())
	}
	return nil
}

func (r jsonReader) object(field func(key string) error) error {
	if err := r.delim('{'); err != nil {
		return err
	}
	seen := map[string]bool{}
	for r.More() {
		key, err := r.text()
		if err != nil {
			return err
		}
		if seen[key] {
			return fmt.Errorf("key %q appears twice", key)
		}
		seen[key] = true
		if err := field(key); err != nil {
			return fmt.Errorf("key %q: %w", key, err)
		}
	}
	return r.delim('}')
}

func (r jsonReader) delim(want json.Delim) error {
	token, err := r.token()
	if err == nil && token != want {
		err = fmt.Errorf("want %q, found %v", want.String(), quoted(token))
	}
	return err
}

func (r jsonReader) text() (string, error) {
	token, err := r.token()
	text, ok := token.(string)
	if err == nil && !ok {
		err = fmt.Errorf("want a string, found %v", quoted(token))
	}
	return text, err
}

// texts reads an object of strings.
func (r jsonReader) texts() (map[string]string, error) {
	texts := map[string]string{}
	err := r.object(func(key string) (err error) {
		texts[key], err = r.text()
		return err
	})
	return texts, err
}

// integers reads an array of integers that are not negative.
func (r jsonReader) integers() ([]int64, error) {
	if err := r.delim('['); err != nil {
		return nil, err
	}
	list := []int64{}
	for r.More() {
		token, err := r.token()
		if err != nil {
			return nil, err
		}
		number, _ := token.(json.Number)
		n, err := strconv.ParseUint(string(number), 10, 63)
		if err != nil {
			return nil, fmt.Errorf("want an integer from 0 to 2⁶³-1, found %v", quoted(token))
		}
		list = append(list, int64(n))
	}
	return list, r.delim(']')
}

// skip skips one value.
func (r jsonReader) skip() error { return r.Decode(new(json.RawMessage)) }

func (r jsonReader) token() (json.Token, error) {
	token, err := r.Token()
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return token, err
}

func quoted(token json.Token) string { return fmt.Sprintf("%.40q", fmt.Sprint(token)) }
