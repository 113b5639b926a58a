package data

import (
	"fmt"
	"strings"
)

// Piece is what an id stands for, for messages: text with ▁ for each space, a special token's own spelling, or bytes as <0xNN>.
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

// Stretch is a run of a sample's positions of one kind.
type Stretch struct {
	Text       string // what the ids decode to; special tokens are spelled out
	Positions  int
	Supervised bool
	Image      int // from 1, of the sample's images; 0 for text
}

// Stretches is a sample as the model sees it, read back from its ids and labels. imageTokens is the number of positions of an image.
func Stretches(t *Tokenizer, s Sample, imageTokens int) []Stretch {
	var out []Stretch
	decoder, images, within := t.NewDecoder(), 0, 0
	for i, id := range s.IDs {
		supervised := s.Labels[i] != Ignore
		if id == ImageToken {
			if within == 0 {
				images++
				out = append(out, Stretch{Image: images})
			}
			out[len(out)-1].Positions++
			within = (within + 1) % imageTokens
			continue
		}
		if n := len(out) - 1; n < 0 || out[n].Image > 0 || out[n].Supervised != supervised {
			if n >= 0 {
				out[n].Text += decoder.Flush()
			}
			out = append(out, Stretch{Supervised: supervised})
		}
		last := &out[len(out)-1]
		last.Positions++
		if t.isControl(id) {
			last.Text += decoder.Flush() + t.Piece(id)
			continue
		}
		last.Text += decoder.Next(id)
	}
	if n := len(out) - 1; n >= 0 {
		out[n].Text += decoder.Flush()
	}
	return out
}

func (t *Tokenizer) isControl(id int32) bool {
	return id >= 0 && int(id) < len(t.vocabulary) && t.vocabulary[id].kind == controlEntry
}
