package tokenizer

import (
	"encoding/json"
	"fmt"
	"strings"
)

// tokenDecoder is the decoder of a tokenizer.json: the text of a token of its vocabulary.
type tokenDecoder struct {
	byteLevel bool
	bytes     byteDecoder
	leading   leadingSpace
}

// parseDecoder supports ByteLevel and Llama's decoder.
func parseDecoder(c component) (tokenDecoder, error) {
	steps, err := c.steps("decoders", 0)
	if err != nil {
		return tokenDecoder{}, fmt.Errorf("decoder: %w", err)
	}
	d := tokenDecoder{bytes: byteFallback}
	switch kinds := names(steps); kinds {
	case "ByteLevel":
		return tokenDecoder{byteLevel: true, bytes: lossy}, nil
	case "Replace, ByteFallback, Fuse":
	case "Replace, ByteFallback, Fuse, Strip":
		d.leading = dropFromText
		var strip struct {
			Content     string
			Start, Stop int
		}
		if err := json.Unmarshal(steps[3].raw, &strip); err != nil || strip.Content != " " || strip.Start != 1 ||
			strip.Stop != 0 {
			return d, fmt.Errorf("decoder Strip must remove exactly one space before a text; " +
				"anything else is not supported")
		}
	default:
		return d, fmt.Errorf("decoder is %q; ByteLevel, and Replace, ByteFallback, "+
			"Fuse with or without Strip are supported", kinds)
	}
	var replace struct {
		Pattern pattern
		Content string
	}
	if err := json.Unmarshal(steps[0].raw, &replace); err != nil || replace.Pattern != (pattern{String: space}) ||
		replace.Content != " " {
		return d, fmt.Errorf("decoder Replace writes %q for %q; only a space for %q is supported",
			replace.Content, replace.Pattern.String, space)
	}
	return d, nil
}

// spelling is the text that a token of the vocabulary matches in encoding; ok is false if no text can become it.
func (d tokenDecoder) spelling(token string) (text string, ok bool) {
	if !d.byteLevel {
		return token, true
	}
	var out []byte
	for _, r := range token {
		value, ok := byteOfLetter[r]
		if !ok {
			return "", false
		}
		out = append(out, value)
	}
	return string(out), true
}

// entry returns the decoded form of a token.
func (d tokenDecoder) entry(token string) vocabularyEntry {
	if d.byteLevel {
		if text, ok := d.spelling(token); ok {
			return vocabularyEntry{byteEntry, text}
		}
		return vocabularyEntry{byteEntry, token}
	}
	if value, ok := byteOfToken(token); ok {
		return vocabularyEntry{byteEntry, string([]byte{value})}
	}
	return vocabularyEntry{textEntry, strings.ReplaceAll(token, space, " ")}
}

// byteOfLetter is the alphabet of byte-level vocabularies (GPT-2's bytes_to_unicode): printable Latin-1 characters
// represent themselves, the characters from U+0100 on the other bytes, in order.
var byteOfLetter, letterOfByte = func() (map[rune]byte, [256]rune) {
	alphabet := make(map[rune]byte, 256)
	next := rune(0x100)
	for value := range rune(256) {
		switch {
		case '!' <= value && value <= '~', 0xa1 <= value && value <= 0xac, 0xae <= value:
			alphabet[value] = byte(value)
		default:
			alphabet[next] = byte(value)
			next++
		}
	}
	var letters [256]rune
	for letter, value := range alphabet {
		letters[value] = letter
	}
	return alphabet, letters
}()
