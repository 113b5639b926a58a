package tokenizer

import (
	"fmt"
	"slices"
	"strings"
)

// SpacesStart reports whether a space is put before a text but not after a special token within it.
func (t *Tokenizer) SpacesStart() bool {
	i := slices.IndexFunc(t.specials, func(s specialToken) bool { return s.id == t.EOS })
	behind := t.Encode(t.specials[i].text + "a")[1:]
	return !slices.EqualFunc(behind, t.Encode("a"), func(a, b Token) bool { return a.ID == b.ID })
}

// Piece is the text of an id, for messages: text with ▁ for each space, a special token's own text, or bytes as
// <0xNN>.
func (t *Tokenizer) Piece(id int32) string {
	for _, s := range t.specials {
		if s.id == id {
			return s.text
		}
	}
	if id < 0 || int(id) >= len(t.vocabulary) {
		return "(no piece)"
	}
	switch entry := t.vocabulary[id]; {
	case entry.kind == textEntry:
		return strings.ReplaceAll(entry.text, " ", space)
	case entry.kind == byteEntry && isPrintable(entry.text):
		return strings.ReplaceAll(entry.text, " ", space)
	case entry.kind == byteEntry:
		var bytes strings.Builder
		for i := range len(entry.text) {
			fmt.Fprintf(&bytes, "<0x%02X>", entry.text[i])
		}
		return bytes.String()
	}
	return "(control)"
}

// isPrintable says whether bytes are visible ASCII and spaces.
func isPrintable(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' })
}

func (t *Tokenizer) IsControl(id int32) bool {
	return id >= 0 && int(id) < len(t.vocabulary) && t.vocabulary[id].kind == controlEntry
}
