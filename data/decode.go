package data

import (
	"strings"
	"unicode/utf8"
)

// Decoder turns ids into text one at a time, as a model generates them. Control tokens become nothing, bytes that are no UTF-8
// become U+FFFD each, and the space that encoding puts before a text is dropped.
type Decoder struct {
	t       *Tokenizer
	started bool
	held    []byte // bytes of a character that is not complete yet
}

// NewDecoder starts a text.
func (t *Tokenizer) NewDecoder() *Decoder { return &Decoder{t: t} }

// Decode is the text of ids. Encode's ids become the text again, unless it holds special tokens.
func (t *Tokenizer) Decode(ids []int32) string {
	var text strings.Builder
	d := t.NewDecoder()
	for _, id := range ids {
		text.WriteString(d.Next(id))
	}
	text.WriteString(d.Flush())
	return text.String()
}

// Next adds an id and returns the text that has become certain, which is empty within a character of several byte tokens.
func (d *Decoder) Next(id int32) string {
	entry := vocabularyEntry{textEntry, string(utf8.RuneError)} // a model may have more ids than its tokenizer
	if id >= 0 && int(id) < len(d.t.vocabulary) {
		entry = d.t.vocabulary[id]
	}
	switch entry.kind {
	case byteEntry:
		d.started = true
		d.held = append(d.held, entry.text...)
		return d.complete(false)
	case textEntry:
		text := entry.text
		if !d.started {
			text = strings.TrimPrefix(text, " ")
		}
		d.started = true
		return d.complete(true) + text
	}
	return ""
}

// Flush ends the text and returns what was held back.
func (d *Decoder) Flush() string { return d.complete(true) }

// complete takes the characters that are whole out of the held bytes; at the end of the bytes all must go.
func (d *Decoder) complete(end bool) string {
	var text []byte
	for len(d.held) > 0 && (end || utf8.FullRune(d.held)) {
		r, width := utf8.DecodeRune(d.held)
		text = utf8.AppendRune(text, r)
		d.held = d.held[width:]
	}
	return string(text)
}
