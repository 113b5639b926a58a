package tokenizer

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// NewToken is a token that the tokenizer's files do not have.
type NewToken struct {
	ID   int32
	Text string
}

// NewTokens lists the tokens that were added on opening, by id.
func (t *Tokenizer) NewTokens() []NewToken { return slices.Clone(t.fresh) }

// add gives each text a token of its own, as Hugging Face's AddedToken(text, special=False, normalized=False): rows may
// use it, and an answer shows it.
func (t *Tokenizer) add(texts []string) error {
	for i, text := range texts {
		switch {
		case strings.TrimSpace(text) == "" || !utf8.ValidString(text):
			return fmt.Errorf("add: %q cannot be a token; it must be text with at least one visible character", text)
		case slices.Contains(texts[:i], text):
			return fmt.Errorf("add: %q is listed twice", text)
		}
		if _, known := t.Special(text); known {
			continue
		}
		if t.stretches.knows(text) {
			return fmt.Errorf("add: %q is a token of the vocabulary already; add a text that is none", text)
		}
		s := specialToken{text: text, id: int32(len(t.vocabulary))}
		t.fresh = append(t.fresh, NewToken{s.id, text})
		t.addSpecial(s)
	}
	if p, ok := t.stretches.(*pipeline); ok {
		return t.sortTokens(p)
	}
	t.added = newAddedTokens(t.specials)
	return nil
}
