package data

import (
	"github.com/llavatrain/llavatrain/data/tokenizer"
)

// Stretch is a run of a sample's positions of one kind.
type Stretch struct {
	Text       string // what the ids decode to; special tokens are spelled out
	Positions  int
	Supervised bool
	Image      int // from 1, of the sample's images; 0 for text
}

// Stretches is a sample as the model sees it, reconstructed from its ids, labels and images' positions.
func Stretches(t *tokenizer.Tokenizer, s Sample) []Stretch {
	var out []Stretch
	decoder, images, left := t.NewDecoder(), 0, 0 // left: remaining positions of the current image
	for i, id := range s.IDs {
		supervised := s.Labels[i] != Ignore
		if id == ImageToken {
			if left == 0 {
				for left == 0 { // an image may take no position
					left = s.Images[images].Positions()
					images++
				}
				out = append(out, Stretch{Image: images})
			}
			out[len(out)-1].Positions++
			left--
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
		if t.IsControl(id) {
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
