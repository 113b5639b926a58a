package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// Decoder turns ids into text one at a time, as a model generates them. Control tokens become nothing, bytes that are
// not UTF-8 become U+FFFD, and the space that encoding puts before a text is dropped.
type Decoder struct {
	t       *Tokenizer
	started bool
	held    []byte // bytes whose text is not final yet
}

// NewDecoder starts a text.
func (t *Tokenizer) NewDecoder() *Decoder { return &Decoder{t: t} }

// Decode returns the text of ids. It restores a text from Encode's ids, unless the text has special tokens.
func (t *Tokenizer) Decode(ids []int32) string {
	var text strings.Builder
	d := t.NewDecoder()
	for _, id := range ids {
		text.WriteString(d.Next(id))
	}
	text.WriteString(d.Flush())
	return text.String()
}

// Next adds an id and returns the text that has become final, which is empty inside a character of several byte tokens.
func (d *Decoder) Next(id int32) string {
	entry := d.t.unknown // a model may have more ids than its tokenizer
	if id >= 0 && int(id) < len(d.t.vocabulary) {
		entry = d.t.vocabulary[id]
	}
	switch entry.kind {
	case byteEntry:
		d.started = d.started || d.t.leading == dropFromToken
		d.held = append(d.held, entry.text...)
		return d.complete(false)
	case textEntry:
		held := d.complete(true)
		return held + d.begin(entry.text)
	}
	return ""
}

// Flush ends the text and returns the rest.
func (d *Decoder) Flush() string { return d.complete(true) }

// complete returns the text of the held bytes that is final; at the end, of all of them.
func (d *Decoder) complete(end bool) string {
	text, used := d.t.bytes(d.held, end)
	d.held = d.held[used:]
	return d.begin(text)
}

// begin is text without the space that encoding puts before a text.
func (d *Decoder) begin(text string) string {
	if d.started || text == "" {
		return text
	}
	d.started = true
	if d.t.leading == keepSpace {
		return text
	}
	return strings.TrimPrefix(text, " ")
}

// leadingSpace says how decoding treats a space at the start of a text, which encoding may have put there.
type leadingSpace byte

const (
	keepSpace     leadingSpace = iota
	dropFromToken              // of the first token, if that is not a byte
	dropFromText
)

// byteDecoder returns the text of bytes as far as it is final, and how many of them that took: all at the end. The
// kinds differ in how they treat bytes that are not UTF-8.
type byteDecoder func(held []byte, end bool) (text string, used int)

// eachByte turns each bad byte into U+FFFD, as SentencePiece does.
func eachByte(held []byte, end bool) (string, int) {
	var text []byte
	used := 0
	for used < len(held) && (end || utf8.FullRune(held[used:])) {
		r, width := utf8.DecodeRune(held[used:])
		text = utf8.AppendRune(text, r)
		used += width
	}
	return string(text), used
}

// byteFallback turns every byte of a run of byte tokens into U+FFFD if any part of it is bad, as the decoder of this
// name in Hugging Face's tokenizers does. So nothing is final before the run has ended.
func byteFallback(held []byte, end bool) (string, int) {
	switch {
	case !end:
		return "", 0
	case utf8.Valid(held):
		return string(held), len(held)
	}
	return strings.Repeat(string(utf8.RuneError), len(held)), len(held)
}

// lossy makes one U+FFFD of the bytes that start a character but do not complete it (Unicode 15, 3.9, substitution of
// maximal subparts), as the decoder ByteLevel does.
func lossy(held []byte, end bool) (string, int) {
	var text []byte
	used := 0
	for used < len(held) && (end || utf8.FullRune(held[used:])) {
		r, width := utf8.DecodeRune(held[used:])
		text = utf8.AppendRune(text, r)
		rest := held[used:]
		for r == utf8.RuneError && width < 3 && width < len(rest) && !utf8.FullRune(rest[:width+1]) {
			width++
		}
		used += width
	}
	return string(text), used
}
